"""Stage: the prompts of a run, without duplicates, with some of them held out."""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from contracts import fingerprint
from contracts.chat import Message
from contracts.errors import UserError
from contracts.manifest import Result
from contracts.parts import write_part
from contracts.process import main
from contracts.step import Inputs, Stage
from contracts.tables import PROMPTS
from generation.config import PromptsConfig
from generation.records import Row, read_column

_ROWS_PER_PART = 10_000
_BENCHMARK_COLUMNS = ("instruction", "prompt", "turns")

Conversation = list[Message]


def prompt_id(messages: Conversation) -> str:
    """Hash of a conversation's roles and texts.

    Texts count in Unicode's NFC form without surrounding blanks, so that two spellings of
    one prompt are one prompt; the stored text stays as it was given.
    """
    canonical = [
        [turn["role"], unicodedata.normalize("NFC", turn["content"]).strip()] for turn in messages
    ]
    return fingerprint.of_json(canonical)


def rank(seed: int, identifier: str) -> bytes:
    """A prompt's place in a random order that depends on the seed and its own id alone."""
    return hashlib.sha256(f"{seed}:{identifier}".encode()).digest()


def to_messages(origin: str, value: Any) -> Conversation:
    """The conversation up to the user's last turn; empty where there is nothing to answer.

    A list of texts, as MT-Bench's `turns`, counts as its first question: the later ones
    need the model's own answers before they can be asked.

    Raises:
        UserError: the value is neither text nor a message list.
    """
    if value is None or isinstance(value, str):
        return [{"role": "user", "content": value}] if value and value.strip() else []
    if isinstance(value, list) and all(isinstance(turn, str) for turn in value):
        return to_messages(origin, value[0] if value else None)
    if not isinstance(value, list):
        raise UserError(f"{origin}: a prompt is text or a message list, not {value!r:.60}")
    messages = [_to_message(origin, turn) for turn in value]
    while messages and messages[-1]["role"] == "assistant":
        messages.pop()
    answerable = messages and messages[-1]["role"] == "user" and messages[-1]["content"].strip()
    return messages if answerable else []


def _to_message(origin: str, turn: Any) -> Message:
    match turn:
        case {"role": str(role), "content": str(content)}:
            return {"role": role, "content": content}
        case {"content": str(content)}:
            return {"role": "user", "content": content}
    raise UserError(f"{origin}: a message needs a role and a content, not {turn!r:.60}")


def unique(rows: Iterable[Row], taken: set[str], dropped: Counter[str]) -> Iterator[dict[str, Any]]:
    """Each different prompt with its id, but those already `taken`; the others are counted."""
    seen: set[str] = set()
    for origin, value in rows:
        messages = to_messages(origin, value)
        if not messages:
            dropped["empty_prompt"] += 1
        elif not _is_unicode(messages):
            dropped["invalid_unicode"] += 1
        elif (identifier := prompt_id(messages)) in taken:
            dropped["in_benchmark"] += 1
        elif identifier in seen:
            dropped["duplicate_prompt"] += 1
        else:
            seen.add(identifier)
            yield {"prompt_id": identifier, "messages": messages}


def _is_unicode(messages: Conversation) -> bool:
    """False for half of a surrogate pair, which JSON can spell and no UTF-8 file can hold."""
    return all(ord(c) < 0xD800 or ord(c) > 0xDFFF for turn in messages for c in turn["content"])


def run(config: PromptsConfig, inputs: Inputs, out: Path) -> Result:
    """Write PROMPTS: held-out and training prompts in source order, then the benchmark's.

    Raises:
        UserError: the source cannot be read or leaves no prompt to train on.
    """
    dropped: Counter[str] = Counter()
    benchmark = _benchmark(inputs.get("benchmark"), dropped)
    source = read_column(inputs["source"], [config.column], config.hub_split)
    fresh = unique(source, {row["prompt_id"] for row in benchmark}, dropped)
    prompts = [row | {"source": config.path} for row in islice(fresh, config.limit)]
    if len(prompts) <= config.test_size:
        raise UserError(
            f"{inputs['source']}: {len(prompts)} usable prompts, of which test_size holds out "
            f"{config.test_size}: none is left to train on (left out: {dict(dropped) or 'none'})"
        )
    held_out = _held_out(prompts, config)
    for row in prompts:
        row["split"] = "test" if row["prompt_id"] in held_out else "train"
    rows = prompts + benchmark
    for index, first in enumerate(range(0, len(rows), _ROWS_PER_PART)):
        part = pa.Table.from_pylist(rows[first : first + _ROWS_PER_PART], schema=PROMPTS)
        write_part(out, index, part, PROMPTS)
    return Result(len(rows), dict(dropped), dict(Counter(row["split"] for row in rows)))


def _held_out(prompts: list[dict[str, Any]], config: PromptsConfig) -> set[str]:
    ranked = sorted((row["prompt_id"] for row in prompts), key=lambda i: rank(config.seed, i))
    return set(ranked[: config.test_size])


def _benchmark(path: str | None, dropped: Counter[str]) -> list[dict[str, Any]]:
    """The benchmark's prompts; a run may not train on any of them."""
    if path is None:
        return []
    rows = read_column(path, _BENCHMARK_COLUMNS)
    name = Path(path).name
    return [row | {"source": name, "split": "benchmark"} for row in unique(rows, set(), dropped)]


STAGE = Stage(name="generation.prompts", version=1, config=PromptsConfig, run=run)

if __name__ == "__main__":
    main(STAGE)
