"""A run's own figures as those of the released model that it repeats, for the published table."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from contracts.steps.facts import read_facts
from contracts.steps.manifest import read_manifest
from contracts.steps.step import read_step
from contracts.tables.parts import read_table
from evaluation.benchmarks.base import ANY, Benchmark, Decoding
from evaluation.benchmarks.gsm8k import GSM8K
from evaluation.benchmarks.mmlu import MMLU
from evaluation.judged import WinRatesFacts
from evaluation.win_rates.estimate import Resampling, mean, times
from evaluation.win_rates.published import PUBLISHED, Measured
from flows.pipeline.folder.recorded import recorded_keys

BY_RULE = "none"
"""The judge of figures that are scored by rule."""
_DECODING = ["temperature", "top_p", "max_tokens", "n"]
_EXACT: dict[str, type[Benchmark]] = {"gsm8k": GSM8K, "mmlu": MMLU}


def measured(evaluation: Path, model: str | None = None) -> Iterator[Measured]:
    """The figures of the policy whose evaluation lies in the folder.

    Args:
        model: its name in the published table; None is by the run that the folder belongs to.
    """
    facts = read_facts(evaluation / "win_rates", WinRatesFacts)
    if facts is None and read_manifest(evaluation / "answers") is None:
        return
    model = model or _released(evaluation)
    if facts:
        yield from _judged(facts, model)
    if read_manifest(evaluation / "answers"):
        yield from _exact(evaluation / "answers", model)


def _judged(facts: WinRatesFacts, model: str) -> Iterator[Measured]:
    for one in facts.judged:
        for figure, estimate in one.figures.items():
            metric, reasons = f"{one.benchmark}.{figure}", one.not_comparable
            yield Measured(
                model, metric, estimate, one.model, reasons, facts.confidence, one.left_out
            )


def _exact(answers: Path, model: str) -> Iterator[Measured]:
    """Accuracies, each question a prompt; one without an answer is wrong."""
    benchmarks = read_step(answers / "_step.json")["config"]["benchmarks"]
    options = {one["name"]: one for one in benchmarks}
    table = read_table(answers, ["benchmark", "question_id", "correct", *_DECODING])
    for name, benchmark in _EXACT.items():
        rows = table.filter(pc.field("benchmark") == name)
        if rows.num_rows:
            right: dict[str, list[bool]] = {}
            for question, is_right in zip(
                rows["question_id"].to_pylist(), rows["correct"].to_pylist(), strict=True
            ):
                right.setdefault(question, []).append(bool(is_right))
            share = mean(np.array([np.mean(one) for one in right.values()]), Resampling())
            reasons = _other_questions(benchmark.sha256, options.get(name, {}), len(right))
            reasons += _other_decodings(rows, benchmark.recipe)
            yield Measured(model, f"{name}.accuracy", times(100, share), BY_RULE, reasons)


def _other_decodings(rows: pa.Table, recipe: Decoding) -> list[str]:
    """How the answers were drawn, where it is not as the published ones were."""
    drawn = rows.group_by(_DECODING).aggregate([]).to_pylist()
    told = (", ".join(f"{name} {one[name]:g}" for name in _DECODING) for one in drawn
            if any(one[name] != getattr(recipe, name) for name in _DECODING))  # fmt: skip
    return [f"answers by another decoding: {one}" for one in sorted(told)]


def _other_questions(published: str | None, options: dict[str, Any], count: int) -> list[str]:
    """
    Args:
        published: hash of the published questions; None where it is not known.
    """
    if options.get("limit"):
        return [f"the first {count:,} questions only"]
    pinned = options.get("questions_sha256")
    if pinned == ANY or (pinned and published and pinned != published):
        return ["other questions"]
    unchecked = published is None and options.get("path")
    return ["questions of a file that no hash is known for"] if unchecked else []


def _released(evaluation: Path) -> str:
    """What the published table calls this policy: the start by its own name, a trained one by the
    start's with its method (`gemma-2-9b-it-SimPO`); no released one has a second round."""
    config = recorded_keys(evaluation.parent.parent)
    start = config["policy"]["path"].rstrip("/").rpartition("/")[2]
    if evaluation.parent.name == "round-0":
        return str(start)
    if evaluation.parent.name != "round-1":
        return f"{start}, {evaluation.parent.name}"
    name = f"{start}-{config['training']['loss']['kind']}"
    known = {one.model.casefold(): one.model for one in PUBLISHED}
    return known.get(name.casefold(), name)
