"""The tables' schemas, their parts on disk, and the journal of finished rows."""
