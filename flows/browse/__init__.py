"""A page on loopback to look through a run's prompts, responses and scores."""
