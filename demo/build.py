"""`python -m demo.build [--out FOLDER] [--seed N]`: the demo's models and prompts, made once."""

import argparse
import json
import logging
import os
import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from contracts.errors import OnPolicyError
from contracts.steps.facts import Facts
from contracts.steps.inputs import Inputs
from contracts.steps.manifest import Result
from contracts.steps.step import Stage, run_once
from contracts.tables.parts import write_atomic
from demo.config import DemoConfig
from demo.rubric import parse_request
from demo.text import PLAIN, all_prompts, answer, benchmark_prompts
from runtime.stage_process import configure_logging, describe

log = logging.getLogger("demo.build")

# A second thread gains little on matrices this small, and much is lost where cores are shared.
_THREADS = 1
_TOKENIZER_TEXTS = 4_000
_BENCHMARK_PROMPTS = 24


class BuildFacts(Facts):
    """How good the reward model is."""

    agreement: float
    """Correlation of learned and true reward on held-out samples."""


def run(config: DemoConfig, inputs: Inputs, out: Path) -> Result:
    """Fill `out` with policy/, reward_model/, prompts.jsonl and alpaca_prompts.json."""
    prompts = all_prompts()
    random.Random(config.seed).shuffle(prompts)
    _write_prompts(config, prompts, out)
    with _settled_torch():
        agreement = _build_models(config, prompts, out)
    return Result(rows=len(prompts), facts=BuildFacts(agreement=agreement))


def _build_models(config: DemoConfig, prompts: list[str], out: Path) -> float:
    from transformers.utils import logging as transformers_logging

    from contracts.chat import ChatFormat
    from demo.agreement import correlation
    from demo.examples import score_examples, written_answers
    from demo.policy import build_policy, sample_answers
    from demo.reward_model import build_reward_model
    from demo.tokenizers import GEMMA, LLAMA, train_tokenizer

    transformers_logging.disable_progress_bar()
    texts = _tokenizer_texts(prompts, config.seed)
    gemma, llama = (
        train_tokenizer(family, texts, config.vocab_size, config.context)
        for family in (GEMMA, LLAMA)
    )
    log.info("teaching a Gemma-2 policy to answer, well and badly")
    policy = build_policy(config, gemma, prompts, out / "policy")
    settings = config.reward_model
    sampled_prompts = prompts[: settings.sampled_prompts]
    sampled = sample_answers(
        policy, ChatFormat(gemma), sampled_prompts, settings.samples, config.seed
    )
    log.info("teaching an ArmoRM reward model to tell them apart")
    held_out = sampled[: len(sampled) // 8]
    taught = [*written_answers(settings, prompts, config.seed), *sampled[len(held_out) :]]
    random.Random(config.seed).shuffle(taught)
    chat = ChatFormat(llama)
    model = build_reward_model(config, llama, score_examples(chat, taught), out / "reward_model")
    agreement = correlation(model, score_examples(chat, held_out))
    log.info("learned and true reward correlate at %.3f on held-out samples", agreement)
    return agreement


def _tokenizer_texts(prompts: list[str], seed: int) -> list[str]:
    """Prompts and answers, and the words of the templates' headers."""
    rng = random.Random(seed)
    drawn = [rng.choice(prompts) for _ in range(_TOKENIZER_TEXTS)]
    answers = [answer(parse_request(prompt), PLAIN, rng) for prompt in drawn]
    return [*drawn, *answers, *["user\n", "model\n", "assistant\n\n"] * _TOKENIZER_TEXTS]


def _write_prompts(config: DemoConfig, prompts: list[str], out: Path) -> None:
    lines = "".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts)
    write_atomic(out / "prompts.jsonl", lines.encode())
    chosen = random.Random(config.seed).sample(benchmark_prompts(), _BENCHMARK_PROMPTS)
    rows = [
        {"idx": index, "dataset": "demo", "instruction": prompt}
        for index, prompt in enumerate(chosen)
    ]
    write_atomic(out / "alpaca_prompts.json", json.dumps(rows, indent=1).encode())


@contextmanager
def _settled_torch() -> Iterator[None]:
    """The same sums in the same order on every build, whatever else the machine does."""
    import torch

    threads = torch.get_num_threads()
    strict = torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(_THREADS)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict)


STAGE = Stage(
    name="demo.build", version=1, config=DemoConfig, inputs=Inputs,
    output="models, prompts.jsonl, alpaca_prompts.json", facts=BuildFacts, run=run,
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Build unless it is built; 0 done, 1 failed, 2 for a folder that another config made."""
    parser = argparse.ArgumentParser(prog="python -m demo.build", description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path(".cache/demo"), help="default: %(default)s"
    )
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    arguments = parser.parse_args(argv)
    configure_logging()
    # Transformers imports DeepSpeed, which looks for a GPU and warns where there is none.
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    try:
        manifest = run_once(STAGE, DemoConfig(seed=arguments.seed), Inputs(), arguments.out)
    except (OnPolicyError, OSError) as error:
        log.error("%s", describe(error))
        return getattr(error, "exit_code", 1)
    except KeyboardInterrupt:
        log.error("interrupted; run the same command again")
        return 1
    log.info("%s is built (%.0f s)", arguments.out, manifest.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
