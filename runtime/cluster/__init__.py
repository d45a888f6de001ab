"""Workers on the nodes of a Ray cluster: the same processes, reached through an actor each."""
