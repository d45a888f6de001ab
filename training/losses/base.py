"""Preference losses: a config each, and a pure function of log-probs, one value a pair.

Every tensor is a number a pair (`Pairs`), float32 or float64, in nats. Names in formulas:
lp_w, lp_l = summed log-probs of chosen (winner) and rejected (loser) under the policy, ref_w,
ref_l under the reference, |w|, |l| = their tokens, s(x) = sigmoid(x).
Rewards are what TRL and the SimPO trainer log: what the method compares, scaled by its beta.
A config is read where torch is not, so torch is imported where a loss is computed.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from jaxtyping import Float
from pydantic import Field

from contracts.config.base import Config

if TYPE_CHECKING:
    from torch import Tensor
else:
    Tensor = Any

Pairs = Float[Tensor, "pairs"]
Scalar = Float[Tensor, ""]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Smoothing = Annotated[float, Field(ge=0, lt=0.5)]


@dataclass(frozen=True)
class ResponseLogprobs:
    """Log-probs of each pair's response under one model."""

    total: Pairs
    """Sum over the response's tokens."""
    tokens: Pairs
    """Number of those tokens, in the dtype of `total`; never 0."""
    shared: Pairs | None = None
    """Sum over the first min(|w|, |l|) of them, as many as the pair's other response has, too."""
    collisions: Pairs | None = None
    """Sum over them of log sum_v p(v) ** 2 over the vocabulary, without gradient; where a
    weighting asks for it."""

    @property
    def mean(self) -> Pairs:
        """Mean log-prob of a response's tokens."""
        return self.total / self.tokens


@dataclass(frozen=True)
class PairLogprobs:
    """What a preference loss sees of pairs under one model."""

    chosen: ResponseLogprobs
    rejected: ResponseLogprobs


@dataclass(frozen=True)
class Divergence:
    """KTO's estimates of how far the policy is from the reference, over a global batch."""

    chosen: Scalar
    """Mean of lp_w - ref_w, not below 0."""
    rejected: Scalar
    """Mean of lp_l - ref_l, not below 0."""


@dataclass(frozen=True)
class PairLosses:
    """The loss of each pair, and the rewards that it implies (without gradient)."""

    loss: Pairs
    chosen_rewards: Pairs
    rejected_rewards: Pairs
    weights: Pairs | None = None
    """What the loss was multiplied by, where pairs are weighted."""


@dataclass(frozen=True)
class LossInputs:
    """Log-probs of pairs, under every model that a method may compare."""

    policy: PairLogprobs
    reference: PairLogprobs | None = None
    """The same responses under the reference, for `needs_reference`."""
    divergence: Divergence | None = None
    """For `needs_divergence`."""

    @property
    def ratios(self) -> tuple[Pairs, Pairs]:
        """Summed log-ratios of policy over reference, chosen and rejected."""
        assert self.reference is not None
        return (
            self.policy.chosen.total - self.reference.chosen.total,
            self.policy.rejected.total - self.reference.rejected.total,
        )


class LossVariant(Config, ABC):
    """A method: its knobs, and what it computes."""

    needs_reference: ClassVar[bool] = False
    """Whether it compares the policy with a fixed reference model."""
    needs_divergence: ClassVar[bool] = False
    """Whether it reads the global batch's divergence, for which there is a pass of its own."""
    weighs: ClassVar[bool] = True
    """Whether its loss is of the pair, so that a weight of the pair has a meaning."""
    reads_rejected: ClassVar[bool] = True
    """Whether the rejected responses are run; else they have no metrics."""
    kind: str

    @abstractmethod
    def losses(self, inputs: LossInputs) -> PairLosses:
        """The method applied to pairs; a pair's loss depends on no other pair."""

    def advice(self) -> Iterator[str]:
        """A message for each knob that others had trouble with."""
        yield from ()


class ReferenceLoss(LossVariant):
    """A method that compares the policy with a reference."""

    needs_reference: ClassVar[bool] = True


def pair_losses(
    config: LossVariant,
    policy: PairLogprobs,
    reference: PairLogprobs | None = None,
    divergence: Divergence | None = None,
) -> PairLosses:
    """The configured method applied to pairs.

    Raises:
        ValueError: the method needs a reference or a divergence, and has none.
    """
    if config.needs_reference and reference is None:
        raise ValueError(f"loss {config.kind} compares with a reference")
    if config.needs_divergence and divergence is None:
        raise ValueError(f"loss {config.kind} needs the batch's divergence")
    return config.losses(LossInputs(policy, reference, divergence))


def smoothed(z: Pairs, smoothing: float) -> Pairs:
    """-(1 - e) * log s(z) - e * log s(-z), e = smoothing."""
    from torch.nn.functional import logsigmoid

    if not smoothing:
        return -logsigmoid(z)
    return -(1 - smoothing) * logsigmoid(z) - smoothing * logsigmoid(-z)


def with_rewards(loss: Pairs, scale: float, chosen: Pairs, rejected: Pairs) -> PairLosses:
    """The losses, and `scale` times what the method compares."""
    return PairLosses(loss, scale * chosen.detach(), scale * rejected.detach())


def high_beta(kind: str, beta: float) -> Iterator[str]:
    """Advice on the scale of summed log-probs."""
    if beta > 0.5:
        yield (
            f"loss.beta {beta:g} with {kind}: it scales summed log-probs, where 0.01 "
            "to 0.1 is usual; SimPO's 2 to 10 is of log-probs a token"
        )
