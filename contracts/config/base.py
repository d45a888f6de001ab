"""The base of every stage's config: frozen, typed, and strict about unknown keys."""

import datetime
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticSerializationError, to_json

from contracts.config.credentials import refuse_credentials
from contracts.config.errors import configs_in, explain
from contracts.config.yaml import DEEPEST, NotYaml, parse_yaml
from contracts.errors import UserError

FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
"""What files or folders are named after: it never leads out of a folder."""


def as_file_name(text: str, default: str) -> str:
    """`text` as a `FileName`, other characters as dashes; the default where nothing is left."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._") or default


class Config(BaseModel):
    """A frozen config. The string under a field is its documentation, also in its JSON
    Schema (contracts.json_schema)."""

    # NaN is refused: it equals nothing, not even the value that a step was claimed with.
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        protected_namespaces=(),
        allow_inf_nan=False,
    )


C = TypeVar("C", bound=Config)


class Resources(Config):
    """How a stage runs (GPUs, ports, batch tokens), never what it makes.

    A field of this type is left out of `identity`, so a run may move to other hardware.
    """


def identity(config: Config) -> dict[str, Any]:
    """The config as JSON values without its `Resources`: what decides a stage's output."""

    def plain(value: Any) -> Any:
        if isinstance(value, Config):
            return {
                name: plain(getattr(value, name))
                for name, field in type(value).model_fields.items()
                if not any(issubclass(kind, Resources) for kind in configs_in(field.annotation))
            }
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        if isinstance(value, dict):
            return {str(key): plain(item) for key, item in value.items()}
        if isinstance(value, Path):
            return str(value)
        if isinstance(value, datetime.date):
            return value.isoformat()
        return value

    return plain(config)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        UserError: the file is missing, is not YAML, repeats a key, or holds no mapping.
    """
    try:
        data = parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such config file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    except NotYaml as error:
        raise UserError(f"{path}:{error.line}: not valid YAML: {error}") from None
    if not isinstance(data, dict):
        raise UserError(f"{path}: holds no keys; a config is a mapping such as `name: my-run`")
    return data


def apply_overrides(data: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """`data` with each dotted override (`training.learning_rate=5e-7`) put in place.

    Raises:
        UserError: an override has no `=`, or its path leads through a value without keys.
    """
    for override in overrides:
        dotted, separator, text = override.partition("=")
        keys = dotted.strip().split(".")
        if not separator or not all(keys):
            raise UserError(f"override {override!r}: write it as key=value, e.g. rounds=2")
        try:
            if len(keys) > DEEPEST:
                raise NotYaml(f"nested deeper than {DEEPEST} levels")
            data = _replaced(data, keys, parse_yaml(text))
        except NotYaml as error:
            raise UserError(f"override {override!r}: not valid YAML: {error}") from None
        except _NoSuchPlace as error:
            raise UserError(f"override {override!r}: {error}") from None
    return data


class _NoSuchPlace(Exception):
    """An override's key leads nowhere."""


def _replaced(inside: Any, keys: Sequence[str], value: Any, way: str = "") -> Any:
    """A copy of `inside`, a mapping or a list reached by `way`, with the value put in place."""
    key, *rest = keys
    here = f"{way}.{key}" if way else key
    place: Any = key
    match inside:
        case None:
            inside = {}
        case dict():
            inside = dict(inside)
        case list():
            inside, place = list(inside), _index(inside, key, way)
        case _:
            last = way.rpartition(".")[2]
            raise _NoSuchPlace(f"{last!r} is a value, it has no keys inside")
    if rest:
        child = inside.get(place) if isinstance(inside, dict) else inside[place]
        value = _replaced(child, rest, value, here)
    inside[place] = value
    return inside


def _index(items: list[Any], key: str, way: str) -> int:
    if key.isdecimal() and len(key) < 10 and int(key) < len(items):
        return int(key)
    there = f"numbers 0 to {len(items) - 1} are there" if items else "it is empty"
    raise _NoSuchPlace(
        f"{way!r} is a list and has no item {key!r} ({there}); to add one, give the whole list: "
        f"{way}=[...]"
    )


def load_config(model: type[C], path: Path, overrides: Sequence[str] = ()) -> C:
    """Read a YAML config, apply dotted overrides, and check it.

    Raises:
        UserError: one message with every key that is unknown, mistyped or out of range.
    """
    return check(model, apply_overrides(read_yaml(path), overrides), origin=str(path))


def check(model: type[C], data: dict[str, Any], origin: str) -> C:
    """`data` as a `model`, or a `UserError` that names every bad key and what it may be."""
    refuse_credentials(data, origin)
    try:
        # As JSON, so that strictness (no booleans or texts for numbers) leaves paths, tuples
        # and sections to be given as text, lists and mappings.
        return model.model_validate_json(to_json(data), strict=True)
    except PydanticSerializationError as error:
        raise UserError(f"{origin}: {error}") from None
    except ValidationError as error:
        raise UserError(f"{origin}: " + "\n  ".join(explain(error, model))) from None
