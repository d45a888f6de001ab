"""What a stage reads: a frozen model, each field a table, a model, data, or several of these."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeVar, get_args

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from contracts.errors import UserError

Model = Annotated[str, "a model"]
"""A model's folder, or its hub id, with a commit maybe: `owner/name@abc`."""
Data = Annotated[str, "data"]
"""A file, or a dataset's hub id."""


class Inputs(BaseModel):
    """The base of every stage's inputs.

    A field is the folder of a table (`Annotated[Path, SCHEMA]`), a `Model`, `Data`, or a list or
    a mapping of these; one that may be left out has a default.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    @field_validator("*", mode="before")
    @classmethod
    def _not_blank(cls, value: Any) -> Any:
        if isinstance(value, str) and not value.strip():
            raise ValueError("is empty")
        return value

    @property
    def by_name(self) -> dict[str, str]:
        """Every input by its name: `policy`, `models.armorm`, `sources.0`."""
        return dict(_flat(self.plain()))

    def plain(self) -> dict[str, Any]:
        """The inputs as JSON values; those left out are not in it."""
        return self.model_dump(mode="json", exclude_none=True)


I = TypeVar("I", bound=Inputs)  # noqa: E741


def check_inputs(model: type[I], given: Inputs | Mapping[str, Any], stage: str) -> I:
    """`given` as a stage's inputs.

    Raises:
        UserError: names the stage, each input that is missing, unknown or empty, and what to give.
    """
    if isinstance(given, model):
        return given
    try:
        return model.model_validate(given.plain() if isinstance(given, Inputs) else given)
    except ValidationError as error:
        told = "; ".join(_told(model, item) for item in error.errors())
        raise UserError(f"{stage}: {told}. It reads {_list(model)}") from None


def kinds_of(annotation: Any) -> tuple[str, ...]:
    """What a field takes: the name of its table, `a model` or `data`."""
    kinds: list[str] = []
    for argument in (*get_args(annotation), *getattr(annotation, "__metadata__", ())):
        if isinstance(argument, pa.Schema):
            kinds.append(argument.metadata[b"table"].decode())
        elif isinstance(argument, str):
            kinds.append(argument)
        else:
            kinds += kinds_of(argument)
    return tuple(dict.fromkeys(kinds))


def reads(model: type[Inputs]) -> dict[str, str]:
    """What each field of `model` takes: `{"prompts": "PROMPTS", "policy": "a model"}`."""
    return {
        name: " or ".join(kinds_of(Annotated[field.annotation, *field.metadata, None]))
        for name, field in model.model_fields.items()
    }


def _told(model: type[Inputs], item: Any) -> str:
    name = ".".join(map(str, item["loc"]))
    match item["type"]:
        case "missing":
            kind = reads(model)[name]
            told = f"the folder of {kind}" if kind.isupper() else kind
            return f"the input `{name}` is missing; give {told}"
        case "extra_forbidden":
            return f"`{name}` is none of its inputs; leave it out"
    return f"the input `{name}`: {item['msg'].removeprefix('Value error, ')}"


def _list(model: type[Inputs]) -> str:
    fields = model.model_fields
    return (
        ", ".join(f"`{name}`{'' if fields[name].is_required() else ' (or not)'}" for name in fields)
        or "nothing"
    )


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield name, value
        return
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        yield from _flat(item, f"{name}.{key}" if name else str(key))
