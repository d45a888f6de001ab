"""Methods that compare the chosen response with the rejected one under the policy alone."""
