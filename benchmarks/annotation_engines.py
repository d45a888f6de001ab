"""`python -m benchmarks.annotation_engines`: our own batches against vLLM as ArmoRM's engine.

Both score the same conversations with the same weights, in turn in one process; a pass is an
eighth of the prompts, with five responses each, so that other work on the machine meets both.
Ours packs a prompt with its responses; vLLM gets a request for each prompt's gating and one for
each conversation, and shares the prompt through its prefix cache. The figure is the median of
the passes' ratios, ours over vLLM's responses/s: below 1, `engine: vllm` would be the better
default. Starting is left out: importing vLLM and starting its engine takes some 5 s more.

On a GPU `--device cuda --dtype bfloat16 --shape llama-3-8b --prompts 64`.
"""

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Threads that vLLM ties to cores would hinder ours in the same process.
os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
os.environ.setdefault("OMP_NUM_THREADS", "2")

import torch

from annotation.annotators.base import ScoreResources
from annotation.armorm.scorer import ArmoRMScorer, open_armorm
from annotation.armorm.vllm_scorer import VllmScorer, open_vllm
from annotation.scorers.protocol import Conversation
from benchmarks.support import annotation_world as world
from benchmarks.support.device import Device
from benchmarks.support.options import Options, device_of, shape_of
from benchmarks.support.outcome import report_passes
from benchmarks.support.texts import source_of_texts

Pass = tuple[float, float, float]
"""Our seconds, vLLM's seconds, largest difference of a score."""


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = Options(__doc__, families=["llama"])
    parser.add_counts(prompts=32)
    return parser.parse_args(arguments)


def main() -> None:
    """Print the outcome."""
    asked = options()
    device, shape = device_of(asked), shape_of(asked, world.TINY)
    talks = world.conversations(asked.prompts)
    resources, annotator = ScoreResources(device=device.kind), world.annotator(device)
    with tempfile.TemporaryDirectory() as folder:
        parameters = world.save_model(Path(folder), world.conversations(400), shape, device)
        theirs = open_vllm(annotator, folder, resources)
        ours = open_armorm(annotator, folder, resources)
    for scorer in (ours, theirs):
        world.warm_up(scorer, talks)
    parts = world.in_passes(talks)
    passes = [
        _pass(device, ours, theirs, part, first=number % 2) for number, part in enumerate(parts)
    ]
    responses = sum(len(talk.responses) for part in parts for talk in part)
    _report(passes, parameters, responses, shape=asked.shape, **device.facts)


def _pass(
    device: Device, ours: ArmoRMScorer, theirs: VllmScorer, talks: list[Conversation], first: int
) -> Pass:
    scorers = (ours, theirs)
    seconds = [0.0, 0.0]
    scores: list[list[float]] = [[], []]
    for side in (first, 1 - first):
        start = device.clock()
        scores[side] = [score.score or 0.0 for score in scorers[side].score(talks)]
        seconds[side] = device.clock() - start
    apart = max(abs(a - b) for a, b in zip(*scores, strict=True))
    print(f"ours {seconds[0]:.2f} s, vLLM {seconds[1]:.2f} s, apart {apart:.1e}")
    return seconds[0], seconds[1], apart


def _report(passes: Sequence[Pass], parameters: int, responses: int, **detail: Any) -> None:
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
        lengths=source_of_texts(),
        threads=torch.get_num_threads(),
        **detail,
    )


if __name__ == "__main__":
    main()
