"""The learning-rate range test: a stage, its worker, its suggestion."""
