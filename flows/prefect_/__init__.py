"""The only room that knows Prefect's server, settings and artifacts."""
