"""A run's folder: claimed, compared, made anew in parts, taken over, pruned."""
