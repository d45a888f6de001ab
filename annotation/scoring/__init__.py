"""A part of responses in, a part of scores out."""
