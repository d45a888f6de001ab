"""A store: a bucket or a shared folder that holds what runs have finished, by obstore."""
