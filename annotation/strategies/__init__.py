"""Which two responses of a prompt become a pair."""
