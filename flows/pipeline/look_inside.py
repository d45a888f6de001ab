"""What of a config needs imports to be known: `python -m flows.pipeline.look_inside JSON`, the
models and annotators as JSON in an argument; what is amiss comes as JSON on standard output."""

import json
import os
import sys
from collections.abc import Callable
from functools import partial

import annotation.readiness
import generation.readiness
import training.readiness
from annotation.config import Annotator
from contracts.checks import Check, faults
from contracts.config.base import Config
from contracts.errors import UserError
from contracts.models.model import ModelConfig
from runtime.stage_process import exit_code_of

FOUND = "::found "


class Inside(Config):
    """What is looked into."""

    policy: ModelConfig
    annotators: dict[str, Annotator]
    """By their keys."""


def found(inside: Inside) -> list[str]:
    """What is amiss."""
    policy = inside.policy
    looks: list[tuple[str, Callable[[], object]]] = [
        ("policy.path", partial(generation.readiness.look_inside, policy.reference, policy.bos,
                                policy.date)),
        ("policy.path", partial(training.readiness.look_inside, policy.reference)),
    ]  # fmt: skip
    for key, annotator in inside.annotators.items():
        looks.append((key, partial(annotation.readiness.look_inside, annotator)))
    return faults(Check(key, partial(_alone, look)) for key, look in looks)


def _alone(look: Callable[[], object]) -> None:
    """A module of the user's may raise anything, or end the process."""
    try:
        look()
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001
        reason = (str(error).strip().splitlines() or [""])[0]
        raise UserError(f"cannot be used: {type(error).__name__}: {reason}") from None


def _main(text: str) -> None:
    print(FOUND + json.dumps(found(Inside.model_validate_json(text))), flush=True)


if __name__ == "__main__":
    code = exit_code_of(lambda: _main(sys.argv[1]))
    os._exit(code)  # tearing down what was imported would take as long as the looks
