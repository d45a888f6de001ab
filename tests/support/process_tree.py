"""What a process has started, where some of it is forked by another."""

import psutil


def started_by(pid: int) -> list[psutil.Process]:
    """Every process that `pid` and those it started have started, forked ones included."""
    found: dict[int, psutil.Process] = {}
    starters = [pid]
    while starters:
        starter = starters.pop()
        new = [one for one in _all() if _is_started_by(one, starter) and one.pid not in found]
        found |= {process.pid: process for process in new}
        starters += [process.pid for process in new]
    return list(found.values())


def _all() -> list[psutil.Process]:
    return list(psutil.process_iter())


def _is_started_by(process: psutil.Process, starter: int) -> bool:
    try:
        return process.ppid() == starter or f"(forked for {starter})" in " ".join(process.cmdline())
    except psutil.Error:
        return False
