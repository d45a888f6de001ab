"""From pairs to a policy: tokens, losses, packing and the trainer."""
