"""What `onpolicy judge` does: one stage in a folder of its own, and what came of it."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from contracts.config.base import apply_overrides, check, read_yaml
from contracts.steps.manifest import Manifest, read_manifest
from evaluation.judge import STAGE, JudgingFacts
from evaluation.judging.config import JudgingConfig
from evaluation.win_rates.agreement import Agreement
from flows.pipeline.planning.planned_step import PlannedStep
from flows.pipeline.shown_step import run_shown
from runtime.chat_api.endpoint import refuse_unreachable
from runtime.signals import interruptible


def judge(
    benchmark: str,
    files: dict[str, Path | None],
    out: Path,
    settings: Path | None,
    keys: Sequence[str],
) -> str:
    """Judge a file of answers, or go on with it; says what came of it.

    Args:
        files: the stage's inputs, None where one is not given.
        settings: a YAML file of the judge's keys.
        keys: overrides of them.

    Raises:
        UserError: a key or a file is not what it should be, or nobody listens at the endpoint.
        OnPolicyError: judging stopped; the same command goes on.
    """
    given = apply_overrides(read_yaml(settings) if settings else {}, keys)
    origin = str(settings or "onpolicy judge")
    config = check(JudgingConfig, {"benchmark": benchmark, "judge": given}, origin)
    inputs = STAGE.reads({name: str(path) for name, path in files.items() if path is not None})
    if read_manifest(out) is None:
        refuse_unreachable(f"judge {config.judge.model!r}", config.judge)
    step = PlannedStep(out.parent, out.name, f"judge {benchmark}", STAGE, config, inputs)
    with interruptible():
        return "\n".join(_told(out, run_shown(step)))


def _told(out: Path, manifest: Manifest) -> Iterator[str]:
    facts = JudgingFacts.model_validate(manifest.facts)
    standing = facts.standing
    against = f" against {facts.baseline}" if facts.baseline else ""
    yield (
        f"{facts.generator}{against}: {standing.judged:,} of {standing.questions:,} "
        f"prompts judged by {standing.judge}"
    )
    for reason, count in facts.errors.items():
        yield f"  {count:,} judgements without a score: {reason}"
    yield from _agreement("the same judged twice", facts.noise)
    yield from _agreement("both orders", facts.between_orders)
    if facts.cost is not None:
        yield f"  cost {facts.cost:,.2f}"
    for reason in facts.not_comparable:
        yield f"  not comparable with the published figures: {reason}"
    for name in manifest.files:
        if not name.endswith(".parquet"):
            yield f"  {out / name}"


def _agreement(what: str, agreement: Agreement | None) -> Iterator[str]:
    if agreement:
        share, pairs = agreement.same_side.value, agreement.pairs
        yield f"  {what}: {share:.0%} of the {pairs:,} with both scores agree"
