"""The training loop: exact global batches over any number of processes and passes."""

import math
from collections.abc import Callable, Sequence

import torch

from contracts.errors import OnPolicyError
from training.config import TrainConfig
from training.engine import Engine
from training.logprobs import as_pairs
from training.losses import PairLogprobs, PairLosses, pair_losses
from training.packing import Pair, make_batch
from training.schedule import Schedule, micro_batches

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


class Trainer:
    """Runs optimizer steps of a schedule over pairs that lie in memory."""

    def __init__(self, config: TrainConfig, engine: Engine, pairs: Sequence[Pair]) -> None:
        self.config = config
        self.engine = engine
        self.pairs = pairs
        self.schedule = Schedule(config, len(pairs))

    def run(self, start: int, after_step: Callable[[int, dict[str, float]], None]) -> None:
        """Every step from `start` on; `after_step` gets the steps done and the metrics.

        Raises:
            OnPolicyError: a loss or a gradient is not finite; names the step and the pairs.
        """
        for step in range(start, self.schedule.steps):
            after_step(step + 1, self._step(step))

    def _step(self, step: int) -> dict[str, float]:
        engine, resources = self.engine, self.config.resources
        batch = [self.pairs[index] for index in self.schedule.batch(step)]
        lengths = [pair.length for pair in batch]
        plan = micro_batches(lengths, engine.processes, resources.micro_batch_tokens)
        rate = self.schedule.learning_rate(step)
        engine.set_learning_rate(rate)
        sums = torch.zeros(len(NAMES), device=engine.device)
        mine = plan[engine.rank]
        for number, indices in enumerate(mine, start=1):
            members = [batch[index] for index in indices]
            sums += self._pass(step, members, batch, last=number == len(mine))
        norm = engine.step()
        if not math.isfinite(norm):
            raise OnPolicyError(_not_finite("gradient's norm", norm, step, batch))
        means = (engine.sum(sums) / len(batch)).tolist()
        return {**dict(zip(NAMES, means, strict=True)), "grad_norm": norm, "learning_rate": rate}

    def _pass(
        self, step: int, members: Sequence[Pair], batch: Sequence[Pair], last: bool
    ) -> torch.Tensor:
        """Forward and backward of some of the step's pairs; [metrics] sums over them.

        An empty pass takes part with weight 0: ZeRO-3's processes run in lockstep.
        """
        engine = self.engine
        laid_out = make_batch(members or batch[:1], self.config.resources.layout)
        with engine.accumulating(last):
            logprobs = as_pairs(*engine.forward(laid_out.to(engine.device)))
            losses = pair_losses(self.config.loss, logprobs)
            if not bool(torch.isfinite(losses.loss).all()):
                worst = losses.loss[~torch.isfinite(losses.loss)][0].item()
                raise OnPolicyError(_not_finite("loss", worst, step, members or batch[:1]))
            weight = engine.processes / len(batch) if members else 0.0
            engine.backward(losses.loss.sum() * weight, last)
        return _metric_sums(losses, logprobs) * bool(members)


def _metric_sums(losses: PairLosses, logprobs: PairLogprobs) -> torch.Tensor:
    """[metrics] sums over pairs, in the order of NAMES."""
    chosen, rejected = losses.chosen_rewards, losses.rejected_rewards
    values = [
        losses.loss.detach(),
        chosen,
        rejected,
        chosen - rejected,
        (chosen > rejected).to(chosen.dtype),
        logprobs.chosen.mean.detach(),
        logprobs.rejected.mean.detach(),
    ]
    return torch.stack([value.sum() for value in values])


def _not_finite(what: str, value: float, step: int, pairs: Sequence[Pair]) -> str:
    names = ", ".join(pair.pair_id for pair in pairs[:8])
    more = f" and {len(pairs) - 8} more" if len(pairs) > 8 else ""
    return (
        f"step {step + 1}: the {what} is {value}; pairs {names}{more}. The last checkpoint is "
        "kept. Lower learning_rate, or look at these rows of the tokens"
    )
