"""Stage: a round's verdict, better, same or worse, from all that the run has measured.

What a run does not measure is missing evidence, which counts neither for nor against.
"""

from pathlib import Path
from typing import Annotated

import pyarrow as pa

from contracts.steps.facts import Facts, read_facts
from contracts.steps.inputs import Inputs
from contracts.steps.manifest import Result
from contracts.steps.step import Stage
from contracts.tables.parts import write_part
from contracts.tables.schemas import (
    ANSWERS,
    COMPARISON,
    PROMPTS,
    REASONS,
    REFERENCE,
    RESPONSES,
    SCORES,
    WIN_RATES,
)
from evaluation.compare import CompareFacts
from evaluation.config import RoundVerdictConfig
from evaluation.verdicts import gather
from evaluation.verdicts.decide import Outcome, decide
from evaluation.verdicts.evidence import Change, Evidence
from evaluation.verdicts.findings import Reason
from evaluation.verdicts.gather import WinRates
from runtime.stage_process import main


class VerdictInputs(Inputs):
    """What was measured of the policies: the start's, the round's own, and the trained one."""

    prompts: Annotated[Path, PROMPTS]
    comparison: Annotated[Path, COMPARISON]
    start_scores: Annotated[Path, SCORES]
    before_scores: Annotated[Path, SCORES]
    after_scores: Annotated[Path, SCORES]
    before_responses: Annotated[Path, RESPONSES]
    after_responses: Annotated[Path, RESPONSES]
    start_responses: Annotated[Path, RESPONSES] | None = None
    """Of the start, where the round began from another policy."""
    before_answers: Annotated[Path, ANSWERS] | None = None
    """To the benchmarks, where a run answers any."""
    after_answers: Annotated[Path, ANSWERS] | None = None
    start_answers: Annotated[Path, ANSWERS] | None = None
    win_rates: Annotated[Path, WIN_RATES] | None = None
    """What judges say of the trained policy, where anybody judges."""
    by_start: Annotated[Path, REFERENCE] | None = None
    """Log-probs of the trained policy's answers by the start, where the drift is measured."""
    by_policy: Annotated[Path, REFERENCE] | None = None
    """And by itself."""


class VerdictFacts(Facts):
    """The verdict, what it rests on, and the win rates by reward model."""

    outcome: Outcome
    reasons: list[Reason]
    evidence: Evidence
    trained_by: str
    """The annotator that the pairs were made by."""
    second: str | None
    """The one that the policy was not trained against."""
    lengths: Change
    """Mean tokens of a held-out answer."""
    over_start: WinRates
    """By annotator, of the trained policy against the one that the run started from."""
    over_before: WinRates
    """Against the one that the round started from."""


def run(config: RoundVerdictConfig, inputs: VerdictInputs, out: Path) -> Result:
    """Decide, and write a reason a measure.

    Raises:
        UserError: a step that it reads was made by another version.
        OnPolicyError: no annotator scored both policies' answers to a prompt, or both answered
            none.
    """
    prompts = gather.held_out(inputs.prompts)
    over_start, over_before = _win_rates(inputs, prompts)
    after = gather.Answered(inputs.after_responses, inputs.after_answers)
    before = gather.Answered(inputs.before_responses, inputs.before_answers)
    over_round = gather.harms(before, after, prompts)
    assert over_round.length  # or `harms` would have raised
    start, since_start = inputs.start_responses, None
    if start:
        since_start = gather.harms(gather.Answered(start, inputs.start_answers), after, prompts)
    compared = read_facts(inputs.comparison, CompareFacts)
    gains = compared.gains if compared else {}
    evidence = Evidence(
        training_reward=gather.gain(gains, config.trained_by),
        second_reward=gather.gain(gains, config.second),
        win_rate=gather.chosen_rate(over_before, config.second or config.trained_by),
        drift=gather.drift(inputs.by_start, inputs.by_policy),
        since_start=since_start,
        **gather.judged_gains(inputs.win_rates, config.judge),
        **dict(over_round),
    )
    verdict = decide(evidence, config.limits)
    rows = [reason.model_dump() for reason in verdict.reasons]
    write_part(out, 0, pa.Table.from_pylist(rows, schema=REASONS), REASONS)
    facts = VerdictFacts(
        outcome=verdict.outcome, reasons=verdict.reasons, evidence=evidence,
        lengths=over_round.length, trained_by=config.trained_by, second=config.second,
        over_start=over_start, over_before=over_before,
    )  # fmt: skip
    return Result(len(rows), facts=facts)


def _win_rates(inputs: VerdictInputs, prompts: pa.Array) -> tuple[WinRates, WinRates]:
    """Over the start, and over the policy before, which may be one."""
    after, before, start = inputs.after_scores, inputs.before_scores, inputs.start_scores
    over_before = gather.win_rates(after, before, prompts)
    if before == start:
        return over_before, over_before
    return gather.win_rates(after, start, prompts), over_before


STAGE = Stage(
    name="evaluation.verdict", version=5, config=RoundVerdictConfig, inputs=VerdictInputs,
    output=REASONS, facts=VerdictFacts, run=run,
)  # fmt: skip

if __name__ == "__main__":
    main(STAGE)
