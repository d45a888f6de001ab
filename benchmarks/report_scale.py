"""`onpolicy report` over 20 rounds of 2,000 prompts, nothing of it drawn before: seconds and size.

`python -m benchmarks.report_scale [--rounds 20] [--prompts 2000]`: 5 responses a prompt, 500
optimizer steps, 512 held-out answers by two annotators, one with 19 objectives. Every round's
tables are those of the first, which costs the report nothing less: it keeps none in mind.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pydantic import ConfigDict

from benchmarks.support.outcome import report_at_most
from contracts.config.base import load_config
from contracts.config.yaml import dump_yaml
from contracts.steps.facts import Facts
from flows.pipeline.config import RunConfig

SECONDS, MEGABYTES = 10.0, 10.0
_CONFIG = Path("configs/gemma2-9b-it-simpo.yaml")
SAMPLES, STEPS, HELD_OUT = 5, 500, 512
METRICS = (
    "loss", "rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies",
    "logps/chosen", "logps/rejected", "grad_norm", "learning_rate",
)  # fmt: skip
GAIN = {"mean": 0.1, "low": 0.05, "high": 0.2, "confidence": 0.95, "prompts": HELD_OUT,
        "at_lowest": 0.05, "at_highest": 0.2, "verdict": "better"}  # fmt: skip
SHARES = {name: {"start": 0.0, "before": 0.0, "after": 0.0} for name in ("unscored", "cut")}
GAINS = {
    "start": 0.1,
    "before": 0.1,
    "after": 0.2,
    "over_start": GAIN,
    "over_before": GAIN,
    **SHARES,
}
RATE = {"n": HELD_OUT, "win_rate": {"value": 60.0, "low": 55.0, "high": 65.0}, "ties": 0.1,
        "unscored": 0, "unpaired": 0, "at_lowest": 60.0, "at_highest": 60.0}  # fmt: skip
RATES = {"armorm": RATE, "truth": RATE}
VERDICT = {
    "outcome": "better", "evidence": {}, "trained_by": "armorm", "second": "truth",
    "lengths": {"before": 300.0, "after": 310.0}, "over_start": RATES, "over_before": RATES,
    "reasons": [{"measure": "length", "effect": "same", "says": "1.03 times as long as before"}],
}  # fmt: skip
SAMPLED = {"policy": "x", "requests": 1, "tokens": 1, "truncated": 0, "repetition": 0.001,
           "tokens_per_second": 1.0}  # fmt: skip
SCORED = {"count": 1, "mean": 1.0, "std": 0.1, "cut": 0, "errors": {}}
PAIRED = {"policy": "x", "annotator": "armorm", "prompts": 1, "margin_mean": 0.2,
          "margin_quantiles": {}, "chosen_tokens_mean": 300.0, "rejected_tokens_mean": 280.0,
          "chosen_longer_share": 0.5, "length_penalty": 0.0}  # fmt: skip
TRAINED = {"steps": STEPS, "pairs": 1, "processes": 8, "engine": "DeepSpeedEngine",
           "zero_stage": 3, "metrics": {"loss": 0.5}}  # fmt: skip
FORMATTED = {
    "formatted_for": "x", "truncated": 0, "retokenized_equal": 1.0, "differs_from_recipe": None,
    "lengths": {name: {"median": 1.0, "p95": 1.0, "max": 1.0}
                for name in ("prompt", "chosen", "rejected")},
}  # fmt: skip


class MadeFacts(Facts):
    """Whatever is written here."""

    model_config = ConfigDict(extra="allow")


def write_table(folder: Path, schema: Any, rows: list[dict[str, Any]], **facts: Any) -> None:
    """A finished step with one part."""
    import pyarrow as pa

    from contracts.steps.manifest import Manifest, Result, write_manifest
    from contracts.tables.parts import write_part

    folder.mkdir(parents=True)
    (folder / "_step.json").write_text("{}")  # it is one of a step's files
    whole = [dict.fromkeys(schema.names) | row for row in rows]
    write_part(folder, 0, pa.Table.from_pylist(whole, schema=schema), schema)
    done = Result(len(rows), {}, MadeFacts(**facts))
    write_manifest(folder, "benchmark", done, Manifest.clock())


def _config(run: Path, rounds: int) -> RunConfig:
    own = [f"name={run.name}", f"runs_dir={run.parent}", f"rounds={rounds}", "evaluation.every=1"]
    return load_config(RunConfig, _CONFIG, own)


def write_run(run: Path, rounds: int, prompts: int) -> None:
    """A run of so many finished rounds, without a report."""
    rng = random.Random(0)
    run.mkdir(parents=True)
    (run / "config.yaml").write_text(dump_yaml(_config(run, rounds).model_dump(mode="json")))
    write_held_out(run / "round-0", rng)
    write_sampled(run / "round-1", rng, prompts)
    write_trained(run / "round-1" / "policy", rng)
    write_evaluated(run / "round-1", run / "round-0", rng)
    for number in range(2, rounds + 1):
        shutil.copytree(run / "round-1", run / f"round-{number}")


def write_held_out(folder: Path, rng: random.Random) -> None:
    """The held-out prompts, and the start's answers to them."""
    from contracts.tables.schemas import PROMPTS

    asked = [{"prompt_id": f"t{number}", "messages": [{"role": "user", "content": "What follows?"}],
              "source": "x", "split": "test"} for number in range(HELD_OUT)]  # fmt: skip
    write_table(folder / "prompts", PROMPTS, asked)
    write_answers(folder / "evaluation", rng)


