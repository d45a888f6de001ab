"""Metrics of a training, and the signs of its collapse."""
