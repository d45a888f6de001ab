"""Stage: n responses to each prompt, drawn from the policy as it is now."""

import logging
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from contracts import device, fingerprint
from contracts.chat import ChatFormat
from contracts.errors import OnPolicyError, UserError
from contracts.manifest import Result
from contracts.model import load_tokenizer, read_end_tokens, read_positions
from contracts.parts import iter_parts, part_path, read_table, write_part
from contracts.process import main
from contracts.progress import Progress
from contracts.site import Site
from contracts.step import Inputs, Stage
from contracts.tables import RESPONSES
from generation import engines
from generation.adapter import resolve
from generation.config import SampleConfig, TransformersEngine
from generation.crew import Crew
from generation.device import refuse_unable, this_device
from generation.journal import Journal
from generation.repetition import repetition
from generation.requests import Failure, Outcome, Request, Sample, plan
from generation.responses import Writer, write_errors
from generation.site import site_for, warm_up
from generation.startup import without_collecting
from generation.stream import Done, Parts, stream, whole_batches

log = logging.getLogger(__name__)


def run(config: SampleConfig, inputs: Inputs, out: Path) -> Result:
    """Write RESPONSES: all samples of `prompts_per_part` prompts in each part.

    `inputs` are `prompts` and `policy`; where that is an adapter, maybe the `base` to load.
    A part that exists is kept, and so is every outcome in the journal. A request that has no
    sample in the end is a row of `_errors.parquet`, and counted.

    Raises:
        UserError: the policy cannot be loaded, no prompt can be asked, or this machine cannot do
            what the engine's config asks for.
        OnPolicyError: more requests failed than `max_error_share` admits.
    """
    refuse_unable(config.engine, this_device())
    policy = fingerprint.of_input(inputs["policy"])
    site = site_for(config.engine)
    warm_up(site, config.engine)
    loaded = resolve(inputs["policy"], inputs.get("base"))
    with without_collecting():
        chat = ChatFormat(load_tokenizer(loaded.tokenizer), config.bos, config.date)
        context = _context(loaded.model, config)
    dropped: Counter[str] = Counter()
    planned = _plan(config, inputs["prompts"], chat, context, dropped)
    parts = {i: part for i, part in enumerate(planned) if not part_path(out, i).exists()}
    requests = [request for part in planned for request in part]
    job = engines.Job(
        policy=loaded.model,
        config=config,
        stop_ids=_stop_ids(loaded.model, chat),
        longest_prompt=max(len(request.prompt) for request in requests),
        context=context,
        adapter=loaded.adapter,
        adapter_rank=loaded.rank,
    )
    journal = Journal(out)
    writer = Writer(chat.tokenizer, config.stop, policy)
    facts = _sample(site, job, parts, journal, out, writer, len(requests)) if parts else {}
    dropped["sampling_error"] = write_errors(out, requests, journal.read())
    journal.remove()
    return _result(out, dropped, facts | {"policy": policy})


def _plan(
    config: SampleConfig, prompts: str, chat: ChatFormat, context: int, dropped: Counter[str]
) -> list[list[Request]]:
    table = read_table(Path(prompts), ["prompt_id", "messages"])
    rows = zip(table["prompt_id"].to_pylist(), table["messages"].to_pylist(), strict=True)
    planned = plan(rows, config, chat, context, dropped)
    if not planned:
        raise UserError(
            f"{prompts}: none of its {len(table)} prompts can be asked "
            f"({dict(dropped)}); the context is {context} tokens, max_tokens {config.max_tokens}"
        )
    return planned


def _sample(
    site: Site,
    job: engines.Job,
    parts: Parts,
    journal: Journal,
    out: Path,
    writer: Writer,
    total: int,
) -> dict[str, Any]:
    """Draw and write the missing parts; the speed of doing so."""
    started = time.monotonic()
    engine = open_engine(site, job)
    log.info("%s is ready after %.1f s", job.config.engine.kind, time.monotonic() - started)
    known = journal.read()
    done = whole_batches(parts, known, engine.batch)
    failed = sum(isinstance(outcome, Failure) for outcome in known.values())
    allowed = int(job.config.engine.resources.max_error_share * total)
    kept, resumed = count_tokens(done.values()), len(done)
    started = time.monotonic()
    try:
        tokens = fill(parts, done, engine, journal, out, writer, allowed - failed) - kept
    finally:
        engine.close()
    seconds = time.monotonic() - started
    missing = sum(map(len, parts.values())) - resumed
    return {"tokens_per_second": round(tokens / seconds, 1)} if missing else {}


