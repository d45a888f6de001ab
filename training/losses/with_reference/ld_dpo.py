"""LD-DPO."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from training.losses.base import (
    LossInputs,
    PairLogprobs,
    PairLosses,
    Pairs,
    Positive,
    ReferenceLoss,
    ResponseLogprobs,
    Smoothing,
    high_beta,
    smoothed,
    with_rewards,
)


class LDDPOConfig(ReferenceLoss):
    """LD-DPO (arXiv 2409.06411): DPO in which the tokens that only the longer response of a pair
    has count less."""

    kind: Literal["ld-dpo"] = "ld-dpo"
    beta: Positive = 0.1
    """Scale of the reward."""
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Weight of the tokens beyond the shorter response's length: 1 is DPO, 0 leaves them out."""
    label_smoothing: Smoothing = 0.0
    """Share of pairs taken to be labelled the wrong way round."""

    def losses(self, inputs: LossInputs) -> PairLosses:
        """LD-DPO (Liu et al. 2024, arXiv 2409.06411; TRL's `ld_alpha`).

        With lp' = the first min(|w|, |l|) tokens' log-probs + alpha * the other tokens', under
        policy and reference, and z = beta * ((lp_w' - ref_w') - (lp_l' - ref_l')):

            -(1 - e) * log s(z) - e * log s(-z)     e = label_smoothing
        """
        assert inputs.reference is not None
        chosen, rejected = (
            after - before
            for after, before in zip(
                self._sides(inputs.policy), self._sides(inputs.reference), strict=True
            )
        )
        loss = smoothed(self.beta * (chosen - rejected), self.label_smoothing)
        return with_rewards(loss, self.beta, chosen, rejected)

    def _sides(self, logprobs: PairLogprobs) -> tuple[Pairs, Pairs]:
        return self._desensitised(logprobs.chosen), self._desensitised(logprobs.rejected)

    def _desensitised(self, response: ResponseLogprobs) -> Pairs:
        assert response.shared is not None
        return response.shared + self.alpha * (response.total - response.shared)

    def advice(self) -> Iterator[str]:
        """A message for each knob that others had trouble with."""
        return high_beta(self.kind, self.beta)
