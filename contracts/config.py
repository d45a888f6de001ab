"""The base of every stage's config: frozen, typed, and strict about unknown keys."""

import difflib
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from contracts.errors import UserError


class Config(BaseModel):
    """A frozen config. The string under a field is its documentation."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=()
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
                for name in type(value).model_fields
                if not isinstance(getattr(value, name), Resources)
            }
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        if isinstance(value, dict):
            return {str(key): plain(item) for key, item in value.items()}
        if isinstance(value, Path):
            return str(value)
        return value

    return plain(config)


class _StrictLoader(yaml.SafeLoader):
    """YAML whose mappings may not repeat a key: plain PyYAML silently keeps the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        UserError: the file is missing, is not YAML, repeats a key, or holds no mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such config file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    try:
        # SafeLoader's subclass: it builds plain values only, never objects.
        data = yaml.load(text, Loader=_StrictLoader)  # noqa: S506
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"{path}:{line}: not valid YAML: {error.problem}") from None
    if not isinstance(data, dict):
        raise UserError(f"{path}: holds no keys; a config is a mapping such as `name: my-run`")
    return data


def apply_overrides(data: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """`data` with each dotted override (`training.learning_rate=5e-7`) put in place.

    Raises:
        UserError: an override has no `=`, or goes through a value that holds no keys.
    """
    for override in overrides:
        dotted, separator, text = override.partition("=")
        keys = dotted.strip().split(".")
        if not separator or not all(keys):
            raise UserError(f"override {override!r}: write it as key=value, e.g. rounds=2")
        target = data = dict(data)
        for key in keys[:-1]:
            child = target.get(key) or {}
            if not isinstance(child, dict):
                raise UserError(f"override {override!r}: {key!r} is a value, it has no keys inside")
            target[key] = dict(child)
            target = target[key]
        try:
            target[keys[-1]] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise UserError(f"override {override!r}: the value is not valid YAML") from None
    return data


def load_config(model: type[C], path: Path, overrides: Sequence[str] = ()) -> C:
    """Read a YAML config, apply dotted overrides, and check it.

    Raises:
        UserError: one message with every key that is unknown, mistyped or out of range.
    """
    return check(model, apply_overrides(read_yaml(path), overrides), origin=str(path))


def check(model: type[C], data: dict[str, Any], origin: str) -> C:
    """`data` as a `model`, or a `UserError` that names every bad key and what it may be."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        known = list(_dotted_fields(model))
        lines = [_explain(item, known) for item in error.errors(include_url=False)]
        raise UserError(f"{origin}: " + "\n  ".join(lines)) from None


def _explain(item: Any, known: list[str]) -> str:
    key = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        near = _nearest(key, known)
        return f"unknown key {key!r}" + (f" (did you mean {near!r}?)" if near else "")
    if item["type"] == "missing":
        return f"key {key!r} is missing"
    message = item["msg"].removeprefix("Value error, ")
    shown = "" if isinstance(item["input"], dict) else f", not {item['input']!r}"
    return f"key {key!r}: {message}{shown}" if key else message


def _nearest(key: str, known: list[str]) -> str | None:
    """The known dotted key closest to `key`: whole path first, then its last word anywhere."""
    whole = difflib.get_close_matches(key, known, n=1, cutoff=0.8)
    if whole:
        return whole[0]
    last_words = {dotted.rpartition(".")[2]: dotted for dotted in reversed(known)}
    last = difflib.get_close_matches(key.rpartition(".")[2], last_words, n=1, cutoff=0.6)
    return last_words[last[0]] if last else None


def _dotted_fields(model: type[Config], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield prefix + name
        for child in _configs_in(field.annotation):
            yield from _dotted_fields(child, f"{prefix}{name}.")


def _configs_in(annotation: Any) -> Iterator[type[Config]]:
    if isinstance(annotation, type) and issubclass(annotation, Config):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _configs_in(argument)
