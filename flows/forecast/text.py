"""`onpolicy plan`'s text: a table where there is room, else a stage's figures by their names."""

from collections.abc import Iterator, Sequence
from datetime import timedelta

from flows.forecast.clusters import cluster_lines
from flows.forecast.figures import in_bytes
from flows.forecast.memory import Memory
from flows.forecast.plan import RunPlan, StagePlan
from runtime.terminal import WIDE, folded


def as_text(told: RunPlan, width: int = WIDE) -> str:
    """The plan for people, in lines of at most `width`."""
    return "\n".join(line for text in _lines(told, width) for line in folded(text, width))


def _lines(told: RunPlan, width: int) -> Iterator[str]:
    done = len(told.stages) - len(told.left)
    yield f"{told.run}: {done} of {len(told.stages)} stages done"
    yield from _stage_lines(told.stages, width)
    yield from (f"Mind that {note}." for note in told.notes)
    yield from cluster_lines(told.clusters)
    if any(stage.memory for stage in told.stages):
        yield f"Memory at the peak, on one {'GPU' if told.device == 'cuda' else 'process'}:"
        yield from _memory_lines(told.stages, width)
    yield _total(told)
    yield "Assumed:"
    yield from (f"  {line}" for line in told.assumptions)
    yield from (f"  {line}" for line in _rate_lines(told.left))


def _stage_lines(listed: Sequence[StagePlan], width: int) -> Iterator[str]:
    """A table where there is room, else each stage's figures by their names."""
    heads = ("rows", "tokens", "disk", "time")
    rows = [
        (f"  {one.state:<6} {one.title:<37}", (_count(one.rows), _short(one.tokens),
         in_bytes(one.disk), _time(one.seconds)))
        for one in listed
    ]  # fmt: skip
    yield from _columns(heads, (9, 8, 8, 8), rows, width)


def _columns(
    heads: Sequence[str], sizes: Sequence[int],
    rows: Sequence[tuple[str, Sequence[str]]], width: int,
) -> Iterator[str]:  # fmt: skip
    """
    Args:
        sizes: columns of each figure.
        rows: a title, as long in each, and its figures.
    """
    start = len(rows[0][0]) if rows else 0
    if start + sum(sizes) + len(sizes) <= width:
        yield " " * start + _aligned(heads, sizes)
        yield from (title + _aligned(figures, sizes) for title, figures in rows)
        return
    for title, figures in rows:
        yield title.rstrip()
        known = [f"{head} {one}" for head, one in zip(heads, figures, strict=True) if one]
        yield f"         {', '.join(known)}"


def _aligned(texts: Sequence[str], sizes: Sequence[int]) -> str:
    return "".join(f" {text:>{size}}" for text, size in zip(texts, sizes, strict=True))


def _memory_lines(listed: Sequence[StagePlan], width: int) -> Iterator[str]:
    parts = ("weights", "gradients", "optimizer", "activations", "kv_cache")
    heads = ("weights", "gradients", "optimizer", "activat.", "KV cache", "in all")
    rows: dict[tuple[str, Memory], tuple[str, list[str]]] = {}
    for stage in listed:
        name = stage.path.split("/", 1)[-1]
        if taken := stage.memory:
            sizes = [*(getattr(taken, part) for part in parts), taken.total]
            rows[name, taken] = (f"  {name:<30}", [in_bytes(size) for size in sizes])
    yield from _columns(heads, (9,) * len(heads), list(rows.values()), width)
    said = [(name, text) for name, taken in rows for text in (taken.says, _host(taken)) if text]
    yield from dict.fromkeys(f"  {name}: {text}" for name, text in said)


def _host(taken: Memory) -> str:
    return f"{in_bytes(taken.host)} of the machine's own memory" if taken.host else ""


def _total(told: RunPlan) -> str:
    disk = sum(stage.disk or 0 for stage in told.left)
    missing = told.without_rate
    least = "at least " if missing else ""
    way = (
        f"; no rate is known of {', '.join(missing)}: --rate NAME=ROWS_A_SECOND" if missing else ""
    )
    time = f"{least}{_time(told.seconds)}" if told.seconds or not missing else "an unknown time"
    return f"In all: {time}, {in_bytes(disk)} on the disk{way}"


def _rate_lines(left: Sequence[StagePlan]) -> Iterator[str]:
    told = dict[str, str]()
    for stage in left:
        if stage.rate and stage.rows and stage.seconds:
            name = stage.path.split("/", 1)[-1]
            told[name] = f"{name}: {_rate(stage.rows / stage.seconds)} rows/s ({stage.rate})"
    yield from told.values()


def _rate(value: float) -> str:
    return _short(round(value, 1)) if value >= 10 else f"{value:.2g}"


def _count(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"


def _short(value: float | None) -> str:
    if value is None:
        return ""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return str(value)


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    return str(timedelta(seconds=round(seconds))) if seconds >= 60 else f"{seconds:.1f} s"
