"""What is other from a round on: a config's keys, given anew by the round that they begin with."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from contracts.config.base import Config

StartFrom = Literal["previous", "first", "last_good"]


class RoundRule(Config):
    """Keys that hold from a round on, until the rule of a later round gives them again."""

    sampling: dict[str, Any] = Field({})
    """Keys of `sampling`, e.g. `{temperature: 1.0}`."""
    pairs: dict[str, Any] = Field({})
    """Keys of `pairs`, e.g. `{strategy: max_random}`."""
    training: dict[str, Any] = Field({})
    """Keys of `training`, e.g. `{learning_rate: 4.0e-7}`."""
    reference: Literal["start", "previous"] | None = None
    """The run's `reference`."""
    start_from: Literal["previous", "first"] | None = None
    """The run's `start_from`."""

    @property
    def keys(self) -> dict[str, Any]:
        """What it gives, in the form of a run's config."""
        given = self.model_dump(mode="json", exclude_unset=True)
        return {name: value for name, value in given.items() if value is not None}


def merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """`old` with the keys of `new`, section by section.

    A variant of another kind (`loss: {kind: dpo}`) takes none of the old one's keys; one that is
    given by its kind alone (`strategy: max_random`) is one like any other.
    """
    result = dict(old)
    for key, value in new.items():
        before = result.get(key)
        if isinstance(before, str) and isinstance(value, dict):
            before = {"kind": before}
        if isinstance(before, dict) and isinstance(value, dict) and _is_same_kind(before, value):
            value = merged(before, value)
        result[key] = value
    return result


def _is_same_kind(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    return bool(new.get("kind", old.get("kind")) == old.get("kind"))
