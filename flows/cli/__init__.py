"""The command line: it parses first and imports when a command runs."""
