"""Where the curves are shown during training: a file a tracker."""
