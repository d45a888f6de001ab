"""Rows that hold a prompt once, attention over them, log-probs without all logits."""
