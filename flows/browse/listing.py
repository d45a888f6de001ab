"""What a page lists: rows of the index, by what its address asks for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from flows.browse.index import Index
from flows.browse.search import Search

PAGE = 25
_LAST_PAGE = 1_000_000
SORTS = {
    "prompt": "r.prompt_id",
    "highest score": "s.score DESC NULLS LAST", "lowest score": "s.score ASC NULLS LAST",
    "longest": "r.n_tokens DESC", "shortest": "r.n_tokens ASC",
}  # fmt: skip
PAIR_SORTS = {
    "widest margin": "margin DESC", "narrowest margin": "margin ASC", "prompt": "p.prompt_id",
}  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """What a page's address asks for; parts that make no sense count as not given."""

    path: str
    values: Mapping[str, str]

    def text(self, name: str) -> str:
        """A value as it is, without blanks around it."""
        return self.values.get(name, "").strip()

    def number(self, name: str) -> float | None:
        """A value as a finite number."""
        try:
            value = float(self.text(name))
        except ValueError:
            return None
        return value if abs(value) < float("inf") else None

    def one_of(self, name: str, known: Sequence[str], default: str = "") -> str:
        """A value, if it is one of those known."""
        return value if (value := self.text(name)) in known else default

    @property
    def round(self) -> int | None:
        """The round that is asked for alone."""
        text = self.text("round")
        return int(text) if text.isdecimal() and len(text) < 4 else None

    @property
    def page(self) -> int:
        """Counted from 1."""
        text = self.text("page")
        return min(max(1, int(text)), _LAST_PAGE) if text.isdecimal() and len(text) < 9 else 1

    def address(self, **changes: Any) -> str:
        """Address of the same view with some values changed."""
        values = {**self.values, **{name: str(value) for name, value in changes.items()}}
        given = {name: value for name, value in values.items() if value}
        return f"{self.path}?{urlencode(given)}" if given else self.path


@dataclass
class _Where:
    """Conditions over the index, and the values bound in them."""

    parts: list[str] = field(default_factory=lambda: ["true"])
    values: list[Any] = field(default_factory=list)

    def add(self, part: str, *values: Any) -> None:
        self.parts.append(part)
        self.values += values

    def __str__(self) -> str:
        return " AND ".join(self.parts)


@dataclass(frozen=True)
class Page:
    """Some of the rows asked for, as mappings that a template reads."""

    rows: list[dict[str, Any]]
    total: int
    number: int
    searched: int
    """Percent of all texts that were looked through."""

    @property
    def last(self) -> int:
        """The number of the last page."""
        return max(1, -(-self.total // PAGE))


def responses(index: Index, asked: Asked) -> Page:
    """The responses asked for, with their texts, their prompts and one annotator's scores."""
    search = search_of(index, asked)
    searched = search.percent if search else 100  # read first: a part is never told as all
    where = _responses_where(asked, search)
    annotator = annotator_of(index, asked)
    source = "FROM responses r LEFT JOIN scores s ON s.row = r.row AND s.annotator = ?"
    order = SORTS[asked.one_of("sort", [*SORTS], "prompt")]
    total = index.rows(f"SELECT count(*) {source} WHERE {where}", [annotator, *where.values])
    found = index.rows(
        "SELECT r.row, r.round, r.held_out, r.prompt_id, r.response_id, r.n_tokens,"
        f" r.finish_reason, r.role, s.score {source} WHERE {where} ORDER BY {order}, r.row"
        f" LIMIT {PAGE} OFFSET {(asked.page - 1) * PAGE}",
        [annotator, *where.values],
    )
    names = ("row", "round", "held_out", "prompt_id", "response_id", "tokens", "finish", "role",
             "score")  # fmt: skip
    rows = [dict(zip(names, values, strict=True)) for values in found]
    texts = index.texts([row["row"] for row in rows], longest=400)
    prompts = index.prompts([row["prompt_id"] for row in rows])
    for row in rows:
        row |= {"text": texts[row["row"]], "prompt": last_words(prompts.get(row["prompt_id"]))}
    return Page(rows, total[0][0], asked.page, searched)


def _responses_where(asked: Asked, search: Search | None) -> _Where:
    where = _Where()
    if asked.round is not None:
        where.add("r.round = ?", asked.round)
    if split := asked.one_of("split", ["train", "held-out"]):
        where.add("r.held_out = ?", split == "held-out")
    if role := asked.one_of("role", ["chosen", "rejected"]):
        where.add("r.role = ?", role)
    if finish := asked.one_of("finish", ["stop", "length"]):
        where.add("r.finish_reason = ?", finish)
    for name, sign in (("low", ">="), ("high", "<=")):
        if (bound := asked.number(name)) is not None:
            where.add(f"s.score {sign} ?", bound)
    if search:
        where.add(f"r.row IN (FROM {search.hits})")
    return where


def search_of(index: Index, asked: Asked) -> Search | None:
    """The search for the words that are asked for, if any are."""
    where = asked.one_of("where", ["responses", "prompts"], "responses")
    words = asked.text("words")
    return index.search(words, where) if words else None


def annotator_of(index: Index, asked: Asked) -> str:
    """The annotator whose scores are shown in a list."""
    return asked.one_of("annotator", index.annotators, next(iter(index.annotators), ""))


def pairs(index: Index, asked: Asked) -> Page:
    """The pairs asked for, by margin, with both texts."""
    where = _Where()
    if asked.round is not None:
        where.add("p.round = ?", asked.round)
    for name, sign in (("low", ">="), ("high", "<=")):
        if (bound := asked.number(name)) is not None:
            where.add(f"margin {sign} ?", bound)
    search = search_of(index, asked)
    searched = search.percent if search else 100
    if search:
        where.add(f"(c.row IN (FROM {search.hits}) OR j.row IN (FROM {search.hits}))")
    order = PAIR_SORTS[asked.one_of("sort", [*PAIR_SORTS], "widest margin")]
    source = "FROM pairs p " + " ".join(
        f"LEFT JOIN responses {name} ON {name}.response_id = p.{side}_id"
        f" AND {name}.round = p.round AND NOT {name}.held_out"
        for name, side in (("c", "chosen"), ("j", "rejected"))
    )
    total = index.rows(f"SELECT count(*) {source} WHERE {where}", where.values)
    found = index.rows(
        "SELECT p.round, p.prompt_id, c.row, j.row, chosen_score, rejected_score, margin"
        f" {source} WHERE {where} ORDER BY {order},"
        f" p.prompt_id LIMIT {PAGE} OFFSET {(asked.page - 1) * PAGE}",
        where.values,
    )
    names = ("round", "prompt_id", "chosen", "rejected", "chosen_score", "rejected_score", "margin")
    rows = [dict(zip(names, values, strict=True)) for values in found]
    texts = index.texts([row[side] for row in rows for side in ("chosen", "rejected")
                         if row[side] is not None])  # fmt: skip
    prompts = index.prompts([row["prompt_id"] for row in rows])
    for row in rows:
        row["prompt"] = last_words(prompts.get(row["prompt_id"]))
        for side in ("chosen", "rejected"):
            row[f"{side}_text"] = texts.get(row[side], "")
    return Page(rows, total[0][0], asked.page, searched)


def last_words(messages: Sequence[Mapping[str, str]] | None) -> str:
    """The beginning of what a conversation asks last."""
    return messages[-1]["content"][:300] if messages else ""
