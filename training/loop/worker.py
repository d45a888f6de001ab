"""One process of a training: `python -m training.loop.worker JOB.json`, as accelerate starts it."""

import json
import logging
import os
import sys
import warnings
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from contracts.models.copies import located
from contracts.steps.disk_space import naming_what_is_full
from contracts.steps.lock import folder_lock
from contracts.tables.parts import write_atomic
from runtime.progress import Progress
from training import carried
from training.adapters.lora import add_adapters, merge, write_adapter
from training.adapters.qlora import settings_of, unquantized
from training.advice.config_advice import advice
from training.config import TrainConfig, threads
from training.engines import make_engine
from training.engines.base import Engine, uses_bfloat16
from training.launch.worker_exit import run_worker
from training.loop import checkpoints
from training.loop.data import read_pairs, read_reference
from training.loop.policy import load_policy, refuse_too_long, write_policy
from training.loop.trainer import Trainer
from training.monitor.collapse import CollapseGuard
from training.monitor.metrics import MetricsLog
from training.packed.logprobs import PairScorer
from training.trackers.base import TrackedRun
from training.trackers.tracking import Tracking

log = logging.getLogger(__name__)

TRAINED = ".trained.json"
# A file server keeps a lost node's lock until its lease ends: NFSv4's after 90 s.
_LEASE_SECONDS = 150.0


@dataclass(frozen=True)
class Job:
    """What the parent process asks for."""

    config: TrainConfig
    tokens: str
    policy: str
    out: Path
    reference: str | None = None
    state: Path | None = None
    """Folder of the optimizer's state that it goes on from, and the steps behind that."""
    steps_before: int = 0
    named: str = ""
    """The policy as its adapters name it, where this process loads a copy of it."""

    @classmethod
    def read(cls, path: Path) -> "Job":
        """The job that `write` wrote."""
        job = json.loads(path.read_text())
        config = TrainConfig.model_validate(job["config"])
        state = Path(job["state"]) if "state" in job else None
        return cls(
            config, job["tokens"], located(job["policy"]), Path(job["out"]), job["reference"],
            state, job.get("steps_before", 0), job["policy"],
        )  # fmt: skip


def train(job: Job) -> None:
    """Train from the last checkpoint to the end and write the policy into `job.out`."""
    folder = job.out / checkpoints.FOLDER
    first = os.environ.get("RANK", "0") == "0"
    # A worker of a killed run may still be dying: it may not rename a checkpoint under us.
    patience = _LEASE_SECONDS if job.config.resources.cluster else None
    with folder_lock(folder, patience) if first else nullcontext():
        settle(job, first)
        if first:
            checkpoints.clear_unfinished(folder)
        with naming_what_is_full(job.out):
            _train(job, folder)


def settle(job: Job, first: bool) -> None:
    """What each process sets before it trains; only the first one talks."""
    torch.set_num_threads(threads(job.config.resources))
    disable_progress_bar()
    logging.getLogger("accelerate").setLevel(logging.WARNING)
    # DeepSpeed's collectives go by names that torch has deprecated, once each call.
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.distributed")
    if not first:
        logging.getLogger().setLevel(logging.WARNING)


def make_ready(job: Job, engine: Engine, folder: Path) -> tuple[PreTrainedModel, Trainer]:
    """The policy that the job starts from, in the engine's hands, and what trains it."""
    pairs = read_pairs(Path(job.tokens))
    quantization = settings_of(job.config, uses_bfloat16(job.config))
    policy = load_policy(
        job.policy, job.config.resources, engine.weights_dtype, quantization, engine.begins_empty
    )
    refuse_too_long(pairs, policy.config)
    if engine.rank == 0:
        for message in advice(job.config, parameters=size_of(policy)):
            log.warning(message)
    if job.config.lora:
        add_adapters(policy, job.config.lora, job.config.seed, engine.adapters_dtype)
    logits_bytes = job.config.resources.logits_mib << 20
    engine.prepare(PairScorer(policy, logits_bytes, collisions=job.config.weighting == "wpo"))
    reference = read_reference(Path(job.reference), pairs) if job.reference else None
    trainer = Trainer(job.config, engine, pairs, reference, folder)
    if engine.rank == 0 and (idle := trainer.schedule.idle):
        log.warning(idle)
    return policy, trainer


def size_of(policy: PreTrainedModel) -> int:
    """Parameters of a policy that the engine has not taken over yet."""
    # One that ZeRO-3 has split as it loaded is empty; ds_numel is its own size.
    return sum(int(getattr(p, "ds_numel", p.numel())) for p in policy.parameters())


def _train(job: Job, folder: Path) -> None:
    engine = make_engine(job.config)
    policy, trainer = make_ready(job, engine, folder)
    done = checkpoints.restore(engine, folder, job.steps_before)
    if job.state and not done:
        engine.load(job.state, job.steps_before)
    follow = _Follow(job.config, trainer, folder, done) if engine.rank == 0 else None
    every = job.config.resources.checkpoint_every

    def after_step(steps: int, metrics: dict[str, float]) -> None:
        if follow:
            follow.step(steps, metrics)
        if every and steps % every == 0 and steps < trainer.schedule.steps:
            checkpoints.save(engine, folder, steps)

    trainer.run(done, after_step)
    if job.config.hands_on:
        checkpoints.keep_state(engine, job.out / carried.FOLDER)
    weights = _named_as_policy(engine.weights())
    if follow:
        follow.tracking.finish()
        dtype = torch.bfloat16 if uses_bfloat16(job.config) else torch.float32
        if job.config.lora:
            write_adapter(weights, job.config.lora, job.named or job.policy, job.out)
            if job.config.lora.quantize:
                policy, weights = unquantized(job.policy, dtype, weights)
            weights = merge(weights, job.config.lora)
        write_policy(policy, weights, job.policy, dtype, job.out)
        last = follow.log.write_table(job.out / "metrics.parquet")
        if job.config.hands_on:
            carried.describe(job.config, job.steps_before + trainer.schedule.steps, job.out)
        _mark_trained(job, engine, trainer, last)
    engine.leave()


class _Follow:
    """What rank 0 tells the world while it trains."""

    def __init__(self, config: TrainConfig, trainer: Trainer, folder: Path, done: int) -> None:
        self.log = MetricsLog(folder, done)
        shown = config.model_dump(mode="json", exclude={"resources", "trackers"})
        tracked = TrackedRun(folder.parent, shown, resumed=bool(self.log.before))
        self.tracking = Tracking(config.trackers, tracked, self.log.before)
        self._progress = Progress(trainer.schedule.steps, "steps", resumed=done)
        self._guard = CollapseGuard()

    def step(self, steps: int, metrics: dict[str, float]) -> None:
        """A step is done."""
        self.log.add(steps, metrics)
        self.tracking.log(steps, metrics)
        for sign in self._guard.watch(metrics):
            log.warning("step %d: %s", steps, sign)
        note = f"loss {metrics['loss']:.4f}"
        if "rewards/margins" in metrics:
            note += f", margin {metrics['rewards/margins']:.3f}"
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


def _named_as_policy(weights: dict[str, torch.Tensor] | None) -> dict[str, torch.Tensor]:
    prefix = "policy."
    return {name.removeprefix(prefix): value for name, value in (weights or {}).items()}


if __name__ == "__main__":
    run_worker(lambda: train(Job.read(Path(sys.argv[1]))))
