"""The engines that a config may name, and how each is built."""
