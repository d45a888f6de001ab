"""The demo's policy and prompts, as the generation benchmarks ask them."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.support.device import Device
from benchmarks.support.shapes import Shape
from benchmarks.support.training_rows import save_model
from contracts.chat import ChatFormat
from contracts.models.model import load_tokenizer
from contracts.steps.manifest import read_manifest
from generation.config import SampleConfig
from generation.engines import Job
from generation.engines.requests import Plan, Prompt, Request, plan_requests
from generation.sources.conversation import prompt_id, to_messages

FOLDER = Path(".cache/demo")
CONTEXT = 512


def demo_prompts(count: int) -> list[Prompt]:
    """The demo's first prompts.

    Raises:
        SystemExit: the demo is not built.
    """
    if read_manifest(FOLDER) is None:
        raise SystemExit("build the demo's models first: python -m demo.build")
    lines = (FOLDER / "prompts.jsonl").read_text().splitlines()[:count]
    asked = [to_messages("demo", json.loads(line)["prompt"]) for line in lines]
    return [Prompt(prompt_id(messages), messages) for messages in asked]


def demo_job(
    prompts: int, policy: Path = FOLDER / "policy", **settings: object
) -> tuple[Job, dict[int, list[Request]]]:
    """What the demo's policy, or another with its tokenizer, is to be asked, by part."""
    return job_for(demo_prompts(prompts), policy, **settings)


def job_for(
    prompts: Sequence[Prompt], policy: Path = FOLDER / "policy", **settings: object
) -> tuple[Job, dict[int, list[Request]]]:
    """The same for prompts of one's own."""
    config = SampleConfig.model_validate({"max_model_len": CONTEXT, **settings})
    chat = ChatFormat(load_tokenizer(str(policy)))
    parts = plan_requests(prompts, config, chat, CONTEXT, Counter())
    return job_of(config, chat, parts, policy), dict(enumerate(parts))


def write_policy(folder: Path, shape: Shape, device: Device) -> None:
    """A policy of random weights in another shape, with the demo's tokenizer."""
    save_model(folder, shape, device)
    load_tokenizer(str(FOLDER / "policy")).save_pretrained(folder)


def job_of(
    config: SampleConfig, chat: ChatFormat, planned: Plan, policy: Path = FOLDER / "policy"
) -> Job:
    """An engine's job with the demo's policy, or with another that has its tokenizer."""
    stop_ids = sorted({chat.end_of_turn_id, chat.tokenizer.eos_token_id})
    return Job(str(policy), config, stop_ids, planned.longest, CONTEXT)
