"""A Ray cluster of this machine, for the time of a benchmark."""

import os
import secrets


def set_ray_environment() -> None:
    """A token of its own, so that none is written to the user's home; no niceness, which the
    local pool's workers have not either. Before Ray is imported."""
    settings = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(16),
        "RAY_worker_niceness": "0",
        "RAY_raylet_start_wait_time_s": "120",
    }
    for name, value in settings.items():
        os.environ.setdefault(name, value)
