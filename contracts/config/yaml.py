"""YAML as plain values, strict where PyYAML is silent or falls over.

ruamel.yaml refuses a key that is given twice by itself, which is 12 of these lines. The others stay
with it too: it expands aliases and nests without end, and reads dates and digits as PyYAML does.
"""

import re
from typing import Any

import yaml

_MERGE = "tag:yaml.org,2002:merge"
_FLOAT = "tag:yaml.org,2002:float"
# `5e-7`, which YAML 1.2 and people take for a number, and PyYAML for text.
_EXPONENT = re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+$")
DEEPEST = 50
"""Levels that a config may be nested."""
# Aliases written out: a few lines of them can stand for 10^9 values. No config of ours has 200.
_MOST_VALUES = 100_000


class NotYaml(ValueError):
    """Text that is no YAML; `line` counts from 1."""

    def __init__(self, problem: str, line: int = 1) -> None:
        super().__init__(problem)
        self.line = line


class _StrictDumper(yaml.SafeDumper):
    """Puts in quotes what `_StrictLoader` would take for a number."""


class _StrictLoader(yaml.SafeLoader):
    """Mappings may not repeat a key (plain PyYAML silently keeps the last one), and neither
    brackets nor aliases nest without end."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._open = 0
        self._extents: dict[int, tuple[int, int]] = {}
        """A finished node's id to its values and its levels, aliases written out."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        mark = self.peek_event().start_mark
        is_alias = self.check_event(yaml.AliasEvent)
        self._open += 1
        _refuse_extent((0, self._open), mark)
        node = super().compose_node(parent, index)
        self._open -= 1
        if is_alias and id(node) not in self._extents:
            raise yaml.MarkedYAMLError(None, None, "an alias lies in what it stands for", mark)
        if node and not is_alias:
            self._extents[id(node)] = extent = self._extent(node)
            _refuse_extent(extent, mark)
        return node

    def _extent(self, node: yaml.Node) -> tuple[int, int]:
        inside: list[yaml.Node] = []
        if isinstance(node, yaml.SequenceNode):
            inside = node.value
        elif isinstance(node, yaml.MappingNode):
            inside = [child for pair in node.value for child in pair]
        extents = [self._extents[id(child)] for child in inside]
        values = sum(values for values, _ in extents)
        return 1 + values, 1 + max((levels for _, levels in extents), default=0)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except ValueError as error:  # a number of more than 4,300 digits
            raise yaml.constructor.ConstructorError(
                None, None, str(error), node.start_mark
            ) from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == _MERGE:  # `<<: *anchor` may stand more than once
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key is a list or a mapping", key_node.start_mark
                )
            key = self.construct_object(key_node)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def _refuse_extent(extent: tuple[int, int], mark: yaml.Mark) -> None:
    values, levels = extent
    if levels > DEEPEST:
        raise yaml.MarkedYAMLError(None, None, f"nested deeper than {DEEPEST} levels", mark)
    if values > _MOST_VALUES:
        problem = f"stands for more than {_MOST_VALUES:,} values"
        raise yaml.MarkedYAMLError(None, None, problem, mark)


def _date_or_text(loader: _StrictLoader, node: yaml.ScalarNode) -> Any:
    """A date such as 2024-02-30 is text: what reads the key says what it may be."""
    try:
        return loader.construct_yaml_timestamp(node)
    except ValueError:
        return node.value


_StrictLoader.add_constructor("tag:yaml.org,2002:timestamp", _date_or_text)
for _side in (_StrictLoader, _StrictDumper):
    _side.add_implicit_resolver(_FLOAT, _EXPONENT, list("-+0123456789"))


def dump_yaml(value: Any) -> str:
    """Plain values as YAML that `parse_yaml` gives back, in their own order."""
    # SafeDumper's subclass: it writes plain values only.
    return str(yaml.dump(value, Dumper=_StrictDumper, sort_keys=False, allow_unicode=True))


def parse_yaml(text: str) -> Any:
    """The value in `text`: mappings, lists, strings, numbers, booleans, dates or None.

    Raises:
        NotYaml: with the problem and its line.
    """
    try:
        # SafeLoader's subclass: it builds plain values only, never objects.
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise NotYaml(error.problem or str(error), mark.line + 1 if mark else 1) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise NotYaml(
            f"the character U+{ord(text[error.position]):04X} is not allowed", line
        ) from None
