"""Typed configs: frozen, strict about keys, with errors that name them."""
