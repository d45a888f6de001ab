"""From what is known of a policy to one verdict."""
