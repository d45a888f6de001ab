"""From responses to preference pairs: score with a reward model, pick chosen and rejected."""
