"""What leaves a run: policies and datasets with their cards, exported and pushed to the hub."""
