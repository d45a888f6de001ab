"""Prompts by id, read along with the responses: flat memory where both have one order."""

from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from contracts.errors import UserError
from contracts.parts import part_paths, read_part

_PARTS_KEPT = 4


def refuse_split_prompts(paths: Iterable[Path]) -> None:
    """Check that all responses of a prompt are in one part, as this project's stages write them.

    Raises:
        UserError: a prompt's are in two, where they could not be compared with each other.
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
        tables = [t for t in self._kept.values() if self._holds_any(t, ids)]
        for _ in self._paths:
            if self._covers(tables, ids):
                break
            table = self._read_next()
            if self._holds_any(table, ids):
                tables.append(table)
        if not self._covers(tables, ids):
            absent = self._absent(tables, ids)
            raise UserError(
                f"{self._folder}: has no prompt {absent}, which responses name; score and pair "
                "responses with the prompts that they were sampled for"
            )
        prompts = pa.concat_tables(tables or [self._read_next()]).combine_chunks()
        found = pc.index_in(ids, prompts["prompt_id"].combine_chunks())
        return prompts.take(found)

    def _read_next(self) -> pa.Table:
        index, self._next = self._next, (self._next + 1) % len(self._paths)
        table = self._kept.pop(index, None)
        if table is None:
            table = read_part(self._paths[index], self._columns)
        self._kept[index] = table
        while len(self._kept) > _PARTS_KEPT:
            self._kept.popitem(last=False)
        return table

    @staticmethod
    def _holds_any(table: pa.Table, ids: pa.Array) -> bool:
        return pc.any(pc.is_in(table["prompt_id"], ids)).as_py() or False

    @staticmethod
    def _covers(tables: list[pa.Table], ids: pa.Array) -> bool:
        known = pa.chunked_array([c for t in tables for c in t["prompt_id"].chunks], pa.string())
        return pc.all(pc.is_in(ids, known)).as_py() is not False

    @staticmethod
    def _absent(tables: list[pa.Table], ids: pa.Array) -> str:
        known = pa.chunked_array([c for t in tables for c in t["prompt_id"].chunks], pa.string())
        return ids.filter(pc.invert(pc.is_in(ids, known)))[0].as_py()
