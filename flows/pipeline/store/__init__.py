"""A run and its store: what the store has is pulled, what the run finishes is pushed."""
