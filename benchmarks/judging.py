"""`python -m benchmarks.judging`: what judging costs beside the endpoint's own time.

805 AlpacaEval judgements from a server in a process of its own that answers after 50 ms, 16 wide,
one request in twenty refused with 429 or 500 when it comes first. The ideal is 805 times 50 ms by
16; the figure is the whole stage's time over it, the median of the passes: from its claim and the
files that it reads to the manifest, with the journal, the smoke test and what was refused asked
again. Asking that again makes it 1.05 at the least, and the smoke test 1.07.
`bare` is the same over the endpoint alone: 805 requests from 16 threads, none refused.
Then the stage's process is killed twice on its way; `judged_twice` are judgements that were
answered twice though their first answer was there a tenth of a second before the kill.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.support.outcome import report, report_at_most
from contracts.steps.step import claim, run_once
from evaluation.judge import STAGE
from evaluation.judging.config import JudgingConfig
from runtime.chat_api.config import ChatModel
from runtime.chat_api.endpoint import ChatEndpoint

_COUNT, _LATENCY, _WIDE, _FAULTS = 805, 0.05, 16, 0.05
_IDEAL = _COUNT * _LATENCY / _WIDE
_PASSES = 5
_KILLED_AT = (200, 500)
_ON_THE_WAY = 0.1


def main() -> None:
    """Print both outcomes."""
    with _server(_FAULTS) as port, tempfile.TemporaryDirectory() as folder:
        inputs = _files(Path(folder))
        _bare(port, 100)  # imports and first connections
        walls, bare = [], []
        for number in range(_PASSES):
            bare.append(_bare(port, _COUNT))
            _call(port, "forget")
            started = time.perf_counter()
            manifest = run_once(STAGE, _config(port), inputs, Path(folder) / f"pass-{number}")
            walls.append(time.perf_counter() - started)
            assert manifest.facts["standing"]["judged"] == _COUNT, manifest.facts["errors"]
        twice, sold, lost = _killed(port, inputs, Path(folder) / "killed")
    ratios = sorted(wall / _IDEAL for wall in walls)
    report_at_most(
        "judging", ratios[_PASSES // 2], 1.2, "wall time over the ideal", passes=_PASSES,
        lowest=round(ratios[0], 3), highest=round(ratios[-1], 3),
        bare=[round(wall / _IDEAL, 3) for wall in sorted(bare)], ideal_seconds=round(_IDEAL, 3),
        load=round(os.getloadavg()[0], 1), episodes=manifest.facts["episodes"],
    )  # fmt: skip
    report(
        "judging_killed", twice, 0, "judged twice; at most", at_most=True,
        kills=len(_KILLED_AT), sold=sold, on_the_way_at_a_kill=lost,
    )  # fmt: skip


def _config(port: int) -> JudgingConfig:
    resources = {"concurrency": _WIDE, "most_concurrency": _WIDE, "api_key_env": None}
    judge = {**_model(port), "repeats": 0, "resources": resources}
    return JudgingConfig.model_validate({"benchmark": "alpaca_eval", "judge": judge})


def _model(port: int) -> dict[str, Any]:
    url = f"http://127.0.0.1:{port}/v1"
    return {"model": "judge", "base_url": url, "resources": {"api_key_env": None}}


def _bare(port: int, count: int) -> float:
    """Seconds of so many requests by the client alone; none is refused a second time."""
    endpoint = ChatEndpoint("bare", ChatModel.model_validate(_model(port)), 30.0, attempts=1)
    text = "which is better? " * 200
    bodies = [
        {"messages": [{"role": "user", "content": f"{text}{n}"}], "max_tokens": 1}
        for n in range(count)
    ]
    with ThreadPoolExecutor(_WIDE) as pool:
        list(pool.map(lambda body: _swallow(endpoint, body), bodies[:_WIDE]))
        started = time.perf_counter()
        list(pool.map(lambda body: _swallow(endpoint, body), bodies))
        return time.perf_counter() - started


def _swallow(endpoint: ChatEndpoint, body: dict[str, object]) -> None:
    from runtime.chat_api.endpoint import Unanswered

    try:
        endpoint.complete(body)
    except Unanswered:
        return


def _killed(port: int, inputs: dict[str, str], out: Path) -> tuple[int, int, int]:
    """Judgements bought twice, all that were sold, and those on their way at a kill."""
    _call(port, "forget")
    claim(STAGE, _config(port), inputs, out)
    command = [sys.executable, "-m", "evaluation.judge", str(out / "_step.json")]
    kills = []
    for count in _KILLED_AT:
        stage = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while len(_call(port, "sold")) < count:
            time.sleep(0.02)
            assert stage.poll() is None
        stage.kill()
        kills.append(time.time())
        stage.wait()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    sold = _call(port, "sold")
    again = [times for times in sold.values() if len(times) > 1]
    lost = sum(any(abs(t - kill) < _ON_THE_WAY for t in times for kill in kills) for times in again)
    return len(again) - lost, sum(map(len, sold.values())), lost


def _files(folder: Path) -> dict[str, str]:
    """Two files of answers of about the real lengths (1,800 characters)."""
    paths = {}
    for name in ("answers", "baseline"):
        rows = [
            {
                "instruction": f"question {n}",
                "output": f"{name} {n} " * 120,
                "generator": name,
            }
            for n in range(_COUNT)
        ]
        paths[name] = str(folder / f"{name}.json")
        Path(paths[name]).write_text(json.dumps(rows))
    return paths


def _call(port: int, path: str) -> dict[str, list[float]]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}") as answer:
        found: dict[str, list[float]] = json.load(answer)
        return found


@contextmanager
def _server(faults: float) -> Iterator[int]:
    command = [sys.executable, "-m", "benchmarks.support.judge_server", str(_LATENCY), str(faults)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    main()
