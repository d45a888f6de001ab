"""`python -m benchmarks.round_fixed_cost`: a round so small that its fixed costs are all of it.

`onpolicy run` makes one round of the demo from 8 prompts (8 more are held out), with its own
Prefect server, as a user starts it. Beside it one bare process imports vLLM, loads the same
policy and gives the same prompts their 5 answers: what no pipeline around vLLM can go below.
Both take turns; the figure is the ratio of their fastest passes, and lower is better.

On a busy machine the CPU's seconds of the whole command over those of the bare process say more
than the clock's (`cpu_ratio`, which is to be at most `cpu_reach`).

The round lasts from the claim of its first stage to its report. A stage's seconds are those
until the next one is claimed; `before` is what comes before the round: the command's start,
the server, all prompts, the starting policy's held-out answers.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.support.generation_demo import FOLDER, demo_job
from benchmarks.support.outcome import report
from generation.engine_kinds.vllm import VllmEngine
from generation.engines.vllm import engine_arguments

_PASSES = 3
_PROMPTS = 8
# 0.7 of what commit 7f7bbcf gave: 3.60 by the clock, 6.45 by the CPU, one pass at a load of 5.6.
_REACH = 2.52
_CPU_REACH = 4.51
_OVERRIDES = (
    "name=small",
    "rounds=1",
    f"prompts.limit={2 * _PROMPTS}",
    f"prompts.test_size={_PROMPTS}",
    "evaluation.benchmarks=[]",
    "training.global_batch=4",
)
_BARE = """
import json, sys
asked = json.load(sys.stdin)
from vllm import LLM, SamplingParams
llm = LLM(**asked["arguments"])
settings = SamplingParams(detokenize=False, **asked["sampling"])
prompts = [{"prompt_token_ids": ids} for ids in asked["prompts"]]
outputs = llm.generate(prompts, settings, use_tqdm=False)
print(sum(len(output.outputs) for output in outputs))
sys.stdout.flush()
import os
os._exit(0)
"""


def main() -> None:
    """Print the outcome."""
    asked = _asked()
    rounds, bare, cpu = [], [], []
    for number in range(int(sys.argv[1]) if sys.argv[1:] else _PASSES):
        start = _cpu()
        bare.append(_bare(asked))
        between = _cpu()
        rounds.append(_round())
        cpu.append((_cpu() - between, between - start))
        print(f"pass {number}: bare {bare[-1]:.1f} s, {rounds[-1]}, CPU {cpu[-1]}", flush=True)
    fastest = min(rounds, key=lambda found: found["round"])
    least, least_bare = (min(seconds) for seconds in zip(*cpu, strict=True))
    report(
        "round_fixed_cost",
        fastest["round"] / min(bare),
        _REACH,
        "a round's seconds over a bare vLLM process's",
        at_most=True,
        bare_seconds=round(min(bare), 1),
        load=round(os.getloadavg()[0], 1),
        cpu_ratio=round(least / least_bare, 2),
        cpu_reach=_CPU_REACH,
        cpu_seconds=round(least, 1),
        bare_cpu_seconds=round(least_bare, 1),
        **fastest,
    )


def _cpu() -> float:
    """CPU seconds of every process that was begun here, and by those, and has ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _asked() -> dict[str, Any]:
    job, parts = demo_job(_PROMPTS, n=5, temperature=0.8, top_p=0.95, max_tokens=48)
    prompts = {request.response_id.rpartition("-")[0]: request.prompt for request in parts[0]}
    sampling = {
        "n": job.config.n,
        "temperature": job.config.temperature,
        "top_p": job.config.top_p,
        "max_tokens": job.config.max_tokens,
        "stop_token_ids": job.stop_ids,
    }
    arguments = engine_arguments(job, VllmEngine())
    return {"arguments": arguments, "sampling": sampling, "prompts": list(prompts.values())}


def _bare(asked: dict[str, Any]) -> float:
    started = time.monotonic()
    output = subprocess.check_output(
        [sys.executable, "-c", _BARE], input=json.dumps(asked), text=True
    )
    seconds = time.monotonic() - started
    if int(output.split()[-1]) != _PROMPTS * asked["sampling"]["n"]:
        raise SystemExit(f"the bare process gave too few answers: {output}")
    return seconds


def _round() -> dict[str, Any]:
    """Seconds of the round, by stage, and of the whole command."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "flows.cli.app", "run", "configs/demo.yaml", *_OVERRIDES]
        environment = {**os.environ, "PREFECT_HOME": f"{folder}/prefect", "PREFECT_API_URL": ""}
        started = time.time()
        subprocess.run(
            [*command, f"runs_dir={folder}"], check=True, env=environment, capture_output=True
        )
        ended = time.time()
        return _times(Path(folder) / "small", started, ended)


def _times(run: Path, started: float, ended: float) -> dict[str, Any]:
    claims = {
        str(path.parent.relative_to(run / "round-1")): path.stat().st_mtime
        for path in (run / "round-1").rglob("_step.json")
    }
    order = sorted(claims, key=claims.__getitem__)
    edges = [*(claims[name] for name in order), (run / "report.html").stat().st_mtime]
    return {
        "round": round(edges[-1] - edges[0], 1),
        "by_stage": {
            name: round(after - before, 1)
            for name, before, after in zip(order, edges[:-1], edges[1:], strict=True)
        },
        "before": round(edges[0] - started, 1),
        "command": round(ended - started, 1),
    }


if __name__ == "__main__":
    if not FOLDER.is_dir():
        raise SystemExit("build the demo's models first: python -m demo.build")
    main()
