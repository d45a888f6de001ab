"""A stage's output as log records: each line at the level that whoever wrote it meant."""

import logging
import re

from contracts.steps.manifest import Manifest

_LEVELS = {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}
_GLOG = {"I": logging.DEBUG, "W": logging.WARNING, "E": logging.ERROR, "F": logging.CRITICAL}
# vLLM: `INFO 11-22 08:20:00 [core.py:12] ...`, in its processes with `(EngineCore pid=12) ` before.
_VLLM = re.compile(r"(?:\([^)]*pid=\d+\)\s*)?([A-Z]+) \d\d-\d\d \d\d:\d\d:\d\d ")
# DeepSpeed, accelerate: `[2026-11-22 08:20:00,123] [WARNING] [config.py:12:main] ...`.
_BRACKETED = re.compile(r"\[[\d\- :,.]+\] \[([A-Z]+)\] ")
# torch's C++: `[rank0]:[W1122 08:20:00.123 ProcessGroup.cpp:1] ...`.
_TORCH = re.compile(r"(?:\[rank\d+\]:\s*)?\[?([IWEF])\d{4} \d\d:\d\d:\d\d")
# Python: `file.py:12: FutureWarning: ...`, then the line of code, set in.
_PYTHON = re.compile(r"\S+:\d+: \w*Warning: ")

# tqdm, in vLLM: `Loading shards: 100% Completed | 1/1 [00:00<00:00, 59.17it/s]`.
_BAR = re.compile(r".*\d%.*\|.*\d(?:it/s|s/it)\]$")


def leveled(line: str) -> tuple[int, str]:
    """The level and the text of a line; what libraries tell of their own work is for DEBUG."""
    level, _, text = line.partition(" ")
    if found := _VLLM.match(line) or _BRACKETED.match(line):
        number = logging.getLevelNamesMapping().get(found[1], logging.INFO)
        return (logging.DEBUG if number == logging.INFO else number), line
    if found := _TORCH.match(line):
        return _GLOG[found[1]], line
    if _PYTHON.match(line):
        return logging.WARNING, line
    if level in _LEVELS:
        # A stage's module runs as the process's main one.
        return logging.getLevelNamesMapping()[level], text.removeprefix("__main__: ")
    is_detail = line[:1].isspace() or _BAR.match(line)
    return (logging.DEBUG if is_detail else logging.INFO), line


def is_ours(line: str) -> bool:
    """Whether a stage of ours logged the line, not a library that it uses."""
    return line.partition(" ")[0] in _LEVELS and not _VLLM.match(line)


def finished_line(manifest: Manifest) -> str:
    """`960 rows in 6.0 s; dropped: 12 duplicate`."""
    dropped = ", ".join(f"{count:,} {reason}" for reason, count in manifest.dropped.items())
    took = manifest.took if manifest.taken_from else f"in {manifest.took}"
    return f"{manifest.rows:,} rows {took}; dropped: {dropped or 'none'}"
