"""What is refused before any process is started."""

from pathlib import Path
from typing import Annotated

import pyarrow.compute as pc

from contracts.errors import UserError
from contracts.steps.facts import Facts, OfPolicy, read_facts
from contracts.steps.fingerprint import of_input
from contracts.steps.inputs import Inputs, Model
from contracts.tables.parts import iter_parts
from contracts.tables.schemas import REFERENCE, TOKENS
from training.config import TrainConfig


class TrainInputs(Inputs):
    """Pairs as tokens, and the policy that trains on them."""

    tokens: Annotated[Path, TOKENS]
    policy: Model
    reference: Annotated[Path, REFERENCE] | None = None
    """Where the loss has one."""
    optimizer: Model | None = None
    """The training whose optimizer's state it goes on from (`carry_optimizer`): the one that made
    `policy`."""
    base: Model | None = None
    """What the adapters lie beside that a later round goes on with (`carry_optimizer` and `lora`):
    the model that the first of these rounds started from. `policy` has them merged into it."""


class FormattedFor(OfPolicy):
    """Facts of a TOKENS table."""

    formatted_for: str
    """Fingerprint of the policy whose tokenizer made them."""


class MadeOfTokens(Facts):
    """Facts of a REFERENCE table."""

    tokens: str
    """Fingerprint of the tokens that they are of, row by row."""


def refuse_other_policy(tokens: Path, policy: str) -> None:
    """Refuse tokens that were made with another policy's tokenizer.

    Raises:
        UserError: names both.
    """
    facts = read_facts(tokens, FormattedFor)
    made_for = facts.formatted_for if facts else None
    if made_for != (policy_content := of_input(policy)):
        raise UserError(
            f"{tokens}: was formatted for policy {made_for or 'unknown'}, not for {policy_content} "
            f"({policy}); format the pairs for this policy"
        )


def refuse_other_reference(config: TrainConfig, inputs: TrainInputs) -> None:
    """Refuse a loss without its reference, and reference log-probs of other tokens.

    Raises:
        UserError: says which input to give.
    """
    kind = config.loss.kind
    if not config.loss.needs_reference:
        if inputs.reference:
            raise UserError(f"loss {kind} uses no reference; leave the input `reference` out")
        return
    if not inputs.reference:
        raise UserError(f"loss {kind} compares with a reference: run training.reference on the "
                        "tokens and give its folder as the input `reference`")  # fmt: skip
    facts = read_facts(inputs.reference, MadeOfTokens)
    made_of = facts.tokens if facts else None
    if made_of != (tokens_content := of_input(str(inputs.tokens))):
        raise UserError(
            f"{inputs.reference}: was made of tokens {made_of or 'unknown'}, not of "
            f"{tokens_content} ({inputs.tokens}); score these tokens with the reference"
        )


def refuse_bad_rows(tokens: Path) -> int:
    """The number of rows, each of which can be trained on.

    Raises:
        UserError: there is none, or some have no prompt or no response token in the loss.
    """
    # A mean over no token is NaN, which TRL's truncation could bring about (trl#6548).
    rows, bad = 0, []
    for part in iter_parts(tokens):
        in_loss = [
            pc.greater(pc.list_value_length(part[f"{side}_ids"]), part[f"{side}_loss_start"])
            for side in ("chosen", "rejected")
        ]
        has_prompt = pc.greater(pc.list_value_length(part["prompt_ids"]), 0)
        good = pc.and_(pc.and_(*in_loss), has_prompt)
        bad += part.filter(pc.invert(good))["prompt_id"].to_pylist()
        rows += part.num_rows
    if bad:
        raise UserError(
            f"{tokens}: {len(bad)} rows have no prompt or no response token in the loss, "
            f"e.g. {', '.join(bad[:5])}; format the pairs again, or leave these out"
        )
    if not rows:
        raise UserError(f"{tokens}: holds no row; there is nothing to train on")
    return rows
