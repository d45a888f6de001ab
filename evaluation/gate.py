"""Stage: what follows a round, by its verdict: promote its policy, go back, or stop.

Decided once: a run that goes on reads the table, and asks nobody again.
"""

from pathlib import Path
from typing import Annotated

import pyarrow as pa

from contracts.errors import UserError
from contracts.steps.facts import Facts, read_facts
from contracts.steps.fingerprint import of_input
from contracts.steps.inputs import Data, Inputs
from contracts.steps.manifest import Result
from contracts.steps.step import Stage
from contracts.tables.parts import write_part
from contracts.tables.schemas import DECISIONS, REASONS
from evaluation.gates.answers import Answer, VerdictSaid, now
from evaluation.gates.config import Action, GateConfig
from evaluation.verdicts.decide import Outcome
from runtime.stage_process import main


class GateInputs(Inputs):
    """The verdict, and what was answered to it."""

    verdict: Annotated[Path, REASONS]
    answer: Data | None = None
    """A person's, which stands above every rule."""


class GateFacts(Facts):
    """The decision."""

    outcome: Outcome
    action: Action
    by: str
    """`rule`, who answered, or `time limit`."""
    why: str
    at: str
    """When, ISO 8601 in UTC."""


def run(config: GateConfig, inputs: GateInputs, out: Path) -> Result:
    """Decide.

    Raises:
        UserError: a person is to be asked, and nobody has answered to this verdict.
    """
    verdict = read_facts(inputs.verdict, VerdictSaid)
    if verdict is None:
        raise UserError(f"{inputs.verdict}: is no finished verdict")
    facts = _decision(config, inputs, verdict)
    row = {**facts.model_dump(), "reasons": verdict.says}
    write_part(out, 0, pa.Table.from_pylist([row], schema=DECISIONS), DECISIONS)
    return Result(1, facts=facts)


def _decision(config: GateConfig, inputs: GateInputs, verdict: VerdictSaid) -> GateFacts:
    if inputs.answer:
        answer = Answer.model_validate_json(Path(inputs.answer).read_text())
        if answer.verdict != of_input(str(inputs.verdict)):
            raise UserError(f"{inputs.answer}: is an answer to another verdict; answer again")
        return GateFacts(
            outcome=verdict.outcome, action=answer.action, by=answer.by, why=answer.why,
            at=answer.at,
        )  # fmt: skip
    rule = config.rule(verdict.outcome)
    if rule == "ask":
        raise UserError(f"{inputs.verdict}: a person is to decide what follows; `onpolicy decide`")
    at = now().isoformat(timespec="seconds")
    why = f"the gate's rule for `{verdict.outcome}`"
    return GateFacts(outcome=verdict.outcome, action=rule, by="rule", why=why, at=at)


STAGE = Stage(
    name="evaluation.gate", version=1, config=GateConfig, inputs=GateInputs,
    output=DECISIONS, facts=GateFacts, run=run,
)  # fmt: skip

if __name__ == "__main__":
    main(STAGE)
