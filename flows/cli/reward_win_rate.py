"""What `onpolicy reward-win-rate` does."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from evaluation.reward_models.outputs import Compared, compare_outputs, read_both
from evaluation.win_rates.estimate import Resampling
from flows.cli.reward_model import annotators, as_process, refuse_unready_annotators
from flows.pipeline.load_run import load_run
from runtime.signals import interruptible


def reward_win_rate(
    path: Path,
    overrides: Sequence[str],
    outputs: Path,
    against: Path,
    out: Path | None,
    resampling: Resampling,
    as_json: bool,
) -> str:
    """Score two files of outputs with every annotator of a config; the same call goes on.

    Raises:
        UserError: the config, an annotator, or a file cannot be used.
        OnPolicyError: not one instruction has two scores.
    """
    config = load_run(path, overrides)
    read_both(outputs, against)
    scoring = annotators(config)
    folder = out or config.runs_dir / "reward-win-rates" / f"{outputs.stem}-{against.stem}"
    refuse_unready_annotators(config, scoring, folder)
    with interruptible():
        found = compare_outputs(scoring, outputs, against, folder, resampling, as_process)
    if as_json:
        return json.dumps(asdict(found), indent=1)
    return "\n".join(_lines(found, f"{resampling.confidence:.0%} interval"))


def _lines(found: Compared, sure: str) -> Iterator[str]:
    ours, theirs = found.lengths
    yield f"{found.model} against {found.base}: {ours:,} and {theirs:,} characters an answer"
    for name, one in found.rates.items():
        rate = one.win_rate
        told = f"{rate.value:.1f} % ({sure} {rate.low:.1f} to {rate.high:.1f})"
        yield f"  {name:<18} {told}, {one.n:,} prompts, {100 * one.ties:.1f} % ties"
        if one.unscored:
            ends = f"{one.at_lowest:.1f} to {one.at_highest:.1f} % if they were all lost or all won"
            yield f"  {one.unscored:,} more prompts lack an answer or its score: {ends}"
