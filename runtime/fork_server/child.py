"""What a fork does before it is the process that was asked for."""

import importlib
import logging
import os
import runpy
import sys
from collections.abc import Mapping, Sequence

from runtime import torch_settings
from runtime.fork_server.request import Request

_LONGEST_TITLE = 200


def become(request: Request, streams: Sequence[int], set_by_imports: Mapping[str, str]) -> None:
    """Be, to whoever looks, a process that was started by itself.

    Args:
        streams: standard input, output and errors; closed here.
        set_by_imports: what libraries put into the environment as they were imported.
    """
    os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    for stream in streams:
        os.close(stream)
    os.chdir(request.folder)
    os.environ.clear()
    os.environ.update({**set_by_imports, **request.environment})
    sys.argv[1:] = request.arguments
    # Where `python -m` has the working folder.
    sys.path[0] = request.folder
    # Modules may have been written since the server looked, such as a user's reward functions.
    importlib.invalidate_caches()
    # With a handler of the server's, `logging.basicConfig` would do nothing.
    logging.getLogger().handlers.clear()
    _draw_anew()
    torch_settings.reread_threads()
    torch_settings.reread_compiling()


def run(request: Request) -> None:
    """`python -m MODULE`: what it raises, the interpreter makes an exit code of."""
    # Were it found loaded, it would not be run as `__main__` without a warning.
    sys.modules.pop(request.module, None)
    runpy.run_module(request.module, run_name="__main__", alter_sys=True)


def show_as(request: Request, starter: int) -> None:
    """Let `ps` show what this is, and for whom, where vLLM's setproctitle is installed.

    It writes over the environment that the process began with, so it goes first.
    """
    try:
        from setproctitle import setproctitle
    except ImportError:
        return
    command = " ".join(["python -m", request.module, *request.arguments])
    setproctitle(f"{command[:_LONGEST_TITLE]} (forked for {starter})")


def _draw_anew() -> None:
    """Two forks draw different numbers; `random` and `tempfile` see to that themselves."""
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()
