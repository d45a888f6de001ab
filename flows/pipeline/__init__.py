"""A run: its config, its plan, its folder, its steps."""
