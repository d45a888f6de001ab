"""What the JSON Schema of a config or of a stage's facts says of each field."""

from dataclasses import dataclass

import pytest
from pydantic import BaseModel, Field

from contracts.config.base import Config
from contracts.json_schema import Described
from contracts.steps.facts import Facts
from contracts.steps.inputs import Inputs


@dataclass(frozen=True)
class Interval:
    low: float
    """Its lower end."""


class Base(Config):
    rate: float
    """Of learning."""
    epochs: int
    size: int = Field(1, description="By hand.")
    """Under it."""


class Own(Base):
    interval: Interval
    epochs: int
    """Passes
    over the pairs."""


def test_a_field_is_described_by_the_string_under_it() -> None:
    schema = Own.model_json_schema(schema_generator=Described)
    described = {name: field.get("description") for name, field in schema["properties"].items()}
    assert described == {
        "rate": "Of learning.",
        "epochs": "Passes\nover the pairs.",
        "size": "By hand.",
        "interval": None,
    }
    interval = schema["$defs"]["Interval"]
    assert interval["properties"]["low"]["description"] == "Its lower end."


@pytest.mark.parametrize("model", [Config, Facts, Inputs])
def test_no_model_reads_its_source_as_it_is_made(model: type[BaseModel]) -> None:
    assert not model.model_config.get("use_attribute_docstrings")
