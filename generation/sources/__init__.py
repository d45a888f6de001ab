"""Prompts as they come in: columns, mixtures, duplicates, benchmark questions."""