def write_answers(folder: Path, rng: random.Random) -> None:
    """Held-out answers and what two annotators give them."""
    from contracts.tables.schemas import RESPONSES, SCORES

    keys = [{"prompt_id": f"t{number}", "response_id": f"t{number}-0"}
            for number in range(HELD_OUT)]  # fmt: skip
    answers = [{**key, "sample": 0, "seed": 0, "text": "word " * 200, "token_ids": [1],
                "finish_reason": "stop", "n_tokens": rng.randrange(1, 900), "policy": "x"}
               for key in keys]  # fmt: skip
    scores = [{**key, "annotator": name, "score": rng.gauss(0.5, 0.1),
               "objectives": [0.5] * 19 if name == "armorm" else None}
              for key in keys for name in RATES]  # fmt: skip
    write_table(folder / "responses", RESPONSES, answers, **SAMPLED)
    write_table(folder / "scores", SCORES, scores, policy="x", annotators={})


def write_sampled(folder: Path, rng: random.Random, prompts: int) -> None:
    """A round's responses, scores, pairs and tokens."""
    from contracts.tables.schemas import PAIRS, RESPONSES, SCORES, TOKENS

    responses, scores, pairs, tokens = [], [], [], []
    for number in range(prompts):
        name = f"p{number}"
        for sample in range(SAMPLES):
            key = {"prompt_id": name, "response_id": f"{name}-{sample}"}
            responses.append({**key, "sample": sample, "seed": 0, "text": "word " * 200,
                              "token_ids": [1], "finish_reason": "stop",
                              "n_tokens": rng.randrange(1, 900), "policy": "x"})  # fmt: skip
            scores.append({**key, "annotator": "armorm", "score": rng.gauss(0.5, 0.1)})
        said = {side: [{"role": role, "content": "word " * 200}]
                for side, role in (("prompt", "user"), ("chosen", "assistant"),
                                   ("rejected", "assistant"))}  # fmt: skip
        pairs.append({"prompt_id": name, **said, "chosen_id": f"{name}-0",
                      "rejected_id": f"{name}-1", "chosen_score": 0.6, "rejected_score": 0.4,
                      "margin": rng.uniform(0, 0.5), "split": "train"})  # fmt: skip
        tokens.append({"prompt_id": name, "prompt_ids": [1] * 100, "chosen_loss_start": 0,
                       "chosen_ids": [1] * rng.randrange(1, 900), "rejected_loss_start": 0,
                       "rejected_ids": [1] * rng.randrange(1, 900)})  # fmt: skip
    write_table(folder / "responses", RESPONSES, responses, **SAMPLED)
    write_table(folder / "scores", SCORES, scores, policy="x", annotators={"armorm": SCORED})
    write_table(folder / "pairs", PAIRS, pairs, **PAIRED)
    write_table(folder / "tokens", TOKENS, tokens, **FORMATTED)


def write_trained(folder: Path, rng: random.Random) -> None:
    """A policy without weights: its metrics, and how it was trained."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from contracts.steps.manifest import Manifest, Result, write_manifest
    from contracts.steps.step import save_step
    from contracts.tables import schemas

    folder.mkdir(parents=True)
    rows = [{"step": step, "name": name, "value": rng.random()}
            for step in range(1, STEPS + 1) for name in METRICS]  # fmt: skip
    step = {"stage": "x", "version": 1, "identity": {}, "config": {"epochs": 1}, "inputs": {}}
    save_step(folder, step)
    pq.write_table(pa.Table.from_pylist(rows, schema=schemas.METRICS), folder / "metrics.parquet")
    done = Result(1, {}, MadeFacts(**TRAINED))
    write_manifest(folder, "training.train", done, Manifest.clock())


def write_evaluated(folder: Path, start: Path, rng: random.Random) -> None:
    """Its held-out answers, their comparison and the verdict."""
    from contracts.steps.step import save_step
    from contracts.tables.schemas import COMPARISON, REASONS

    evaluation = folder / "evaluation"
    write_answers(evaluation, rng)
    compared = {"gains": {"armorm": GAINS, "truth": GAINS}}
    write_table(evaluation / "comparison", COMPARISON, [], **compared)
    inputs = {"before_scores": str(start / "evaluation" / "scores")}
    step = {"stage": "x", "version": 1, "identity": {}, "config": {}, "inputs": inputs}
    save_step(evaluation / "comparison", step)
    write_table(evaluation / "verdict", REASONS, [], **VERDICT)


def report(run: Path) -> float:
    """Seconds of the command."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "flows.cli.main", "report", str(run)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    """Write the run, report it twice, print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--prompts", type=int, default=2000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        run = Path(name) / "run"
        write_run(run, options.rounds, options.prompts)
        seconds = report(run)
        megabytes = (run / "report.html").stat().st_size / 1e6
    report_at_most(
        "report_scale", seconds, SECONDS, "seconds", rounds=options.rounds,
        responses=SAMPLES * options.prompts * options.rounds, megabytes=round(megabytes, 2),
        megabytes_at_most=MEGABYTES, small_enough=megabytes <= MEGABYTES, load=os.getloadavg()[0],
    )  # fmt: skip


if __name__ == "__main__":
    main()
