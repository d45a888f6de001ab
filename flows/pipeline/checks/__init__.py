"""What can be known to be amiss before a run's first stage."""
