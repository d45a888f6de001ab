"""The files that judging needs beside the answers: local ones, or on the hub by commit and hash."""

import hashlib
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from contracts.config.base import Config
from contracts.errors import UserError
from contracts.models.hub import dataset_file, is_hub_id
from contracts.models.model import split_reference

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_ALPACA_EVAL = "tatsu-lab/alpaca_eval@2edc6fad8be6b14ea7230aabfd08188da6b8b814"
_ARENA_HARD = "lmarena-ai/arena-hard-auto@15f3746e21432264ce9b453999bde4f3c946d2e6"


class PinnedFile(Config):
    """Which file an input means, and what it must hold."""

    file: str | None = None
    """Its name in the dataset, where the input is one on the hub."""
    sha256: Sha256 | None = None
    """Hash that it must have; null is no check."""

    def locate(self, reference: str) -> Path:
        """The file of an input, downloaded where it lies on the hub.

        Raises:
            UserError: there is no such file, or it is another one than it should be.
        """
        path = Path(reference)
        if self.file and is_hub_id(reference):
            path = dataset_file(reference, self.file)
        if not path.is_file():
            raise UserError(f"{reference}: no such file")
        if self.sha256 and (actual := hashlib.sha256(path.read_bytes()).hexdigest()) != self.sha256:
            raise UserError(
                f"{reference}: the sha256 of {path.name} is {actual}, not {self.sha256}; give the "
                "published file, or leave `sha256` out to take this one"
            )
        return path


class JudgingFile(PinnedFile):
    """A file by its place."""

    path: str
    """A file, or a dataset on the hub as owner/name@revision."""

    @property
    def pin(self) -> PinnedFile:
        """What holds wherever it lies."""
        return PinnedFile(file=self.file, sha256=self.sha256)


def published_file(reference: str, published: JudgingFile) -> Path:
    """A file here, or the one of this name in a dataset on the hub; of the dataset that published
    it, with the published hash.

    Raises:
        UserError: there is no such file, or the dataset now holds another one.
    """
    is_published = split_reference(reference)[0] == split_reference(published.path)[0]
    try:
        pin = published.pin if is_published else PinnedFile(file=published.file)
        return pin.locate(reference)
    except UserError as error:
        if not is_published:
            raise
        raise UserError(f"{error}; the published one is in {published.path}") from None


def _with_options(given: Any) -> Any:
    return {"path": given} if isinstance(given, str) else given


NamedFile = Annotated[JudgingFile, BeforeValidator(_with_options)]
"""A file by its path, or as an object with options."""


class AlpacaEvalFiles(Config):
    """AlpacaEval's."""

    baseline: NamedFile = JudgingFile(path=_ALPACA_EVAL, file="alpaca_eval_gpt4_baseline.json")
    """The answers played against."""
    difficulty: NamedFile | None = JudgingFile(path=_ALPACA_EVAL, file="instruction_difficulty.csv")
    """For the length-controlled win rate; null for none."""
    gamed: NamedFile | None = JudgingFile(
        path=_ALPACA_EVAL, file="df_gamed.csv",
        sha256="97aeec3f1c7de6dee6fd31fe66f1702623f4614c3efe1c6fc5f4927cd5fd674d",
    )  # fmt: skip
    """The gamed baselines that hold its fit; null fits without them."""


class ArenaHardFiles(Config):
    """Arena-Hard's."""

    baseline: NamedFile = JudgingFile(
        path=_ARENA_HARD, file="data/arena-hard-v0.1/model_answer/gpt-4-0314.jsonl"
    )
    """The answers played against."""


class MTBenchFiles(Config):
    """MT-Bench's."""

    references: NamedFile | None = None
    """The reference answers to math, reasoning and coding, which no dataset on the hub has:
    FastChat's `reference_answer/gpt-4.jsonl`, or the paper's of gpt-4-1106-preview."""


class JudgedWith(Config):
    """What judges are given beside the answers, by benchmark."""

    alpaca_eval: AlpacaEvalFiles = AlpacaEvalFiles()
    """AlpacaEval's."""
    arena_hard: ArenaHardFiles = ArenaHardFiles()
    """Arena-Hard's."""
    mt_bench: MTBenchFiles = MTBenchFiles()
    """MT-Bench's."""

    def of(self, benchmark: str) -> dict[str, JudgingFile]:
        """A benchmark's files by role; those that are null left out."""
        section: Config = getattr(self, benchmark)
        return {
            role: file
            for role in type(section).model_fields
            if (file := getattr(section, role)) is not None
        }

    def to_judge(self, benchmark: str) -> dict[str, JudgingFile]:
        """The files that judging itself reads; the others are for the win rates."""
        return {
            role: file
            for role, file in self.of(benchmark).items()
            if role in ("baseline", "references")
        }
