"""Stage: from pairs to token ids."""

import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa

from contracts.chat import ChatFormat, RowError
from contracts.errors import UserError
from contracts.models.model import load_tokenizer
from contracts.steps.facts import OfPolicy, read_facts
from contracts.steps.fingerprint import of_input
from contracts.steps.inputs import Inputs, Model
from contracts.steps.manifest import Result
from contracts.steps.step import Stage
from contracts.tables.parts import iter_parts, part_paths, read_part, write_part
from contracts.tables.schemas import PAIRS, RESPONSES, TOKENS
from runtime.progress import Progress
from runtime.stage_process import main
from training.config import FormatConfig
from training.tokens.checks import FormattedFor
from training.tokens.formats import PairTokens, recipe, standard, truncate
from training.tokens.recipe_difference import Difference, RecipeDifference

log = logging.getLogger(__name__)

_PAIR_COLUMNS = ["prompt_id", "prompt", "chosen", "rejected", "chosen_id", "rejected_id"]
_FORMATS = {"standard": standard, "recipe": recipe}
_QUANTILES = {"median": 0.5, "p95": 0.95, "max": 1.0}


class FormatInputs(Inputs):
    """Pairs, the responses that they were made from, and the policy that will train on them."""

    pairs: Annotated[Path, PAIRS]
    responses: Annotated[Path, RESPONSES]
    policy: Model


class FormatFacts(FormattedFor):
    """What became of the pairs."""

    lengths: dict[str, dict[str, float]]
    """Of `prompt`, `chosen` and `rejected`: tokens at the `median`, `p95` and `max`."""
    truncated: int
    """Pairs that were cut."""
    retokenized_equal: float | None
    """Share of responses whose text gives the sampled tokens back; null where not compared."""
    differs_from_recipe: Difference | None
    """What the published format would have read otherwise; null where not compared."""


def run(config: FormatConfig, inputs: FormatInputs, out: Path) -> Result:
    """Tokenise every pair; one part of tokens for each part of pairs.

    Raises:
        UserError: the pairs were sampled from another policy, or none could be used.
    """
    pairs = inputs.pairs
    policy = refuse_off_policy(config, pairs, inputs.policy)
    chat = ChatFormat(load_tokenizer(inputs.policy), config.bos, config.date)
    formatter = _Formatter(config, chat, _sampled_ids(inputs.responses, pairs))
    parts = part_paths(pairs)
    progress = Progress(len(parts), "parts")
    for index, path in enumerate(parts):
        rows = list(formatter.rows(read_part(path, _PAIR_COLUMNS)))
        write_part(out, index, pa.Table.from_pylist(rows, schema=TOKENS), TOKENS)
        progress.advance()
    if not formatter.lengths["prompt"]:
        raise UserError(f"{pairs}: no pair can be used: {formatter.why_none()}")
    facts = formatter.facts(policy, of_input(inputs.policy))
    return Result(len(formatter.lengths["prompt"]), dict(formatter.dropped), facts)


def refuse_off_policy(config: FormatConfig, pairs: Path, policy: str) -> str | None:
    """The policy that sampled the pairs, as their manifest has it.

    Raises:
        UserError: it is not the policy that is to be trained, and the config does not allow it.
    """
    facts = read_facts(pairs, OfPolicy)
    sampled_from = facts.policy if facts else None
    if sampled_from != (trained := of_input(policy)) and not config.off_policy:
        raise UserError(
            f"{pairs}: these responses were sampled from policy {sampled_from or 'unknown'}, but "
            f"the policy to train is {trained} ({policy}). Sample and score its own responses "
            "first, or set `off_policy: true` to train on another policy's"
        )
    return sampled_from


