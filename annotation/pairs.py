"""Stage: one preference pair a prompt, from its responses' scores.

Reads responses and scores part by part and writes a part of pairs for each; the next parts
are read and the last ones written while one is paired. What is cheap is made anew after a
crash: the same bytes come out.
"""

from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from annotation.config import PairsConfig
from annotation.pairing import Candidates, Selection, select
from annotation.prompts import Prompts
from contracts.errors import OnPolicyError, UserError
from contracts.manifest import Result, read_manifest
from contracts.parts import part_paths, read_part, write_part
from contracts.process import main
from contracts.progress import Progress
from contracts.step import Inputs, Stage
from contracts.tables import MESSAGES, PAIRS

_RESPONSES = ["prompt_id", "response_id", "text", "n_tokens", "finish_reason"]
_SCORES = ["response_id", "annotator", "score"]
_PARTS_AHEAD = 2


def run(config: PairsConfig, inputs: Inputs, out: Path) -> Result:
    """Make the pairs.

    Raises:
        UserError: the inputs do not belong together, or the annotator is unknown.
        OnPolicyError: no pair came out.
    """
    responses, scores = Path(inputs["responses"]), Path(inputs["scores"])
    prompts = Prompts(Path(inputs["prompts"]), ("messages", "split"))
    sources = sources_of(responses, scores)
    progress = Progress(sum(pq.read_metadata(path).num_rows for path, _ in sources), "responses")
    annotator = config.annotator or _only_annotator(sources)
    tally = Tally()
    with ThreadPoolExecutor(1) as writer:
        written: Future[Path] | None = None
        for index, (table, scored) in enumerate(_read_ahead(sources, annotator)):
            pairs, selection, tokens = pair_part(config, table, scored, prompts)
            if written:
                written.result()
            written = writer.submit(write_part, out, index, pairs, PAIRS)
            tally.add(pairs, selection, tokens)
            progress.advance(table.num_rows)
        if written:
            written.result()
    if not tally.rows:
        raise OnPolicyError(
            f"no pair came out of {sum(tally.dropped.values())} prompts: {dict(tally.dropped)}; "
            "sample more or more varied responses, or relax the filters under `pairs`"
        )
    manifest = read_manifest(responses)
    policy = (manifest.facts if manifest else {}).get("policy")
    facts = {"policy": policy, "annotator": annotator, **tally.facts()}
    return Result(rows=tally.rows, dropped=dict(tally.dropped), facts=facts)


def _read_ahead(
    sources: list[tuple[Path, Path]], annotator: str
) -> Iterator[tuple[pa.Table, np.ndarray]]:
    """Each part of responses and its scores, the next one read meanwhile."""

    def read(source: tuple[Path, Path]) -> tuple[pa.Table, np.ndarray]:
        responses = read_part(source[0], _RESPONSES)
        scores = read_part(source[1], _SCORES)
        return responses, scores_of(scores, annotator, responses["response_id"])

    with ThreadPoolExecutor(1) as reader:
        waiting: deque[Future[tuple[pa.Table, np.ndarray]]] = deque()
        for source in sources:
            waiting.append(reader.submit(read, source))
            if len(waiting) > _PARTS_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def pair_part(
    config: PairsConfig, responses: pa.Table, score: np.ndarray, prompts: Prompts
) -> tuple[pa.Table, Selection, np.ndarray]:
    """PAIRS rows for a part of responses, how they were selected, and the responses' tokens.

    Args:
        score: one float64 a response, NaN where there is none.
    """
    ids = responses["prompt_id"].combine_chunks().dictionary_encode()
    tokens = responses["n_tokens"].to_numpy().astype(np.int64)
    candidates = Candidates(
        prompt=ids.indices.to_numpy(),
        score=score,
        tokens=tokens,
        truncated=pc.equal(responses["finish_reason"], "length").to_numpy(),
        text=responses["text"].combine_chunks(),
    )
    selection = select(config, candidates, ids.dictionary)
    found = prompts.take(ids.dictionary.take(pa.array(selection.prompt)))
    return _table(responses, found, selection), selection, tokens