def open_engine(site: Site, job: engines.Job) -> engines.Engine:
    """The job's engine: in processes of its own, or in this one where the site has none."""
    if not site.workers:
        return engines.start(job)
    engine = job.config.engine
    return Crew(site, job, engine.batch_size if isinstance(engine, TransformersEngine) else 1)


def fill(
    parts: Parts,
    done: Done,
    engine: engines.Engine,
    journal: Journal,
    out: Path,
    writer: Writer,
    allowed: int = 0,
) -> int:
    """Draw what is not `done` and write the parts; the tokens in them.

    Raises:
        OnPolicyError: more than `allowed` requests failed that had not failed before.
    """
    tokens = 0
    before = [name for name, outcome in done.items() if isinstance(outcome, Failure)]
    failures: list[Failure] = []
    with journal:
        progress = Progress(sum(map(len, parts.values())), "samples", len(done))
        for index, outcomes in stream(parts, done, engine, journal, progress):
            write_part(out, index, writer.table(parts[index], outcomes), RESPONSES)
            tokens += count_tokens(outcomes)
            failures += [one for one in outcomes if isinstance(one, Failure)]
            if len(failures) > allowed + len(before):
                raise OnPolicyError(_too_many(failures))
    return tokens


def _too_many(failures: Sequence[Failure]) -> str:
    first = failures[0]
    return (
        f"{len(failures)} requests have failed, more than sampling.engine.resources."
        f"max_error_share admits; the first is {first.response_id}: {first.error}. Raise the "
        "share to go on without them"
    )


def count_tokens(outcomes: Iterable[Outcome]) -> int:
    """Tokens sampled."""
    return sum(len(outcome.tokens) for outcome in outcomes if isinstance(outcome, Sample))


def _context(policy: str, config: SampleConfig) -> int:
    """Most tokens of prompt and answer together."""
    limit = read_positions(policy)
    context = min(config.max_model_len or limit, limit)
    if config.max_tokens >= context:
        raise UserError(
            f"{policy}: max_tokens {config.max_tokens} leaves no room for a prompt in its "
            f"context of {context} tokens; lower max_tokens"
        )
    return context


def _stop_ids(policy: str, chat: ChatFormat) -> list[int]:
    """Tokens that end an answer: the template's end of turn and every EOS of the model."""
    own = {chat.end_of_turn_id, chat.tokenizer.eos_token_id}
    return sorted((own | read_end_tokens(policy)) - {None})


def _result(out: Path, dropped: Counter[str], facts: dict[str, Any]) -> Result:
    rows = tokens = truncated = measured = 0
    repeated = 0.0
    for part in iter_parts(out, ["n_tokens", "finish_reason", "token_ids"]):
        rows += len(part)
        tokens += pc.sum(part["n_tokens"], min_count=0).as_py()
        truncated += pc.sum(pc.equal(part["finish_reason"], "length"), min_count=0).as_py()
        shares = repetition(part["token_ids"].combine_chunks())
        shares = shares[~np.isnan(shares)]
        measured += len(shares)
        repeated += float(shares.sum())
    counts: dict[str, float] = {"tokens": tokens, "truncated": truncated}
    counts |= {"repetition": round(repeated / measured, 6)} if measured else {}
    return Result(rows, dict(dropped), counts | facts)


def here(config: SampleConfig) -> dict[str, str]:
    """As `Stage.here`."""
    if config.dtype != "auto":
        return {}
    return {"`dtype: auto`": "as its weights" if device.has_cuda() else "float32"}


STAGE = Stage(name="generation.sample", version=1, config=SampleConfig, run=run, here=here)

if __name__ == "__main__":
    main(STAGE)
