"""Processes: children that end with their parent, a stage as a process, its progress."""
