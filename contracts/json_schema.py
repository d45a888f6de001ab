"""The JSON Schema of our models, with the string under a field as its description.

pydantic 2.14's own `use_attribute_docstrings` reads the sources as classes are made, and under
Python 3.11 looks at every loaded module for each: 0.2 s of each forked stage, a quarter of the
import of a run's config. Here they are read when a schema is asked for.
"""

import ast
import inspect
import textwrap
from collections.abc import Mapping
from itertools import pairwise

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema


class Described(GenerateJsonSchema):
    """For `model_json_schema(schema_generator=Described)`."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """A model's, its fields described."""
        return self._described(schema["cls"], super().model_schema(schema))

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> JsonSchemaValue:
        """A dataclass's, its fields described."""
        return self._described(schema["cls"], super().dataclass_schema(schema))

    def _described(self, kind: type, schema: JsonSchemaValue) -> JsonSchemaValue:
        properties = self.resolve_ref_schema(schema).get("properties", {})
        for name, text in _texts(kind).items():
            if name in properties:
                properties[name].setdefault("description", text)
        return schema


def _texts(kind: type) -> Mapping[str, str]:
    """The string under each field that has one, those of its bases included."""
    texts: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        texts |= _own_texts(base)
    return texts


def _own_texts(kind: type) -> Mapping[str, str]:
    try:
        source = textwrap.dedent(inspect.getsource(kind))
    except (OSError, TypeError):  # typed into an interpreter; built in
        return {}
    (definition,) = ast.parse(source).body
    assert isinstance(definition, ast.ClassDef)
    return {
        field.target.id: inspect.cleandoc(text)
        for field, under in pairwise(definition.body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if (text := _text(under)) is not None
    }


def _text(statement: ast.stmt) -> str | None:
    match statement:
        case ast.Expr(value=ast.Constant(value=str(text))):
            return text
    return None
