"""One process of a training run: `python -m training.worker JOB.json`, as accelerate starts it."""

import json
import logging
import os
import sys
import warnings
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers.utils.logging import disable_progress_bar

from contracts.errors import UserError
from contracts.parts import iter_parts, write_atomic
from contracts.process import configure_logging, exit_code_of
from contracts.progress import Progress
from contracts.step import folder_lock
from training import checkpoints
from training.config import TrainConfig
from training.engine import Engine, uses_bfloat16
from training.launch import MISTAKE_MARK
from training.logprobs import PairScorer
from training.metrics import MetricsLog
from training.packing import Pair
from training.policy import load_policy, refuse_too_long, write_policy
from training.trainer import Trainer

log = logging.getLogger(__name__)

TRAINED = ".trained.json"


@dataclass(frozen=True)
class Job:
    """What the parent process asks for."""

    config: TrainConfig
    tokens: str
    policy: str
    out: Path

    @classmethod
    def read(cls, path: Path) -> "Job":
        """The job that `write` wrote."""
        job = json.loads(path.read_text())
        config = TrainConfig.model_validate(job["config"])
        return cls(config, job["tokens"], job["policy"], Path(job["out"]))


def train(job: Job) -> None:
    """Train from the last checkpoint to the end and write the policy into `job.out`."""
    folder = job.out / checkpoints.FOLDER
    first = os.environ.get("RANK", "0") == "0"
    # A worker of a killed run may still be dying: it may not rename a checkpoint under us.
    with folder_lock(folder) if first else nullcontext():
        torch.set_num_threads(_threads(job.config))
        disable_progress_bar()
        logging.getLogger("accelerate").setLevel(logging.WARNING)
        # DeepSpeed's collectives go by names that torch has deprecated, once each call.
        warnings.filterwarnings("ignore", category=FutureWarning, module="torch.distributed")
        if first:
            checkpoints.clear_unfinished(folder)
        else:
            logging.getLogger().setLevel(logging.WARNING)
        _train(job, folder)


def read_pairs(tokens: Path) -> list[Pair]:
    """The pairs of a TOKENS table; ids stay in arrow's memory until a batch needs them."""
    columns = ["prompt_id", "prompt_ids", "chosen_ids", "rejected_ids", "chosen_loss_start",
               "rejected_loss_start"]  # fmt: skip
    pairs = []
    for part in iter_parts(tokens, columns):
        ids = [_arrays(part[name]) for name in columns[1:4]]
        rest = [part[name].to_pylist() for name in (columns[0], *columns[4:])]
        pairs += [
            Pair(name, prompt, chosen, rejected, *starts)
            for prompt, chosen, rejected, name, *starts in zip(*ids, *rest, strict=True)
        ]
    return pairs


def _train(job: Job, folder: Path) -> None:
    engine = Engine(job.config)
    pairs = read_pairs(Path(job.tokens))
    policy = load_policy(job.policy, job.config.resources, engine.weights_dtype)
    refuse_too_long(pairs, policy.config)
    engine.prepare(PairScorer(policy, job.config.resources.logits_mib << 20))
    trainer = Trainer(job.config, engine, pairs)
    done = checkpoints.restore(engine, folder)
    follow = _Follow(job.config, trainer, folder, done) if engine.rank == 0 else None
    every = job.config.resources.checkpoint_every

    def after_step(steps: int, metrics: dict[str, float]) -> None:
        if follow:
            follow.step(steps, metrics)
        if every and steps % every == 0 and steps < trainer.schedule.steps:
            checkpoints.save(engine, folder, steps)

    trainer.run(done, after_step)
    weights = _named_as_policy(engine.weights())
    if follow:
        dtype = torch.bfloat16 if uses_bfloat16(job.config) else torch.float32
        write_policy(policy, weights, job.policy, dtype, job.out)
        last = follow.log.write_table(job.out / "metrics.parquet")
        _mark_trained(job, engine, trainer, last)
    engine.leave()


class _Follow:
    """What rank 0 tells the world while it trains."""

    def __init__(self, config: TrainConfig, trainer: Trainer, folder: Path, done: int) -> None:
        self.log = MetricsLog(folder, done)
        self._progress = Progress(trainer.schedule.steps, "step", resumed=done)

    def step(self, steps: int, metrics: dict[str, float]) -> None:
        """A step is done."""
        self.log.add(steps, metrics)
        note = f"loss {metrics['loss']:.4f}, margin {metrics['rewards/margins']:.3f}"
        self._progress.advance(note=note)


def _mark_trained(job: Job, engine: Engine, trainer: Trainer, metrics: dict[str, float]) -> None:
    facts = {
        "steps": trainer.schedule.steps,
        "pairs": len(trainer.pairs),
        "processes": engine.processes,
        "engine": engine.name,
        "zero_stage": engine.zero_stage,
        "metrics": metrics,
    }
    os.sync()  # the weights are on the disk before the mark says so
    write_atomic(job.out / TRAINED, json.dumps(facts).encode())


def _arrays(column: Any) -> list[Any]:
    """Each row's ids as an int32 array that shares the column's memory."""
    return [
        chunk.values.to_numpy()[start:end]
        for chunk in column.chunks
        for start, end in zip(chunk.offsets.tolist(), chunk.offsets.tolist()[1:], strict=False)
    ]


def _named_as_policy(weights: dict[str, torch.Tensor] | None) -> dict[str, torch.Tensor]:
    prefix = "policy."
    return {name.removeprefix(prefix): value for name, value in (weights or {}).items()}


def _threads(config: TrainConfig) -> int:
    share = len(os.sched_getaffinity(0)) // config.resources.processes
    return config.resources.threads or max(1, share)


def main() -> None:
    """Run the job file named on the command line."""
    configure_logging()
    code = exit_code_of(lambda: train(Job.read(Path(sys.argv[1]))))
    if code == UserError.exit_code:
        print(MISTAKE_MARK)
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: taking torch and the process group apart costs 2 s a process.
    os._exit(code)


if __name__ == "__main__":
    main()
