"""What Prefect's runner says of a schedule's runs that end before their flow can say anything."""

import logging

from flows.pipeline.console import print_warning


class _OneLine(logging.Handler):
    """The first line of a record; the whole of it, with its traceback, is in Prefect's UI."""

    def emit(self, record: logging.LogRecord) -> None:
        said = record.getMessage()
        error = record.exc_info[1] if record.exc_info else None
        cause = error
        while isinstance(cause, BaseExceptionGroup):  # "unhandled errors in a TaskGroup"
            cause = cause.exceptions[0]
        if cause is not error:
            said = said.replace(str(error), f"{type(cause).__name__}: {cause}")
        print_warning((said.splitlines() or [""])[0])


def tell_failures() -> None:
    """Show in the terminal when a run could not start or its process crashed.

    Our settings keep Prefect's own lines out of the terminal (flows.prefect_.settings), and a run
    without a flow has none of ours.
    """
    logger = logging.getLogger("prefect.runner")
    if not any(isinstance(handler, _OneLine) for handler in logger.handlers):
        logger.addHandler(_OneLine(logging.ERROR))
