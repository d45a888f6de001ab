"""Pairs as token ids, and where the published format differs."""
