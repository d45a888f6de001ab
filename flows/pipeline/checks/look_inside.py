"""What of a config needs imports to be known: `python -m flows.pipeline.checks.look_inside JSON`.

The models and annotators come as JSON in an argument; what is amiss goes as JSON to standard
output.
"""

import itertools
import json
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import NoReturn

import generation.readiness
import training.readiness
from annotation.config import Annotator
from contracts.checks import Check, faults
from contracts.config.base import Config
from contracts.errors import UserError, named_first_line
from contracts.models.model import ModelConfig
from runtime.stage_process import exit_code_of

FOUND = "::found "
_CPU_SECONDS = 90
_SECONDS = 600.0


class Inside(Config):
    """What is looked into."""

    policy: ModelConfig | None
    annotators: dict[str, Annotator]
    """By their keys."""


def found(inside: Inside) -> list[str]:
    """The faults of what the config names, a line each."""
    return faults(_looks(inside))


def found_apart(inside: Inside) -> list[str]:
    """The same faults, found in a child process, which a module of the user's may end.

    Its faults up to then are kept, and another child checks what is left.
    """
    looks, told = _looks(inside), list[str]()
    while looks:
        answers, code = _in_child(looks)
        told += itertools.chain(*answers)
        unanswered = looks[len(answers) :]
        if unanswered:
            key = unanswered[0].key
            told.append(f"{key}: {_named(inside, key)} {_ended(code)}")
        looks = unanswered[1:]
    return list(dict.fromkeys(told))


def _ended(code: int) -> str:
    if -code in (signal.SIGKILL, signal.SIGXCPU):
        return (f"was not looked at to its end in {_CPU_SECONDS} CPU seconds (or {_SECONDS:.0f} "
                "s): its template, or its module, may loop for ever")  # fmt: skip
    return f"ended the process that looked at it, with code {code}"


def _looks(inside: Inside) -> list[Check]:
    looks: list[tuple[str, Callable[[], object], str | None]] = []
    if policy := inside.policy:
        sampling = partial(
            generation.readiness.look_inside, policy.reference, policy.bos, policy.date
        )
        checkpoint = partial(training.readiness.look_inside, policy.reference)
        looks += [("policy.path", look, policy.reference) for look in (sampling, checkpoint)]
    for key, annotator in inside.annotators.items():
        looks.append((key, annotator.look_inside, annotator.reference))
    return [Check(key, partial(_alone, look), model) for key, look, model in looks]


def _named(inside: Inside, key: str) -> str:
    if annotator := inside.annotators.get(key):
        return annotator.looked_at
    return inside.policy.reference if inside.policy else key


def _in_child(looks: Sequence[Check]) -> tuple[list[list[str]], int]:
    """Each look's answer, up to the one that ended the process, and the process's exit code.

    A fork, before torch is imported: a process that began anew would take a second for imports.
    """
    source, sink = os.pipe()
    child = os.fork()
    if not child:
        # Where a template or a module loops for ever; the imports take 20 of them.
        resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
        _answer(looks, sink)
    os.close(sink)
    waiting = threading.Timer(_SECONDS, os.kill, (child, signal.SIGKILL))
    waiting.start()
    with open(source) as lines:
        answers = [json.loads(line) for line in lines if line.endswith("\n")]
    waiting.cancel()
    return answers, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _answer(looks: Sequence[Check], sink: int) -> NoReturn:
    try:
        for look in looks:
            os.write(sink, (json.dumps(faults([look])) + "\n").encode())
    finally:
        os._exit(0)  # tearing down what was imported would take as long as the looks


def _alone(look: Callable[[], object]) -> None:
    """A library may raise anything, or end the process."""
    try:
        look()
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001
        raise UserError(f"cannot be used: {named_first_line(error)}") from None


def _main(text: str) -> None:
    print(FOUND + json.dumps(found_apart(Inside.model_validate_json(text))), flush=True)


if __name__ == "__main__":
    code = exit_code_of(lambda: _main(sys.argv[1]))
    os._exit(code)
