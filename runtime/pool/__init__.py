"""A pool of worker processes: their messages, their placement, their end."""
