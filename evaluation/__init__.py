"""What a round gained: held-out rewards before and after, benchmark outputs."""
