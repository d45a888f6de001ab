"""One contestant of the training benchmarks in a process of its own, stepping when it is told to.

`python -m benchmarks.support.training_contestant {ours|trl} FOLDER SETTINGS.json`: after "ready"
it takes one optimizer step for each line on standard input, and prints its seconds and its loss.
"""

import json
import math
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.support.training_rows import MAX_LENGTH, quiet

BETA, RATIO, RATE = 10.0, 0.5, 3e-4


@dataclass(frozen=True)
class Settings:
    """What both contestants run."""

    steps: int
    batch: int
    micro: int
    threads: int
    checkpointing: bool = False
    logits_mib: int = 256


def say(**values: Any) -> None:
    """One line to the parent."""
    print("::" + json.dumps(values), flush=True)


def wait() -> float:
    """Wait for the parent's word; the time then."""
    if not sys.stdin.readline():
        raise SystemExit("the parent is gone")
    return time.perf_counter()


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

    class InOrder(Schedule):
        """The rows in the order in which they lie."""

        def batch(self, step: int) -> list[int]:
            size = self.config.global_batch
            return [*range(step * size, (step + 1) * size)]

    torch.set_num_threads(settings.threads)
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    pairs = [
        Pair(str(number), row["prompt_ids"], row["chosen_ids"], row["rejected_ids"])
        for number, row in enumerate(rows)
    ]
    config = TrainConfig(
        loss=SimPOConfig(beta=BETA, gamma_beta_ratio=RATIO), learning_rate=RATE,
        global_batch=settings.batch, dtype="float32",
        resources=TrainResources(
            strategy="none", threads=settings.threads, logits_mib=settings.logits_mib,
            gradient_checkpointing=settings.checkpointing, micro_batch_tokens=4096,
        ),
    )  # fmt: skip
    engine = make_engine(config)
    policy = load_policy(str(folder), config.resources, engine.weights_dtype)
    engine.prepare(PairScorer(policy, config.resources.logits_mib << 20))
    trainer = Trainer(config, engine, pairs)
    trainer.schedule = InOrder(config, len(pairs))
    say(ready=True)
    started = wait()

    def after_step(steps: int, metrics: dict[str, float]) -> None:
        nonlocal started
        say(seconds=time.perf_counter() - started, loss=metrics["loss"])
        if steps < settings.steps:
            started = wait()

    trainer.run(0, after_step)


def trl(folder: Path, settings: Settings) -> None:
    """TRL's CPO trainer as it is, with SimPO's loss."""
    import torch
    from datasets import Dataset
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        TrainerCallback,
    )
    from trl.experimental.cpo import CPOTrainer

    torch.set_num_threads(settings.threads)
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]

    class InOrder(CPOTrainer):
        """The rows in the order in which they lie."""

        def _get_train_sampler(self, *_: Any) -> Any:
            return torch.utils.data.SequentialSampler(self.train_dataset)

    class Turns(TrainerCallback):
        """A step for each word of the parent."""

        def __init__(self) -> None:
            self.started = self.seconds = 0.0

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.started = wait()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.seconds = time.perf_counter() - self.started

        def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
            if "loss" in logs:
                say(seconds=self.seconds, loss=logs["loss"])

    # As published (recipe, section 2): Gemma-2 with eager attention, the one with its soft-cap.
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
        per_device_train_batch_size=settings.micro,
        gradient_accumulation_steps=settings.batch // settings.micro, num_train_epochs=1,
        logging_steps=1, save_strategy="no", report_to=[], bf16=False, use_cpu=True,
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
    who, folder, settings = sys.argv[1:]
    {"ours": ours, "trl": trl}[who](Path(folder), Settings(**json.loads(settings)))
    say(peak_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    main()
