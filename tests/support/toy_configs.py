"""Small configs with all that a run's config has."""

import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from contracts.config.base import Config, Resources


class Gpus(Resources):
    count: Annotated[int, Field(ge=1)] = 1


class Fast(Config):
    kind: Literal["fast"] = "fast"
    batch_size: int = 8
    resources: Gpus = Gpus()


class Slow(Config):
    kind: Literal["slow"] = "slow"
    patience: float = 1.0


class Sampling(Config):
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.8
    engine: Annotated[Fast | Slow, Field(discriminator="kind")] = Fast()


class Run(Config):
    name: str
    learning_rate: float = 1e-6
    sampling: Sampling = Sampling()
    judges: list[Annotated[Fast | Slow, Field(discriminator="kind")]] = Field([])
    output: Path = Path("runs")
    rounds: int = 1
    quick: bool = False
    betas: tuple[float, float] = (0.9, 0.99)


class Pairs(Config):
    length_penalty: float | Literal["auto"] = 0.0


class Rounds(Config):
    pairs: Pairs = Pairs()
    by_round: dict[int, Sampling] = Field({})


BOMB = "a0: &a0 [1]\n" + "".join(
    f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 10)}]\n" for n in range(9)
)


CHAIN = "a0: &a0 [1]\n" + "".join(f"a{n + 1}: &a{n + 1} [*a{n}]\n" for n in range(5000))


class Dated(Config):
    date: datetime.date
