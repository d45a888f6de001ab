"""What a training process does: load, step, check, save."""
