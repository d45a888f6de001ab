"""`python -m benchmarks.annotation_vs_recipe`: our scoring against one conversation at a time.

Both score the same conversations, five responses to each prompt, with the same weights, in turn
in one process; a pass is an eighth of the prompts, so that other work on the machine meets both.
The published way: apply the template, tokenise, one forward through transformers' own attention
for each response, prompt and all. Ours: what the stage calls for a part. The figure is the median
of the passes' ratios.

On a GPU `--device cuda --dtype bfloat16 --shape llama-3-8b --prompts 64`.
"""

import argparse
import os
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from annotation.annotators.base import ScoreResources
from annotation.armorm.model import ArmoRM
from annotation.armorm.scorer import ArmoRMScorer, last_occurrence, open_armorm
from annotation.scorers.protocol import Conversation
from benchmarks.support import annotation_world as world
from benchmarks.support.device import Device
from benchmarks.support.options import Options, device_of, shape_of
from benchmarks.support.outcome import report_passes
from benchmarks.support.texts import source_of_texts
from contracts.chat import ChatFormat

REACH = {"cpu": 1.2, "cuda": 4.0}


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = Options(__doc__, families=["llama"])
    parser.add_counts(prompts=32)
    return parser.parse_args(arguments)


def main() -> None:
    """Print the outcome."""
    asked = options()
    device, shape = device_of(asked), shape_of(asked, world.TINY)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    talks = world.conversations(asked.prompts)
    with tempfile.TemporaryDirectory() as folder:
        parameters = world.save_model(Path(folder), world.conversations(400), shape, device)
        resources = ScoreResources(device=device.kind)
        scorer = open_armorm(world.annotator(device), folder, resources)
        plain = ArmoRM.from_pretrained(folder, dtype=device.torch_dtype, attn_implementation="sdpa")
    plain.to(device.kind).eval()
    one_at_a_time(plain, scorer.chat, talks[:2])
    world.warm_up(scorer, talks)
    passes = [
        _pass(device, plain, scorer, part, first=number % 2)
        for number, part in enumerate(world.in_passes(talks))
    ]
    _report(passes, parameters, device, layout=scorer.layout, shape=asked.shape)


Pass = tuple[float, float, float, list[float]]
"""Seconds one at a time, our seconds, largest difference of a score, our scores."""


def _pass(
    device: Device, plain: ArmoRM, scorer: ArmoRMScorer, talks: list[Conversation], first: int
) -> Pass:
    seconds = [0.0, 0.0]
    scores: list[list[float]] = [[], []]
    for side in (first, 1 - first):
        start = device.clock()
        if side:
            scores[1] = [score.score or 0.0 for score in scorer.score(talks)]
        else:
            scores[0] = one_at_a_time(plain, scorer.chat, talks)
        seconds[side] = device.clock() - start
    apart = max(abs(a - b) for a, b in zip(*scores, strict=True))
    print(f"one at a time {seconds[0]:.2f} s, ours {seconds[1]:.2f} s, apart {apart:.1e}")
    return seconds[0], seconds[1], apart, scores[1]


def one_at_a_time(model: ArmoRM, chat: ChatFormat, talks: Sequence[Conversation]) -> list[float]:
    """The published way (recipe, section 1)."""
    tokenizer, header, scores = chat.tokenizer, chat.header_ids(), []
    with torch.inference_mode():
        for talk in talks:
            for text in talk.responses:
                messages = [*talk.messages, {"role": "assistant", "content": text}]
                ids = tokenizer.apply_chat_template(messages, return_dict=False)
                gating_at = last_occurrence(ids, header)
                rows, last, gating = (
                    torch.tensor(value, device=model.device)
                    for value in ([ids], [len(ids) - 1], [gating_at])
                )
                rewards = model(rows, last, gating)
                scores.append(rewards.scores.item())
    return scores


def _report(passes: Sequence[Pass], parameters: int, device: Device, **detail: str) -> None:
    ratios = [recipe / ours for recipe, ours, *_ in passes]
    scores = [score for *_, own in passes for score in own]
    report_passes(
        "annotation_vs_recipe",
        ratios,
        REACH[device.kind],
        "times one conversation at a time, responses/s",
        responses=len(scores),
        our_responses_per_second=round(len(scores) / sum(ours for _, ours, *_ in passes), 1),
        largest_difference=max(apart for _, _, apart, _ in passes),
        deviation_of_scores=round(statistics.pstdev(scores), 3),
        layer_parameters=parameters,
        lengths=source_of_texts(),
        threads=torch.get_num_threads(),
        **detail,
        **device.facts,
    )


if __name__ == "__main__":
    main()
