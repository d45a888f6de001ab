"""What a process has started, where some of it is forked by another, and whether it is gone."""

import time

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


def gone(*processes: int, seconds: float = 15.0) -> bool:
    """Whether they are, within so long: one that is forked is a zombie until its server looks."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any(map(psutil.pid_exists, processes)):
            return True
        time.sleep(0.02)
    return False


def _all() -> list[psutil.Process]:
    return list(psutil.process_iter())


def _is_started_by(process: psutil.Process, starter: int) -> bool:
    try:
        return process.ppid() == starter or f"(forked for {starter})" in " ".join(process.cmdline())
    except psutil.Error:
        return False
