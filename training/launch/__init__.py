"""Starting the training's processes, on one machine or several."""
