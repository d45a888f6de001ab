"""Sampling in worker processes, behind the protocol of an engine."""
