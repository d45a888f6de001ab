"""`python -m benchmarks.annotation_vs_recipe`: our scoring against one conversation at a time.

Both score the same conversations, five responses to each prompt, with the same fp32 weights
on the CPU, in turn in one process; a pass is four prompts, so that other work on the machine
meets both. The published way: apply the template, tokenise, one forward through transformers'
own attention for each response, prompt and all. Ours: what the stage calls for a part. The
figure is the median of the passes' ratios.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from annotation.annotators.base import ScoreResources
from annotation.armorm.model import ArmoRM
from annotation.armorm.scorer import ArmoRMScorer, last_occurrence, open_armorm
from annotation.scorers.protocol import Conversation
from benchmarks.support import annotation_world as world
from benchmarks.support.outcome import report_passes

_PASSES = 8
_PROMPTS = 32


def main() -> None:
    """Print the outcome."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    talks = world.conversations(_PROMPTS)
    with tempfile.TemporaryDirectory() as folder:
        parameters = world.save_model(Path(folder), world.conversations(400))
        scorer = open_armorm(world.ANNOTATOR, folder, ScoreResources(device="cpu"))
        plain = ArmoRM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")
    plain.eval()
    one_at_a_time(plain, scorer, talks[:2])
    scorer.score(talks[:2])
    size = len(talks) // _PASSES
    passes = [
        _pass(plain, scorer, talks[size * number : size * (number + 1)], first=number % 2)
        for number in range(_PASSES)
    ]
    _report(passes, parameters, sum(len(talk.responses) for talk in talks))


Pass = tuple[float, float, float, list[float]]
"""Seconds one at a time, our seconds, largest difference of a score, our scores."""


def _pass(plain: ArmoRM, scorer: ArmoRMScorer, talks: list[Conversation], first: int) -> Pass:
    seconds = [0.0, 0.0]
    scores: list[list[float]] = [[], []]
    for side in (first, 1 - first):
        start = time.perf_counter()
        if side:
            scores[1] = [score.score or 0.0 for score in scorer.score(talks)]
        else:
            scores[0] = one_at_a_time(plain, scorer, talks)
        seconds[side] = time.perf_counter() - start
    apart = max(abs(a - b) for a, b in zip(*scores, strict=True))
    print(f"one at a time {seconds[0]:.2f} s, ours {seconds[1]:.2f} s, apart {apart:.1e}")
    return seconds[0], seconds[1], apart, scores[1]


def one_at_a_time(
    model: ArmoRM, scorer: ArmoRMScorer, talks: Sequence[Conversation]
) -> list[float]:
    """The published way (recipe, section 1)."""
    tokenizer, scores = scorer.chat.tokenizer, []
    with torch.inference_mode():
        for talk in talks:
            for text in talk.responses:
                messages = [*talk.messages, {"role": "assistant", "content": text}]
                ids = tokenizer.apply_chat_template(messages, return_dict=False)
                gating_at = last_occurrence(ids, scorer.header)
                rewards = model(
                    torch.tensor([ids]), torch.tensor([len(ids) - 1]), torch.tensor([gating_at])
                )
                scores.append(rewards.scores.item())
    return scores


def _report(passes: Sequence[Pass], parameters: int, responses: int) -> None:
    ratios = [recipe / ours for recipe, ours, *_ in passes]
    scores = [score for *_, own in passes for score in own]
    report_passes(
        "annotation_vs_recipe",
        ratios,
        1.2,
        "times one conversation at a time, responses/s",
        responses=responses,
        our_responses_per_second=round(responses / sum(ours for _, ours, *_ in passes), 1),
        largest_difference=max(apart for _, _, apart, _ in passes),
        deviation_of_scores=round(statistics.pstdev(scores), 3),
        layer_parameters=parameters,
        lengths=world.source_of_lengths(),
        dtype="float32",
        threads=torch.get_num_threads(),
    )


if __name__ == "__main__":
    main()
