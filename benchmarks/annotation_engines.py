"""`python -m benchmarks.annotation_engines`: our own batches against vLLM as ArmoRM's engine.

Both score the same conversations with the same fp32 weights, in turn in one process;
a pass is four prompts with five responses each, so that other work on the machine meets both.
Ours packs a prompt with its responses; vLLM gets a request for each prompt's gating and one for
each conversation, and shares the prompt through its prefix cache. The figure is the median of
the passes' ratios, ours over vLLM's responses/s: below 1, `engine: vllm` would be the better
default. Starting is left out: importing vLLM and starting its engine takes some 5 s more.
"""

import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

# Threads that vLLM ties to cores would hinder ours in the same process.
os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
os.environ.setdefault("OMP_NUM_THREADS", "2")

import torch

from annotation.annotators.base import ScoreResources
from annotation.armorm.scorer import ArmoRMScorer, open_armorm
from annotation.armorm.vllm_scorer import VllmScorer, open_vllm
from annotation.scorers.protocol import Conversation
from benchmarks.support import annotation_world as world
from benchmarks.support.outcome import report_passes

_PASSES = 8
_PROMPTS = 32

Pass = tuple[float, float, float]
"""Our seconds, vLLM's seconds, largest difference of a score."""


def main() -> None:
    """Print the outcome."""
    talks = world.conversations(_PROMPTS)
    resources = ScoreResources()
    with tempfile.TemporaryDirectory() as folder:
        parameters = world.save_model(Path(folder), world.conversations(400))
        theirs = open_vllm(world.ANNOTATOR, folder, resources)
        ours = open_armorm(world.ANNOTATOR, folder, resources)
    for scorer in (ours, theirs):
        scorer.score(talks[:2])
    size = len(talks) // _PASSES
    passes = [
        _pass(ours, theirs, talks[size * number : size * (number + 1)], first=number % 2)
        for number in range(_PASSES)
    ]
    _report(passes, parameters, sum(len(talk.responses) for talk in talks), ours.facts["device"])


def _pass(ours: ArmoRMScorer, theirs: VllmScorer, talks: list[Conversation], first: int) -> Pass:
    scorers = (ours, theirs)
    seconds = [0.0, 0.0]
    scores: list[list[float]] = [[], []]
    for side in (first, 1 - first):
        start = time.perf_counter()
        scores[side] = [score.score or 0.0 for score in scorers[side].score(talks)]
        seconds[side] = time.perf_counter() - start
    apart = max(abs(a - b) for a, b in zip(*scores, strict=True))
    print(f"ours {seconds[0]:.2f} s, vLLM {seconds[1]:.2f} s, apart {apart:.1e}")
    return seconds[0], seconds[1], apart


def _report(passes: Sequence[Pass], parameters: int, responses: int, device: str) -> None:
    ratios = [theirs / ours for ours, theirs, _ in passes]
    report_passes(
        "annotation_engines",
        ratios,
        1.0,
        "times vLLM's responses/s, with our own batches",
        responses=responses,
        our_responses_per_second=round(responses / sum(ours for ours, *_ in passes), 1),
        vllm_responses_per_second=round(responses / sum(theirs for _, theirs, _ in passes), 1),
        largest_difference=max(apart for *_, apart in passes),
        layer_parameters=parameters,
        lengths=world.source_of_lengths(),
        dtype="float32",
        device=device,
        threads=torch.get_num_threads(),
    )


if __name__ == "__main__":
    main()
