"""The published scripts of a round, each a process that loads its model anew (recipe, 1 to 3).

`python -m benchmarks.support.recipe_scripts {decode SEED|combine|annotate|train} FOLDER`, in that
order, decode once a seed; what one writes the next one reads, as JSON. FOLDER/job.json holds the
prompts and what is asked (`RecipeJob`). They make what the published ones make: five seeded passes,
one conversation at a time through the reward model, argmax and argmin, padded rows in TRL.
"""

import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.support.generation_demo import FOLDER, job_for
from contracts.chat import ChatFormat, Message
from contracts.models.model import load_tokenizer
from generation.engine_kinds.vllm import VllmEngine
from generation.engines.requests import Prompt


@dataclass(frozen=True)
class RecipeJob:
    """What the scripts are asked."""

    prompts: dict[str, list[Message]]
    """By id."""
    max_tokens: int
    batch: int = 16
    micro: int = 2
    epochs: int = 1
    learning_rate: float = 3e-4

    def write(self, folder: Path) -> None:
        """As the scripts read it."""
        (folder / "job.json").write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, folder: Path) -> "RecipeJob":
        """What `write` wrote."""
        return cls(**json.loads((folder / "job.json").read_text()))


def decode(folder: Path, seed: str) -> None:
    """decode.py: one seed, one load of the model, an answer to every prompt."""
    asked = RecipeJob.read(folder)
    prompts = [Prompt(prompt_id, messages) for prompt_id, messages in asked.prompts.items()]
    decode_pass(prompts, int(seed), asked.max_tokens, folder / f"output_{seed}.json")


def decode_pass(prompts: Sequence[Prompt], seed: int, max_tokens: int, out: Path) -> None:
    """Write the demo's policy's answers by prompt, and end this process."""
    job, parts = job_for(prompts, n=1, max_tokens=max_tokens)
    from generation.engines.vllm import engine_arguments, sampling_parameters

    arguments = engine_arguments(job, VllmEngine())
    from vllm import LLM

    llm = LLM(**arguments | {"skip_tokenizer_init": False})
    requests = [request for part in parts.values() for request in part]
    settings = sampling_parameters(job)(replace(requests[0], seed=seed))
    settings.detokenize = True
    outputs = llm.generate(
        [{"prompt_token_ids": request.prompt} for request in requests], settings, use_tqdm=False
    )
    texts = {
        request.prompt_id: output.outputs[0].text
        for request, output in zip(requests, outputs, strict=True)
    }
    out.write_text(json.dumps(texts))
    sys.stdout.flush()
    os._exit(0)


def combine(folder: Path) -> None:
    """post_process.py: all answers of a prompt; one whose answers are identical is left out."""
    passes = [json.loads(path.read_text()) for path in sorted(folder.glob("output_*.json"))]
    every = {prompt: [answers[prompt] for answers in passes] for prompt in passes[0]}
    kept = {prompt: texts for prompt, texts in every.items() if len(set(texts)) > 1}
    (folder / "all_outputs.json").write_text(json.dumps(kept))


def annotate(folder: Path) -> None:
    """reward_model_annotate.py: one conversation at a time, then argmax and argmin."""
    import torch

    from annotation.armorm.model import ArmoRM
    from annotation.scorers.protocol import Conversation
    from benchmarks.annotation_vs_recipe import one_at_a_time

    reference = FOLDER / "reward_model"
    model = ArmoRM.from_pretrained(reference, dtype=torch.float32, attn_implementation="sdpa")
    chat = ChatFormat(load_tokenizer(str(reference)))
    prompts = RecipeJob.read(folder).prompts
    pairs = []
    for prompt, texts in json.loads((folder / "all_outputs.json").read_text()).items():
        scores = one_at_a_time(model.eval(), chat, [Conversation(prompts[prompt], texts)])
        chosen, rejected = (texts[scores.index(end(scores))] for end in (max, min))
        pairs.append({"prompt_id": prompt, "chosen": chosen, "rejected": rejected})
    (folder / "pairs.json").write_text(json.dumps(pairs))


def train(folder: Path) -> None:
    """run_simpo.py: TRL's CPO trainer with SimPO's loss over padded rows."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl.experimental.cpo import CPOTrainer

    asked, policy = RecipeJob.read(folder), FOLDER / "policy"
    # As published: Gemma-2 with eager attention.
    model = AutoModelForCausalLM.from_pretrained(
        policy, dtype=torch.float32, attn_implementation="eager"
    )
    tokenizer = AutoTokenizer.from_pretrained(policy)
    pairs = json.loads((folder / "pairs.json").read_text())
    rows = [_row(tokenizer, asked.prompts[pair["prompt_id"]], pair) for pair in pairs]
    trainer = CPOTrainer(
        model=model, args=_arguments(folder, asked, len(rows)), processing_class=tokenizer,
        train_dataset=Dataset.from_list(rows),
    )  # fmt: skip
    trainer.train()
    trainer.save_model(str(folder / "policy"))
    (folder / "trained.json").write_text(json.dumps({"steps": trainer.state.global_step}))


def _row(tokenizer: Any, messages: list[Message], pair: dict[str, str]) -> dict[str, str]:
    """The texts that TRL tokenises; it puts a BOS before the prompt itself."""
    prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    row = {"prompt": prompt.removeprefix(tokenizer.bos_token)}
    for side in ("chosen", "rejected"):
        turns = [*messages, {"role": "assistant", "content": pair[side]}]
        row[side] = tokenizer.apply_chat_template(turns, tokenize=False)[len(prompt) :]
    return row


def _arguments(folder: Path, asked: RecipeJob, pairs: int) -> Any:
    from trl.experimental.cpo import CPOConfig

    steps = asked.epochs * math.ceil(pairs / asked.batch)
    return CPOConfig(
        output_dir=str(folder / "trl"), loss_type="simpo", cpo_alpha=0.0, beta=10.0,
        simpo_gamma=5.0, learning_rate=asked.learning_rate, lr_scheduler_type="cosine",
        warmup_steps=math.ceil(0.1 * steps), max_length=2048,
        per_device_train_batch_size=asked.micro,
        gradient_accumulation_steps=asked.batch // asked.micro, num_train_epochs=asked.epochs,
        logging_steps=1, save_strategy="no", report_to=[], bf16=False, use_cpu=True,
        disable_tqdm=True,
    )  # fmt: skip


def main() -> None:
    """Run one script."""
    from benchmarks.support.training_rows import quiet

    quiet()
    script, folder, *arguments = sys.argv[1:]
    scripts: dict[str, Callable[..., None]] = {
        "decode": decode, "combine": combine, "annotate": annotate, "train": train,
    }  # fmt: skip
    scripts[script](Path(folder), *arguments)


if __name__ == "__main__":
    main()
