"""Methods that compare the policy with a reference, so that a run pays for a pass of it."""
