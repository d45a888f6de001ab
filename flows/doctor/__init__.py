"""Whether this machine, and a config on it, is ready to run."""
