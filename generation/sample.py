"""Stage: n responses to each prompt, drawn from the policy as it is now."""

import logging
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from contracts import fingerprint
from contracts.chat import ChatFormat
from contracts.errors import UserError
from contracts.manifest import Result
from contracts.model import load_tokenizer, split_reference
from contracts.parts import iter_parts, part_path, read_table, write_part
from contracts.process import main
from contracts.progress import Progress
from contracts.step import Inputs, Stage
from contracts.tables import RESPONSES
from generation import engines
from generation.config import SampleConfig
from generation.journal import Journal
from generation.requests import Request, Sample, plan
from generation.startup import without_collecting
from generation.stream import Done, Parts, stream, whole_batches

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)


def run(config: SampleConfig, inputs: Inputs, out: Path) -> Result:
    """Write RESPONSES: all samples of `prompts_per_part` prompts in each part.

    A part that exists is kept, and so is every sample in the journal.

    Raises:
        UserError: the policy cannot be loaded, or no prompt can be asked.
    """
    policy = fingerprint.of_input(inputs["policy"])
    with without_collecting():
        chat = ChatFormat(load_tokenizer(inputs["policy"]), config.bos)
        context = _context(inputs["policy"], config)
    table = read_table(Path(inputs["prompts"]), ["prompt_id", "messages"])
    rows = zip(table["prompt_id"].to_pylist(), table["messages"].to_pylist(), strict=True)
    dropped: Counter[str] = Counter()
    planned = plan(rows, config, chat, context, dropped)
    if not planned:
        raise UserError(
            f"{inputs['prompts']}: none of its {len(table)} prompts can be asked "
            f"({dict(dropped)}); the context is {context} tokens, max_tokens {config.max_tokens}"
        )
    parts = {i: part for i, part in enumerate(planned) if not part_path(out, i).exists()}
    job = engines.Job(
        policy=inputs["policy"],
        config=config,
        stop_ids=_stop_ids(inputs["policy"], chat),
        longest_prompt=max(len(request.prompt) for part in planned for request in part),
        context=context,
    )
    journal = Journal(out)
    facts = _sample(job, parts, journal, out, Writer(chat.tokenizer, config.stop, policy))
    journal.remove()
    return _result(out, dropped, facts | {"policy": policy})


def _sample(
    job: engines.Job, parts: Parts, journal: Journal, out: Path, writer: "Writer"
) -> dict[str, Any]:
    """Draw and write the missing parts; the speed of doing so."""
    if not parts:
        return {}
    started = time.monotonic()
    engine = engines.start(job)
    log.info("%s is ready after %.1f s", job.config.engine.kind, time.monotonic() - started)
    done = whole_batches(parts, journal.read(), engine.batch)
    resumed = len(done)
    total = sum(map(len, parts.values()))
    kept = sum(len(sample.tokens) for sample in done.values())
    started = time.monotonic()
    tokens = fill(parts, done, engine, journal, out, writer) - kept
    seconds = time.monotonic() - started
    engine.close()
    return {"tokens_per_second": round(tokens / seconds, 1)} if total > resumed else {}


def fill(
    parts: Parts, done: Done, engine: engines.Engine, journal: Journal, out: Path, writer: "Writer"
) -> int:
    """Draw what is not `done` and write the parts; the tokens in them."""
    tokens = 0
    with journal:
        progress = Progress(sum(map(len, parts.values())), "samples", len(done))
        for index, samples in stream(parts, done, engine, journal, progress):
            write_part(out, index, writer.table(parts[index], samples), RESPONSES)
            tokens += sum(len(sample.tokens) for sample in samples)
    return tokens


class Writer:
    """Turns samples into rows."""

    def __init__(
        self, tokenizer: "PreTrainedTokenizerBase", stop: Sequence[str], policy: str
    ) -> None:
        self._tokenizer = tokenizer
        self._stop = stop
        self._policy = policy

    def table(self, requests: Sequence[Request], samples: Sequence[Sample]) -> pa.Table:
        """Rows as RESPONSES has them, in the order of the requests."""
        columns = {
            "prompt_id": [request.prompt_id for request in requests],
            "response_id": [request.response_id for request in requests],
            "sample": [request.sample for request in requests],
            "seed": [request.seed for request in requests],
            "text": self.texts([sample.tokens for sample in samples]),
            "token_ids": [sample.tokens for sample in samples],
            "finish_reason": [sample.finish_reason for sample in samples],
            "n_tokens": [len(sample.tokens) for sample in samples],
            "logprob": [sample.logprob for sample in samples],
            "policy": [self._policy] * len(samples),
        }
        return pa.Table.from_pydict(columns, schema=RESPONSES)

    def texts(self, answers: list[list[int]]) -> list[str]:
        """The answers without special tokens, cut before the first stop string."""
        texts = self._tokenizer.batch_decode(
            answers, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return [self._cut(text) for text in texts]

    def _cut(self, text: str) -> str:
        ends = [place for string in self._stop if (place := text.find(string)) >= 0]
        return text[: min(ends, default=len(text))]


def _context(policy: str, config: SampleConfig) -> int:
    """Most tokens of prompt and answer together."""
    from transformers import AutoConfig

    path, revision = split_reference(policy)
    try:
        model = AutoConfig.from_pretrained(path, revision=revision, trust_remote_code=False)
    except (OSError, ValueError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise UserError(f"{policy}: its config cannot be loaded: {reason}") from None
    limit = model.get_text_config().max_position_embeddings
    context = min(config.max_model_len or limit, limit)
    if config.max_tokens >= context:
        raise UserError(
            f"{policy}: max_tokens {config.max_tokens} leaves no room for a prompt in its "
            f"context of {context} tokens; lower max_tokens"
        )
    return context


def _stop_ids(policy: str, chat: ChatFormat) -> list[int]:
    """Tokens that end an answer: the template's end of turn and every EOS of the model."""
    from transformers import GenerationConfig

    path, revision = split_reference(policy)
    found = {chat.end_of_turn_id, chat.tokenizer.eos_token_id}
    try:
        eos = GenerationConfig.from_pretrained(path, revision=revision).eos_token_id
        found |= set(eos) if isinstance(eos, list) else {eos}
    except OSError:
        log.info("%s has no generation_config.json; its tokenizer's EOS is used", policy)
    return sorted(found - {None})


def _result(out: Path, dropped: Counter[str], facts: dict[str, Any]) -> Result:
    rows = tokens = truncated = 0
    for part in iter_parts(out, ["n_tokens", "finish_reason"]):
        rows += len(part)
        tokens += pc.sum(part["n_tokens"]).as_py()
        truncated += pc.sum(pc.equal(part["finish_reason"], "length")).as_py()
    return Result(rows, dict(dropped), {"tokens": tokens, "truncated": truncated} | facts)


STAGE = Stage(name="generation.sample", version=1, config=SampleConfig, run=run)

if __name__ == "__main__":
    main(STAGE)
