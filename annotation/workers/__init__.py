"""Scoring in worker processes."""
