"""One contestant of the training benchmarks in a process of its own, stepping when it is told to.

`python -m benchmarks.support.training_contestant {ours|trl} FOLDER SETTINGS.json`: after "ready"
it takes one optimizer step for each line on standard input, and prints its seconds and its loss.
"""

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.support.device import Device
from benchmarks.support.step_profile import StepProfile
from benchmarks.support.training_rows import MAX_LENGTH, quiet, read_rows

BETA, RATIO, RATE = 10.0, 0.5, 3e-4


@dataclass(frozen=True)
class Settings:
    """What both contestants run."""

    steps: int
    batch: int
    """Pairs an optimizer step."""
    trl_micro: int
    """Pairs that TRL takes in one pass."""
    threads: int = 2
    micro_tokens: int = 4096
    """Tokens that we take in one pass."""
    logits_mib: int = 256
    device: str = "cpu"
    dtype: str = "float32"
    profile: bool = False
    """Whether our last step is profiled, which slows it."""

    @property
    def on(self) -> Device:
        """Where both run."""
        return Device(self.device, self.dtype)

    @property
    def checkpointing(self) -> bool:
        """Recomputed activations, as the published runs have it; on a CPU memory is no matter."""
        return self.on.on_gpu

    @property
    def warm_up(self) -> int:
        """Steps that are not timed: the first loads kernels and allocates the optimizer's state;
        on a GPU the second compiles for lengths that the first had not."""
        return 2 if self.on.on_gpu else 1

    def refuse_untimed(self, steps: int) -> None:
        """Refuse so few steps that none is timed.

        Raises:
            SystemExit: names the least.
        """
        if steps <= self.warm_up:
            raise SystemExit(f"--steps {steps}: take {self.warm_up + 1} or more, for the first "
                             "warm up and are not timed")  # fmt: skip

    def refuse_uneven(self) -> None:
        """Refuse a batch that TRL, which takes whole passes alone, would train less of than we.

        Raises:
            SystemExit: names both options.
        """
        if self.batch % self.trl_micro:
            raise SystemExit(f"--batch {self.batch}: take a multiple of --trl-micro "
                             f"{self.trl_micro}, or TRL trains on fewer pairs a step")  # fmt: skip


def say(**values: Any) -> None:
    """One line to the parent."""
    print("::" + json.dumps(values), flush=True)


def wait(device: Device) -> float:
    """Wait for the parent's word; the time then."""
    if not sys.stdin.readline():
        raise SystemExit("the parent is gone")
    return device.clock()


def ours(folder: Path, settings: Settings) -> None:
    """This project's own loop over its own engine."""
    import torch

    from training.config import TrainConfig, TrainResources
    from training.engines import make_engine
    from training.loop.policy import load_policy
    from training.loop.schedule import Schedule
    from training.loop.trainer import Trainer
    from training.losses.reference_free.simpo import SimPOConfig
    from training.packed.logprobs import PairScorer
    from training.packed.packing import Pair

    class InOrder(Schedule):  # the rows as they lie
        def batch(self, step: int) -> list[int]:
            size = self.config.global_batch
            return [*range(step * size, (step + 1) * size)]

    torch.set_num_threads(settings.threads)
    pairs = [
        Pair(str(number), row["prompt_ids"], row["chosen_ids"], row["rejected_ids"])
        for number, row in enumerate(read_rows(folder))
    ]
    config = TrainConfig(
        loss=SimPOConfig(beta=BETA, gamma_beta_ratio=RATIO), learning_rate=RATE,
        global_batch=settings.batch, dtype=settings.on.dtype,
        resources=TrainResources(
            strategy="none", threads=settings.threads, logits_mib=settings.logits_mib,
            gradient_checkpointing=settings.checkpointing, micro_batch_tokens=settings.micro_tokens,
        ),
    )  # fmt: skip
    engine = make_engine(config)
    policy = load_policy(str(folder), config.resources, engine.weights_dtype)
    engine.prepare(PairScorer(policy, config.resources.logits_mib << 20))
    trainer = Trainer(config, engine, pairs)
    trainer.schedule = InOrder(config, len(pairs))
    say(ready=True)
    started = wait(settings.on)
    profile: StepProfile | None = None

    def after_step(steps: int, metrics: dict[str, float]) -> None:
        nonlocal started, profile
        told = profile.end() if profile else {}
        say(seconds=settings.on.clock() - started, loss=metrics["loss"], **told)
        if steps < settings.steps:
            started = wait(settings.on)
        if settings.profile and steps == settings.steps - 1:
            profile = StepProfile(settings.on)

    trainer.run(0, after_step)


