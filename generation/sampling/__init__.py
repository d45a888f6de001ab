"""From requests to finished samples: scheduling, the journal, the parts."""
