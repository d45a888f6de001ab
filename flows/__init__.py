"""The pipeline as Prefect flows, its command line, its schedule and its report."""
