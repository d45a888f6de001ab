"""What experience says of a config before it runs."""
