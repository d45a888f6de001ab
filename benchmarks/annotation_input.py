"""`python -m benchmarks.annotation_input`: how long the reward model waits for its input.

The same parts are scored twice, by turns: each prepared when its turn comes, and each prepared
in a thread while the one before is scored, as the stage does. The figure is the second's wait
over the first's; the first part, before which nothing can be scored, is left out of both. On a
CPU model and tokenizer have a core each, so that the model computes as if on a device of its own.

On a GPU `--device cuda --dtype bfloat16 --shape llama-3-8b --prompts 256`.
"""

import argparse
import os
from collections.abc import Iterable, Iterator, Sequence

import torch

from annotation.armorm.scorer import ArmoRMScorer
from annotation.scorers.protocol import Conversation, Scoring
from benchmarks.support import annotation_world as world
from benchmarks.support.device import Device
from benchmarks.support.options import Options, device_of, shape_of
from benchmarks.support.outcome import report_at_most
from benchmarks.support.texts import source_of_texts
from runtime.beside import made_ahead

_PASSES = 2


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = Options(__doc__, families=["llama"])
    parser.add_counts(prompts=16)
    return parser.parse_args(arguments)


def main() -> None:
    """Print the outcome."""
    asked = options()
    device, shape = device_of(asked), shape_of(asked, world.TINY)
    if not device.on_gpu:
        os.environ["RAYON_NUM_THREADS"] = "1"
        torch.set_num_threads(1)
    talks = world.conversations(asked.prompts)
    scorer = world.open_scorer(shape, device)
    world.warm_up(scorer, talks)
    passes = [_pass(device, scorer, world.in_passes(talks)) for _ in range(_PASSES)]
    inline, ahead = (sum(seconds) for seconds in zip(*passes, strict=True))
    responses = _PASSES * sum(len(talk.responses) for talk in talks)
    report_at_most(
        "annotation_input", ahead / inline, 0.1, "of the wait where no part is prepared ahead",
        milliseconds_a_response={"inline": round(1000 * inline / responses, 3),
                                 "ahead": round(1000 * ahead / responses, 3)},
        lengths=source_of_texts(), shape=asked.shape, **device.facts,
    )  # fmt: skip


def _pass(
    device: Device, scorer: ArmoRMScorer, parts: list[list[Conversation]]
) -> tuple[float, float]:
    """Seconds waited without and with preparing ahead; the scores are the same ones."""
    inline, scores = _waited(device, map(scorer.prepare, parts))
    ahead, same = _waited(device, made_ahead(map(scorer.prepare, parts)))
    assert scores == same
    print(f"{inline:.3f} s of waiting in line, {ahead:.3f} s ahead")
    return inline, ahead


def _waited(device: Device, prepared: Iterable[Scoring]) -> tuple[float, list[float | None]]:
    """Seconds between parts, and all scores."""
    coming: Iterator[Scoring] = iter(prepared)
    scoring: Scoring | None = next(coming)
    waited, scores = 0.0, list[float | None]()
    while scoring:
        scores += [score.score for score in scoring()]
        scored = device.clock()
        scoring = next(coming, None)
        waited += device.clock() - scored
    return waited, scores


if __name__ == "__main__":
    main()
