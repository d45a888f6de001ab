"""Prompts by id, read along with the responses: flat memory where both have one order."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from contracts.errors import UserError
from contracts.tables.parts import part_paths, read_part

# Responses come in the prompts' order, so a part of responses meets two parts of prompts at most
# where it crosses their border.
_PARTS_KEPT = 2


def refuse_split_prompts(paths: Iterable[Path]) -> None:
    """Check that all responses of a prompt are in one part.

    Raises:
        UserError: a prompt's responses are in two parts, so they cannot be compared.
    """
    seen: dict[str, Path] = {}
    for path in paths:
        for prompt_id in read_part(path, ["prompt_id"])["prompt_id"].unique().to_pylist():
            if (other := seen.setdefault(prompt_id, path)) != path:
                raise UserError(
                    f"{path}: has responses to prompt {prompt_id}, and so has {other.name}; an "
                    "annotator that compares a prompt's responses needs them in one part"
                )


class Prompts:
    """The prompts of a folder. At most a few of its parts are in memory.

    Raises:
        UserError: the folder holds no part.
    """

    def __init__(self, folder: Path, columns: tuple[str, ...] = ("messages",)) -> None:
        self._columns = ["prompt_id", *columns]
        self._paths = part_paths(folder)
        self._kept: OrderedDict[int, pa.Table] = OrderedDict()
        self._next = 0
        self._folder = folder
        if not self._paths:
            raise UserError(f"{folder}: holds no part-*.parquet")

    def take(self, ids: pa.Array) -> pa.Table:
        """The prompts with these ids, in this order.

        Raises:
            UserError: an id is not among the prompts.
        """
        tables, missing = [], ids
        for table in self._newest_first():
            known = pc.is_in(missing, table["prompt_id"])
            if pc.any(known, min_count=0).as_py():
                tables.append(table)
                missing = missing.filter(pc.invert(known))
            if not len(missing):
                break
        else:
            raise UserError(
                f"{self._folder}: has no prompt {missing[0]}, which responses name; score and pair "
                "responses with the prompts that they were sampled for"
            )
        prompts = pa.concat_tables(tables or [table]).combine_chunks()
        return prompts.take(pc.index_in(ids, prompts["prompt_id"].combine_chunks()))

    def _newest_first(self) -> Iterator[pa.Table]:
        """What is in memory, the last one read first, then every part, on from there."""
        yield from reversed(self._kept.values())
        for _ in self._paths:
            yield self._read_next()

    def _read_next(self) -> pa.Table:
        index, self._next = self._next, (self._next + 1) % len(self._paths)
        table = self._kept.pop(index, None)
        if table is None:
            table = read_part(self._paths[index], self._columns)
        self._kept[index] = table
        while len(self._kept) > _PARTS_KEPT:
            self._kept.popitem(last=False)
        return table
