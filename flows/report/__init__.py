"""What a run leaves to read: the report, model cards, exports."""
