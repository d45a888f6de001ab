"""Prefect's settings for this project, set before Prefect is imported: nothing phones home."""

import logging
import os
from pathlib import Path

from contracts.steps.disk_space import refuse_unwritable

_ALWAYS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    # The terminal shows our own lines; Prefect's go to its API, hence to its UI.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    # In an outage it would print each event that it cannot send, 2 kB apiece; we say it once.
    "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",
    # A server for the time of a run is ours to start and to end (`flows.prefect_.run_server`).
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
}
_DEFAULTS = {
    "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
}


def apply() -> None:
    """Put the settings into the environment; what the user set there is kept, but for tracking.

    Raises:
        UserError: Prefect's folder cannot be written to, which it would say in 60 lines.
    """
    home = Path(os.environ.get("PREFECT_HOME") or os.path.expanduser("~/.prefect"))
    refuse_unwritable(home, "it is Prefect's; set PREFECT_HOME to a folder of your own")
    os.environ.update(_ALWAYS)
    # As above, of log lines: Prefect asks this before it prints.
    logging.raiseExceptions = False
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
