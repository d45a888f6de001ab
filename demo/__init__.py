"""A tiny world with real architectures, in which the whole pipeline learns in minutes."""
