"""What is wrong with a config, in the words of its file: the key, the value, the way out."""

import difflib
import typing
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from contracts.config.variants import Variants

Model = type[BaseModel]

_MOST_LINES = 20
_LONGEST_VALUE = 100


def explain(error: ValidationError, model: Model) -> list[str]:
    """One line for each bad key."""
    items = _by_value(error.errors(include_url=False))
    lines = [_explain(item, model) for item in items[:_MOST_LINES]]
    return lines + ([f"and {len(items) - _MOST_LINES:,} more"] if items[_MOST_LINES:] else [])


def _by_value(items: Sequence[Any]) -> list[Any]:
    """The errors with those of one value's alternatives (a number, or `auto`) as one: pydantic
    gives each its own, under a name that no file has."""
    either = {
        item["loc"][:-1]
        for item in items
        if item["loc"] and str(item["loc"][-1]).startswith("literal[")
    }
    merged: list[Any] = []
    for item in items:
        place = item["loc"][:-1]
        if place not in either:
            merged.append(item)
        elif merged and merged[-1]["loc"] == place:
            merged[-1]["msg"] += f", or {item['msg'].removeprefix('Input should be ')}"
        else:
            merged.append(item | {"loc": place})
    return merged


def configs_in(annotation: Any) -> Iterator[Model]:
    """The configs that a field's value may be or hold, e.g. each variant of a tagged union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    if isinstance(annotation, Variants):
        yield from annotation.loaded()
    for argument in typing.get_args(annotation):
        yield from configs_in(argument)


def _configs_of(field: FieldInfo) -> Iterator[Model]:
    for annotation in (field.annotation, *field.metadata):
        yield from configs_in(annotation)


def _explain(item: Any, model: Model) -> str:
    path, owners, inside = _locate(model, item["loc"])
    key, context = ".".join(path), item.get("ctx", {})
    # pydantic gives the discriminator in quotes.
    tag = ".".join([*path, str(context.get("discriminator", "")).strip("'")])
    match item["type"]:
        case "extra_forbidden":
            return f"unknown key {key!r} ({_way_out(path, owners, model)})"
        case "missing":
            return f"key {key!r} is missing"
        case "union_tag_not_found":
            return f"key {tag!r} is missing"
        case "union_tag_invalid":
            expected, given = context["expected_tags"], _shown(context["tag"])
            return f"key {tag!r}: should be one of {expected}, not {given}"
        case "model_type" | "dict_type":
            return f"key {key!r}: is a section{_not_given(item)}; {_as_section(path, item, inside)}"
        case "list_type":
            return f"key {key!r}: is a list{_not_given(item)}; write [...], with all its items"
        case "too_short":
            return f"key {key!r}: needs at least {context['min_length']} item(s){_not_given(item)}"
        case "date_parsing" | "date_from_datetime_parsing" if "too short" in item["msg"]:
            return f"key {key!r}: should be a day such as 2025-11-22{_not_given(item)}"
    message = item["msg"].removeprefix("Value error, ")
    if path[-1:] == ["[key]"]:  # pydantic's word for the name itself
        return f"key {'.'.join(path[:-1])!r}: its name: {message}"
    return f"key {key!r}: {message}{_not_given(item)}" if key else message


def _not_given(item: Any) -> str:
    return "" if isinstance(item["input"], dict) else f", not {_shown(item['input'])}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."


def _as_section(path: list[str], item: Any, inside: list[Model]) -> str:
    """How to write a section that was given as a value."""
    kinds = [kind for config in inside for kind in _kinds(config)]
    key, given = ".".join(path), item["input"]
    if kinds:
        kind = given if isinstance(given, str) and given in kinds else kinds[0]
        way = f"write {{kind: {kind}}}, or {key}.kind={kind} on the command line"
        return way if kind == given else f"{way} (kinds: {', '.join(kinds)})"
    names = dict.fromkeys(name for config in inside for name in config.model_fields)
    is_mapping = item["type"] == "dict_type"  # of sections by names of the user's own
    return f"its keys: {', '.join(names)}" if names and not is_mapping else "write {name: value}"


def _kinds(config: Model) -> list[str]:
    field = config.model_fields.get("kind")
    is_literal = field and typing.get_origin(field.annotation) is typing.Literal
    return [str(kind) for kind in typing.get_args(field.annotation)] if field and is_literal else []


def _locate(
    model: Model, location: Sequence[int | str]
) -> tuple[list[str], list[Model], list[Model]]:
    """A key's path as the file has it, the configs whose keys it lies among, and those that
    its value may be.

    pydantic puts the tag of a union's variant into the location; no file has it there.
    """
    path: list[str] = []
    owners, inside = [model], [model]
    for part in location:
        variants = [variant for variant in inside if part in _tags(variant)]
        if len(inside) > 1 and variants:
            owners = inside = variants
            continue
        path.append(str(part))
        if isinstance(part, str):
            owners = inside
            fields = [owner.model_fields[part] for owner in owners if part in owner.model_fields]
            inside = [config for field in fields for config in _configs_of(field)]
    return path, owners, inside


def _tags(variant: Model) -> list[Any]:
    """What a union's variant may be called in a location."""
    literals = [
        value
        for field in variant.model_fields.values()
        if typing.get_origin(field.annotation) is typing.Literal
        for value in typing.get_args(field.annotation)
    ]
    return [variant.__name__, *literals]


def _way_out(path: list[str], owners: list[Model], model: Model) -> str:
    """The key that was meant: among those beside it, or of that name elsewhere, the
    nearest to the top."""
    *parents, last = path
    beside = list(dict.fromkeys(name for owner in owners for name in owner.model_fields))
    if near := difflib.get_close_matches(last, beside, n=1, cutoff=0.6):
        return f"did you mean {'.'.join([*parents, near[0]])!r}?"
    known = sorted(_dotted_fields(model), key=lambda dotted: dotted.count("."))
    elsewhere = {dotted.rpartition(".")[2]: dotted for dotted in reversed(known)}
    # A key of another variant of this union is not sought in other sections.
    is_variants = ".".join(part for part in path if not part.isdigit()) in known
    near = [] if is_variants else difflib.get_close_matches(last, elsewhere, n=1, cutoff=0.8)
    if near:
        return f"did you mean {elsewhere[near[0]]!r}?"
    known_here = "known here: " + ", ".join(beside)
    kinds = [kind for owner in owners for kind in _kinds(owner)]
    if is_variants and len(kinds) == 1:
        whole = f"{'.'.join(parents)}={{kind: {kinds[0]}}}"
        return f"{known_here}; to leave another kind's keys behind, give the section: {whole}"
    return known_here


def _dotted_fields(model: Model, prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield prefix + name
        for child in _configs_of(field):
            yield from _dotted_fields(child, f"{prefix}{name}.")
