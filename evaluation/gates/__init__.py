"""What follows a round: the rules of its gate, and what a person answers."""
