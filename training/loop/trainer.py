"""The training loop: exact global batches over any number of processes and passes."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from contracts.errors import OnPolicyError
from training.config import TrainConfig
from training.engines.base import Engine
from training.loop.bad_batch import keep_batch
from training.loop.policy import row_multiple
from training.loop.schedule import Schedule, micro_batches
from training.losses.base import (
    Divergence,
    PairLogprobs,
    PairLosses,
    ResponseLogprobs,
    pair_losses,
)
from training.losses.wpo import weighted
from training.packed.logprobs import as_pairs
from training.packed.packing import Pair, make_batch

# Named as TRL and the SimPO trainer name them; each is a mean over the step's pairs.
NAMES = (
    "loss",
    "rewards/chosen",
    "rewards/rejected",
    "rewards/margins",
    "rewards/accuracies",
    "logps/chosen",
    "logps/rejected",
)
# Without a rejected response, as SFT runs.
CHOSEN_NAMES = ("loss", "logps/chosen")
# Where pairs are weighted.
WEIGHTS = "weights"


class Trainer:
    """Runs optimizer steps of a schedule over pairs that lie in memory."""

    def __init__(
        self,
        config: TrainConfig,
        engine: Engine,
        pairs: Sequence[Pair],
        reference: Float[Tensor, "pairs 4"] | None = None,
        folder: Path | None = None,
    ) -> None:
        """
        Args:
            reference: as `read_reference` gives it, where the loss has one.
            folder: where the pairs of a step that goes wrong are kept.
        """
        self.config = config
        self.engine = engine
        self.pairs = pairs
        self.schedule = Schedule(config, len(pairs))
        self._reference = reference
        self._folder = folder
        # Where no loss reads the rejected responses (SFT), a pass without them is about half as
        # long.
        both = config.loss.reads_rejected
        self._names: tuple[str, ...] = NAMES if both else CHOSEN_NAMES
        if config.weighting:
            self._names += (WEIGHTS,)
        self._run = (
            pairs if both else [replace(pair, rejected=(), rejected_start=0) for pair in pairs]
        )

    def run(self, start: int, after_step: Callable[[int, dict[str, float]], None]) -> None:
        """Every step from `start` on; `after_step` gets the steps done and the metrics.

        Raises:
            OnPolicyError: a loss or a gradient is not finite; names the step and the pairs.
        """
        for step in range(start, self.schedule.steps):
            after_step(step + 1, self._step(step))

    def _step(self, step: int) -> dict[str, float]:
        engine = self.engine
        batch = self.schedule.batch(step)
        mine = self._my_passes(batch)
        rate = self.schedule.learning_rate(step)
        engine.set_learning_rate(rate)
        divergence = self._divergence(mine, batch) if self.config.loss.needs_divergence else None
        sums = torch.zeros(len(self._names), device=engine.device)
        for number, members in enumerate(mine, start=1):
            share = _Share(step, members, batch, last=number == len(mine))
            sums += self._pass(share, divergence)
        norm = engine.step()
        if not math.isfinite(norm):
            raise self._not_finite("gradient's norm", norm, step, batch)
        means = (engine.sum(sums) / len(batch)).tolist()
        return {
            **dict(zip(self._names, means, strict=True)),
            "grad_norm": norm,
            "learning_rate": rate,
        }

    def _my_passes(self, batch: Sequence[int]) -> list[list[int]]:
        """The pairs of each of this process's passes over the step's pairs."""
        engine, budget = self.engine, self.config.resources.micro_batch_tokens
        lengths = [self._run[index].length for index in batch]
        padded = self.config.resources.layout != "packed"
        plan = micro_batches(lengths, engine.processes, budget, padded)
        return [[batch[place] for place in places] for places in plan[engine.rank]]

    def _pass(self, share: "_Share", divergence: Divergence | None) -> Float[Tensor, "metrics"]:
        """Forward and backward of some of the step's pairs; sums over them."""
        engine = self.engine
        with engine.accumulating(share.last):
            policy = self._score(share.scored)
            reference = self._reference_of(share.scored, policy)
            losses = pair_losses(self.config.loss, policy, reference, divergence)
            if self.config.weighting:
                losses = weighted(losses, policy)
            # Before the backward pass: after it a NaN is in every gradient, and no pair can be
            # named.
            if not bool(torch.isfinite(losses.loss).all()):
                worst = losses.loss[~torch.isfinite(losses.loss)][0].item()
                raise self._not_finite("loss", worst, share.step, share.scored)
            # A mean over the global batch's pairs, whatever passes they are in: a mean of the
            # passes' means would count a pair of a short pass for more. Engines average over
            # processes, hence the factor.
            weight = engine.processes / len(share.batch) if share.members else 0.0
            engine.backward(losses.loss.sum() * weight, share.last)
        return _metric_sums(losses, policy, self._names) * bool(share.members)

    def _score(self, indices: Sequence[int]) -> PairLogprobs:
        pairs, layout = [self._run[index] for index in indices], self.config.resources.layout
        laid_out = make_batch(pairs, layout, row_multiple(self.engine.device))
        return as_pairs(*self.engine.forward(laid_out.to(self.engine.device)))

    def _reference_of(self, indices: Sequence[int], policy: PairLogprobs) -> PairLogprobs | None:
        if self._reference is None:
            return None
        sums = self._reference[list(indices)].to(policy.chosen.total).unbind(1)
        chosen, rejected, chosen_shared, rejected_shared = sums
        return PairLogprobs(
            ResponseLogprobs(chosen, policy.chosen.tokens, chosen_shared),
            ResponseLogprobs(rejected, policy.rejected.tokens, rejected_shared),
        )

    @torch.no_grad()
    def _divergence(self, mine: Sequence[Sequence[int]], batch: Sequence[int]) -> Divergence:
        """KTO's estimates over the whole global batch: a forward pass of its own, since no
        pair's loss is known before every process has seen every pair."""
        sums = torch.zeros(2, device=self.engine.device)
        for members in mine:
            policy = self._score(members or batch[:1])
            reference = self._reference_of(members or batch[:1], policy)
            if members and reference:
                sums += torch.stack([
                    (policy.chosen.total - reference.chosen.total).sum(),
                    (policy.rejected.total - reference.rejected.total).sum(),
                ])  # fmt: skip
        chosen, rejected = (self.engine.sum(sums) / len(batch)).clamp(min=0)
        return Divergence(chosen, rejected)

    def _not_finite(
        self, what: str, value: float, step: int, indices: Sequence[int]
    ) -> OnPolicyError:
        pairs = [self.pairs[index] for index in indices]
        names = ", ".join(pair.pair_id for pair in pairs[:8])
        more = f" and {len(pairs) - 8} more" if len(pairs) > 8 else ""
        where = "these rows of the tokens"
        if self._folder:
            where = str(keep_batch(self._folder, step, self.engine.rank, pairs))
        return OnPolicyError(
            f"step {step + 1}: the {what} is {value}; pairs {names}{more}. The last checkpoint is "
            f"kept. Lower learning_rate, or look at {where}"
        )


@dataclass(frozen=True)
class _Share:
    """One pass: `members` of a step's `batch`, as indices of pairs."""

    step: int
    members: Sequence[int]
    batch: Sequence[int]
    last: bool

    @property
    def scored(self) -> Sequence[int]:
        """An empty pass takes part with weight 0: ZeRO-3's processes run in lockstep."""
        return self.members or self.batch[:1]


def _metric_sums(
    losses: PairLosses, logprobs: PairLogprobs, names: Sequence[str]
) -> Float[Tensor, "metrics"]:
    """Sums over pairs."""
    chosen, rejected = losses.chosen_rewards, losses.rejected_rewards
    values = {
        "loss": losses.loss.detach(),
        "rewards/chosen": chosen,
        "rewards/rejected": rejected,
        "rewards/margins": chosen - rejected,
        "rewards/accuracies": (chosen > rejected).to(chosen.dtype),
        "logps/chosen": logprobs.chosen.mean.detach(),
        "logps/rejected": logprobs.rejected.mean.detach(),
    }
    if losses.weights is not None:
        values[WEIGHTS] = losses.weights
    return torch.stack([values[name].sum() for name in names])
