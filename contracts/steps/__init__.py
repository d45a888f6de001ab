"""A stage's folder: claimed, locked, marked as done, identified by content."""
