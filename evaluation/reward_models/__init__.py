"""What a reward model is worth: RewardBench 2's questions and its scoring, for any annotator."""
