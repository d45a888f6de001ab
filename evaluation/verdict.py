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
from evaluation.verdicts.decide import Outcome, Reason, decide
from evaluation.verdicts.evidence import Change, Evidence
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
    before_answers: Annotated[Path, ANSWERS] | None = None
    """To the benchmarks, where a run answers any."""
    after_answers: Annotated[Path, ANSWERS] | None = None
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
    after, before = inputs.after_scores, inputs.before_scores
    over_before = gather.win_rates(after, before, prompts)
    is_start = before == inputs.start_scores
    over_start = over_before if is_start else gather.win_rates(after, inputs.start_scores, prompts)
    lengths = gather.lengths(inputs.before_responses, inputs.after_responses, prompts)
    compared = read_facts(inputs.comparison, CompareFacts)
    gains = compared.gains if compared else {}
    evidence = Evidence(
        training_reward=gather.gain(gains, config.trained_by),
        second_reward=gather.gain(gains, config.second),
        win_rate=gather.chosen_rate(over_before, config.second or config.trained_by),
        length=lengths,
        repetition=gather.repetition(inputs.before_responses, inputs.after_responses, prompts),
        refusals=gather.refusals(inputs.before_responses, inputs.after_responses, prompts),
        drift=gather.drift(inputs.by_start, inputs.by_policy),
        **gather.judged_gains(inputs.win_rates, config.judge),
        **gather.accuracies(inputs.before_answers, inputs.after_answers),
    )
    verdict = decide(evidence, config.limits)
    rows = [reason.model_dump() for reason in verdict.reasons]
    write_part(out, 0, pa.Table.from_pylist(rows, schema=REASONS), REASONS)
    facts = VerdictFacts(
        outcome=verdict.outcome, reasons=verdict.reasons, evidence=evidence, lengths=lengths,
        trained_by=config.trained_by, second=config.second,
        over_start=over_start, over_before=over_before,
    )  # fmt: skip
    return Result(len(rows), facts=facts)


STAGE = Stage(
    name="evaluation.verdict", version=4, config=RoundVerdictConfig, inputs=VerdictInputs,
    output=REASONS, facts=VerdictFacts, run=run,
)  # fmt: skip

if __name__ == "__main__":
    main(STAGE)