def scores_of(scores: pa.Table, annotator: str, response_ids: pa.ChunkedArray) -> np.ndarray:
    """An annotator's score for each response, NaN where it is null.

    Raises:
        UserError: the annotator is not there, or a response has no row.
    """
    own = scores.filter(pc.equal(scores["annotator"], annotator))
    if scores.num_rows and not own.num_rows:
        known = ", ".join(sorted(scores["annotator"].unique().to_pylist()))
        raise UserError(f"no annotator {annotator!r} in the scores; there is {known}")
    if not own["response_id"].equals(response_ids):
        at = pc.index_in(response_ids, own["response_id"].combine_chunks())
        if at.null_count:
            absent = response_ids.filter(pc.is_null(at))[0].as_py()
            raise UserError(
                f"response {absent} has no row in the scores; make pairs from the responses that "
                "were scored"
            )
        own = own.take(at)
    return pc.fill_null(own["score"], float("nan")).to_numpy()


@dataclass
class Tally:
    """What all parts come to; a few bytes a pair."""

    rows: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    margins: list[np.ndarray] = field(default_factory=list)
    chosen_tokens: int = 0
    rejected_tokens: int = 0
    chosen_longer: int = 0

    def add(self, pairs: pa.Table, selection: Selection, tokens: np.ndarray) -> None:
        """Count a part in."""
        chosen, rejected = tokens[selection.chosen], tokens[selection.rejected]
        self.rows += pairs.num_rows
        self.dropped.update(selection.dropped)
        self.margins.append(pairs["margin"].to_numpy().astype(np.float32))
        self.chosen_tokens += int(chosen.sum())
        self.rejected_tokens += int(rejected.sum())
        self.chosen_longer += int((chosen > rejected).sum())

    def facts(self) -> dict[str, Any]:
        """Figures for the report; lengths in tokens."""
        margins = np.concatenate(self.margins)
        levels = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
        quantiles = np.quantile(margins, levels)
        return {
            "margin_mean": float(margins.mean(dtype=np.float64)),
            "margin_quantiles": {
                str(level): float(q) for level, q in zip(levels, quantiles, strict=True)
            },
            "chosen_tokens_mean": self.chosen_tokens / self.rows,
            "rejected_tokens_mean": self.rejected_tokens / self.rows,
            "chosen_longer_share": self.chosen_longer / self.rows,
        }


def _table(responses: pa.Table, prompts: pa.Table, selection: Selection) -> pa.Table:
    chosen = responses.take(pa.array(selection.chosen))
    rejected = responses.take(pa.array(selection.rejected))
    columns = {
        "prompt_id": prompts["prompt_id"],
        "prompt": prompts["messages"],
        "chosen": _answers(chosen["text"]),
        "rejected": _answers(rejected["text"]),
        "chosen_id": chosen["response_id"],
        "rejected_id": rejected["response_id"],
        "chosen_score": selection.chosen_score,
        "rejected_score": selection.rejected_score,
        "margin": selection.chosen_score - selection.rejected_score,
        "split": prompts["split"],
    }
    return pa.table(columns)


def _answers(texts: pa.ChunkedArray) -> pa.Array:
    """Each text as a list of one assistant message."""
    content = texts.combine_chunks()
    roles = pa.DictionaryArray.from_arrays(
        pa.array(np.zeros(len(content), np.int8)), ["assistant"]
    ).cast(pa.string())
    fields = list(MESSAGES.value_type)
    messages = pa.StructArray.from_arrays([roles, content], fields=fields)
    offsets = pa.array(np.arange(len(content) + 1, dtype=np.int32))
    return pa.ListArray.from_arrays(offsets, messages, type=MESSAGES)


def sources_of(responses: Path, scores: Path) -> list[tuple[Path, Path]]:
    """Each part of responses with the part of its scores.

    Raises:
        UserError: the two tables have other parts.
    """
    ours, theirs = part_paths(responses), part_paths(scores)
    if [path.name for path in ours] != [path.name for path in theirs]:
        raise UserError(
            f"{scores}: has {len(theirs)} parts where {responses} has {len(ours)}; make pairs "
            "from the responses that were scored"
        )
    return list(zip(ours, theirs, strict=True))


def _only_annotator(sources: list[tuple[Path, Path]]) -> str:
    for names in _annotators(sources):
        if len(names) > 1:
            raise UserError(
                f"the scores are of {', '.join(names)}; say under `pairs.annotator` whose decide"
            )
        if names:
            return names[0]
    return ""


def _annotators(sources: list[tuple[Path, Path]]) -> Iterator[list[str]]:
    for _, path in sources:
        yield read_part(path, ["annotator"])["annotator"].unique().to_pylist()


STAGE = Stage(name="annotation.pairs", version=1, config=PairsConfig, run=run)

if __name__ == "__main__":
    main(STAGE)