class _Formatter:
    """Formats rows and keeps the counts that the manifest reports."""

    def __init__(self, config: FormatConfig, chat: ChatFormat, sampled: "_Sampled") -> None:
        self.config = config
        self.chat = chat
        self.sampled = sampled
        self.difference = RecipeDifference(chat)
        self.dropped: Counter[str] = Counter()
        self.lengths: dict[str, list[int]] = {"prompt": [], "chosen": [], "rejected": []}
        self.truncated = self.responses = self.equal = 0

    def rows(self, pairs: pa.Table) -> Iterator[dict[str, Any]]:
        """A TOKENS row for each pair that can be used; the others are counted by reason."""
        for pair in pairs.to_pylist():
            try:
                tokens = self._tokens(pair)
            except RowError as error:
                self.dropped[error.reason] += 1
                log.debug("%s: %s: %s", pair["prompt_id"], error.reason, error)
                continue
            self._count(tokens)
            yield {
                "prompt_id": pair["prompt_id"],
                "prompt_ids": tokens.prompt,
                "chosen_ids": tokens.chosen,
                "rejected_ids": tokens.rejected,
                "chosen_loss_start": 0,
                "rejected_loss_start": 0,
            }

    def facts(self, policy: str | None, formatted_for: str) -> FormatFacts:
        """What became of the rows so far; the fingerprints are given."""
        return FormatFacts(
            policy=policy,
            formatted_for=formatted_for,
            lengths={name: _quantiles(values) for name, values in self.lengths.items()},
            truncated=self.truncated,
            retokenized_equal=self.equal / self.responses if self.responses else None,
            differs_from_recipe=self.difference.found(),
        )

    def why_none(self) -> str:
        """The reasons of the drops, most frequent first."""
        counts = self.dropped.most_common()
        return ", ".join(f"{reason} {count}" for reason, count in counts) or "it holds no row"

    def _tokens(self, pair: dict[str, Any]) -> PairTokens:
        chosen, rejected = (pair[side][-1]["content"] for side in ("chosen", "rejected"))
        formatted = _FORMATS[self.config.format](self.chat, pair["prompt"], chosen, rejected)
        if self.config.format == "standard":
            self.difference.add(pair["prompt"], chosen, rejected, formatted)
            formatted = self._compare_with_sampled(formatted, pair)
        limits = self.config.max_length, self.config.max_prompt_length
        tokens = truncate(formatted, self.config.truncation, *limits)
        self.truncated += tokens is not formatted
        return tokens

    def _compare_with_sampled(self, pair: PairTokens, row: dict[str, Any]) -> PairTokens:
        chosen = self.sampled[row["chosen_id"]]
        rejected = self.sampled[row["rejected_id"]]
        self.responses += 2
        self.equal += (chosen == pair.chosen) + (rejected == pair.rejected)
        # A text may be tokenised otherwise than it was sampled: the loss would be of tokens that
        # the policy did not choose.
        if self.config.response_ids == "retokenized":
            return pair
        for ids in (chosen, rejected):
            if not ids:
                raise RowError("empty_response", "a sampled response has no token")
            if self.chat.bos_id is not None and self.chat.bos_id in ids:
                raise RowError("not_one_bos", "the policy sampled a BOS token")
        return PairTokens(pair.prompt, chosen, rejected)

    def _count(self, tokens: PairTokens) -> None:
        for name, values in self.lengths.items():
            values.append(len(getattr(tokens, name)))


class _Sampled:
    """The sampled token ids of some responses, by response id, held as one arrow column."""

    def __init__(self, table: pa.Table, folder: Path) -> None:
        self._ids = table["token_ids"].combine_chunks()
        self._row = {name: row for row, name in enumerate(table["response_id"].to_pylist())}
        self._folder = folder

    def __getitem__(self, response_id: str) -> list[int]:
        try:
            return self._ids[self._row[response_id]].as_py()
        except KeyError:
            raise UserError(
                f"{self._folder}: holds no response {response_id}, which a pair names; "
                "give the responses that the pairs were made from"
            ) from None


def _sampled_ids(responses: Path, pairs: Path) -> _Sampled:
    """The sampled ids of the responses that the pairs use: 2 of 5 with the recipe's samples."""
    import pyarrow.compute as pc

    names = [part[side] for part in iter_parts(pairs, ["chosen_id", "rejected_id"])
             for side in ("chosen_id", "rejected_id")]  # fmt: skip
    response_ids = pa.chunked_array([chunk for name in names for chunk in name.chunks], pa.string())
    chunks = [
        part.filter(pc.is_in(part["response_id"], value_set=response_ids))
        for part in iter_parts(responses, ["response_id", "token_ids"])
    ]
    if not chunks:
        raise UserError(f"{responses}: holds no part-*.parquet")
    return _Sampled(pa.concat_tables(chunks), responses)


def _quantiles(lengths: list[int]) -> dict[str, float]:
    import numpy as np

    values: np.ndarray = np.asarray(lengths)
    return {name: float(np.quantile(values, q)) for name, q in _QUANTILES.items()}


STAGE = Stage(
    name="training.format", version=1, config=FormatConfig, inputs=FormatInputs,
    output=TOKENS, facts=FormatFacts, run=run,
)  # fmt: skip

if __name__ == "__main__":
    main(STAGE)
