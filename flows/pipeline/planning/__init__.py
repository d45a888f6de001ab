"""A run's steps from its config: pure data, nothing started."""
