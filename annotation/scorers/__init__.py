"""Annotators behind one protocol: reward models, pairwise rankers, judges."""
