"""What `onpolicy tune` does."""
