"""Variants of a section: its kinds here, and those that installed packages add.

A package adds one by an entry point named after its `kind`, in its own pyproject.toml:

    [project.entry-points."onpolicy.losses"]
    flat = "my_package.flat:FlatConfig"
"""

import sys
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    TypeAdapter,
    ValidationInfo,
)
from pydantic_core import PydanticCustomError, core_schema, to_json

from contracts.errors import UserError, named_first_line

Model = type[BaseModel]


@dataclass(frozen=True)
class Variants:
    """Stands beside a union in `Annotated`: tells its variants apart by `kind`, and lets packages
    add to them. A kind alone (`loss: dpo`) is that variant with its defaults.

    The packages' names are read where a config is first checked, 10 ms a process; a package is
    imported where a config has its kind.
    """

    group: str
    """The group of entry points, e.g. `onpolicy.losses`."""
    base: Model
    """What every variant must be."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        def checked(value: Any, _: Any, info: ValidationInfo) -> Any:
            return self._checked(value, typing.get_args(source), info.mode == "json")

        return core_schema.with_info_wrap_validator_function(
            checked,
            handler(source),
            # A package's variant is in no union: each is written down as what it is.
            serialization=core_schema.wrap_serializer_function_ser_schema(
                lambda value, write: write(value), schema=core_schema.any_schema()
            ),
        )

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        sections = handler(schema)
        references = sections["discriminator"]["mapping"]
        parts = {
            kind: handler.resolve_ref_schema({"$ref": references[kind]}) for kind in references
        }
        alone = [kind for kind, part in parts.items() if "required" not in part]
        return {"anyOf": [sections, {"enum": alone}]} if alone else sections

    def _checked(self, value: Any, known: tuple[Model, ...], from_json: bool) -> Any:
        """
        Raises:
            UserError: a package's variant cannot be used.
        """
        if isinstance(value, self.base):
            return value
        if isinstance(value, str):
            value = {"kind": value}
        kind = value.get("kind") if isinstance(value, dict) else None
        kinds = [kind_of(variant) for variant in known]
        added = _added(self.group, tuple(kinds), tuple(sys.path))
        if isinstance(kind, str) and kind in added:
            known = (*known, _load(added[kind], self.base))
        elif isinstance(kind, str) and kind not in kinds:
            expected = ", ".join(repr(name) for name in [*kinds, *added])
            context = {"discriminator": "'kind'", "tag": kind, "expected_tags": expected}
            raise PydanticCustomError("union_tag_invalid", "no such kind", context)
        union = _adapter(known)
        # As JSON, so that strictness leaves dates and tuples to be given as text and lists.
        return union.validate_json(to_json(value), strict=True) if from_json else (
            union.validate_python(value)
        )  # fmt: skip

    def loaded(self) -> Iterator[Model]:
        """The variants of packages that a config has asked for."""
        return (variant for variant in PACKAGES if issubclass(variant, self.base))


def kind_of(variant: Model) -> str:
    """The `kind` of a variant: its only value."""
    return str(typing.get_args(variant.model_fields["kind"].annotation)[0])


PACKAGES: dict[Model, str] = {}
"""Each variant that came from a package, and the package's name and version."""


@cache
def _adapter(variants: tuple[Model, ...]) -> TypeAdapter[Any]:
    union: Any = Annotated[typing.Union[variants], Field(discriminator="kind")]  # noqa: UP007
    return TypeAdapter(union)


@cache
def installed(_: tuple[str, ...]) -> Any:
    """All entry points of the packages on the path, the argument; to be selected from."""
    return entry_points()


@cache
def _added(group: str, known: tuple[str, ...], path: tuple[str, ...]) -> Mapping[str, EntryPoint]:
    """What the packages on the path add to the kinds that are known."""
    added: dict[str, EntryPoint] = {}
    for point in installed(path).select(group=group):
        if point.name in known:
            raise UserError(f"{_told(point)} has the kind {point.name!r}, which is built in; "
                            "rename it there, or uninstall the package")  # fmt: skip
        if other := added.get(point.name):
            raise UserError(f"{_told(point)} and {_told(other)} have the same kind "
                            f"{point.name!r}; uninstall one of them")  # fmt: skip
        added[point.name] = point
    return added


def _load(point: EntryPoint, base: Model) -> Model:
    try:
        variant = point.load()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a package may raise anything
        raise UserError(f"{_told(point)} cannot be loaded: {named_first_line(error)}") from None
    if not isinstance(variant, type) or not issubclass(variant, base):
        raise UserError(f"{_told(point)} is no subclass of {base.__module__}.{base.__name__}")
    if "kind" not in variant.model_fields or kind_of(variant) != point.name:
        raise UserError(f"{_told(point)}: its class must have the field "
                        f"`kind: Literal[{point.name!r}] = {point.name!r}`")  # fmt: skip
    PACKAGES[variant] = _package(point)
    return variant


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.module


def _told(point: EntryPoint) -> str:
    return f"package {_package(point)}: entry point `{point.name} = {point.value}` of {point.group}"
