"""What is known of a policy against the one it began from: figures with their intervals."""

from typing import Annotated

from pydantic import Field

from contracts.config.base import Config


class Interval(Config):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float
    is_sure: bool = True
    """False where answers without a score could turn what the interval says."""
    prompts: int | None = None
    """That it is over; null is enough of them."""
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Coverage of the interval."""


class Change(Config):
    """A figure before and after, in its own unit."""

    before: float
    after: float
    low: float | None = None
    """95 % interval of after less before, of `length` of after over before; null where none is
    known."""
    high: float | None = None
    is_sure: bool = True
    """False where the one policy has left out more answers than the other."""
    prompts: int | None = None
    """That it is over; null is enough of them."""
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Coverage of the interval."""


class Harms(Config):
    """What may be lost on held-out prompts, against one other policy; null where not known."""

    length: Change | None = None
    """Mean answer, in tokens or characters."""
    repetition: Change | None = None
    """Mean share of an answer's 4-grams that it has said before, 0 to 1."""
    refusals: Change | None = None
    """Share of answers that refuse, 0 to 1."""
    gsm8k: Change | None = None
    """Accuracy, per cent."""
    mmlu: Change | None = None
    """Accuracy, per cent."""
    ifeval: Change | None = None
    """Prompt-level strict accuracy, per cent."""


class Evidence(Harms):
    """What is known of a policy on held-out prompts; null where nothing is."""

    training_reward: Interval | None = None
    """Gain by the annotator that it was trained against, after less before."""
    second_reward: Interval | None = None
    """Gain by one that it was not trained against."""
    win_rate: Interval | None = None
    """Per cent against the policy before, by a reward model."""
    alpaca_eval: Interval | None = None
    """Points of win rate by a judge, after less before; length-controlled where that is known."""
    arena_hard: Interval | None = None
    """The same of Arena-Hard."""
    mt_bench: Interval | None = None
    """Rating by a judge, after less before."""
    drift: Interval | None = None
    """Mean log-ratio a token of policy over start on the policy's own held-out answers, nats."""
    since_start: Harms | None = None
    """The harms against the policy that the run started from; null where that is the one before."""