def trl(folder: Path, settings: Settings) -> None:
    """TRL's CPO trainer as it is, with SimPO's loss."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl.experimental.cpo import CPOTrainer

    torch.set_num_threads(settings.threads)
    rows = read_rows(folder)

    class InOrder(CPOTrainer):
        """The rows in the order in which they lie."""

        def _get_train_sampler(self, *_: Any) -> Any:
            return torch.utils.data.SequentialSampler(self.train_dataset)

    class Turns(TrainerCallback):
        """A step for each word of the parent."""

        def __init__(self) -> None:
            self.started = self.seconds = 0.0

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.started = wait(settings.on)

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.seconds = settings.on.clock() - self.started

        def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
            if "loss" in logs:
                say(seconds=self.seconds, loss=logs["loss"])

    # As published (recipe, section 2): Gemma-2 with eager attention, the one with its soft-cap;
    # weights in float32, of which a pass in bfloat16 casts copies, on both sides.
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )
    trainer = InOrder(
        model=model, args=trl_arguments(folder, settings), callbacks=[Turns()],
        processing_class=AutoTokenizer.from_pretrained(folder),
        train_dataset=Dataset.from_list([
            {name: row[name] for name in ("prompt", "chosen", "rejected")} for row in rows
        ]),
    )  # fmt: skip
    refuse_other_tokens(trainer.train_dataset, rows)
    say(ready=True)
    trainer.train()


def trl_arguments(folder: Path, settings: Settings) -> Any:
    """The same training in TRL's words; `simpo_gamma` is absolute there."""
    from trl.experimental.cpo import CPOConfig

    return CPOConfig(
        output_dir=str(folder / "trl"), loss_type="simpo", cpo_alpha=0.0, beta=BETA,
        simpo_gamma=BETA * RATIO, learning_rate=RATE, lr_scheduler_type="cosine",
        warmup_steps=math.ceil(0.1 * settings.steps), max_length=MAX_LENGTH,
        per_device_train_batch_size=settings.trl_micro,
        gradient_accumulation_steps=settings.batch // settings.trl_micro, num_train_epochs=1,
        logging_steps=1, save_strategy="no", report_to=[],
        bf16=settings.dtype == "bfloat16", use_cpu=not settings.on.on_gpu,
        gradient_checkpointing=settings.checkpointing, disable_tqdm=True,
        gradient_checkpointing_kwargs={"use_reentrant": False}, dataloader_drop_last=True,
    )  # fmt: skip


def refuse_other_tokens(theirs: Any, rows: Sequence[dict[str, Any]]) -> None:
    """Both contestants must train on the very same tokens."""
    for row, made in zip(rows, theirs, strict=True):
        for side in ("chosen", "rejected"):
            if made[f"{side}_input_ids"] != row["prompt_ids"] + row[f"{side}_ids"]:
                raise SystemExit(f"TRL tokenises {row['prompt'][:60]!r} in another way")


def main() -> None:
    """Run one contestant."""
    quiet()
    who, folder, told = sys.argv[1:]
    settings = Settings(**json.loads(told))
    {"ours": ours, "trl": trl}[who](Path(folder), settings)
    say(peak_mib=settings.on.peak_mib())


if __name__ == "__main__":
    main()
