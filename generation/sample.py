"""Stage: n responses to each prompt, drawn from the policy as it is now."""

import logging
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow.compute as pc

from contracts.chat import ChatFormat
from contracts.errors import UserError
from contracts.models.fetch import fetch_models
from contracts.models.model import load_tokenizer, read_end_tokens, read_positions
from contracts.steps import fingerprint
from contracts.steps.facts import OfPolicy
from contracts.steps.inputs import Inputs, Model
from contracts.steps.manifest import Manifest, Result
from contracts.steps.step import Stage
from contracts.tables.parts import iter_parts, part_path, read_part
from contracts.tables.schemas import PROMPTS, QUESTIONS, RESPONSES
from generation import engines
from generation.config import SampleConfig
from generation.engines.adapter import resolve
from generation.engines.device import this_device
from generation.engines.dtype import resolved
from generation.engines.requests import Plan, plan_requests
from generation.sampling.filling import Tally, fill
from generation.sampling.journal import Journals
from generation.sampling.prompts import read_prompts
from generation.sampling.repetition import repetition
from generation.sampling.tables import Writer
from generation.sampling.turns import Turns
from generation.workers.placement import placement_for, warm_up
from generation.workers.pool import WorkerPool
from runtime import device
from runtime.gc_pause import without_collecting
from runtime.pool.placement import Places
from runtime.progress import Progress, print_phase
from runtime.stage_process import main

log = logging.getLogger(__name__)


class SampleInputs(Inputs):
    """Prompts, and the policy that answers them."""

    prompts: Annotated[Path, PROMPTS, QUESTIONS]
    policy: Model
    base: Model | None = None
    """What to load below the policy where that is an adapter; else what the adapter names."""


class SampleFacts(OfPolicy):
    """What was drawn."""

    requests: int
    """Answers that were to be drawn; those that are not there failed or could not be asked."""
    tokens: int
    truncated: int
    """Answers that `max_tokens` cut."""
    repetition: float | None
    """Share of repeated 4-grams, a mean over answers; null where all are shorter."""
    tokens_per_second: float | None
    """Speed of this start; null where all was there already."""


def run(config: SampleConfig, inputs: SampleInputs, out: Path) -> Result:
    """Write RESPONSES: all samples of `prompts_per_part` prompts in each part.

    Finished parts are kept, and so is every sample in the journals of the other parts. A request
    that gets no sample becomes a row of `_errors.parquet` and is counted; until the step is done,
    a new run tries it again. A later turn that cannot be asked is a row there too, and counted
    under its reason, as a prompt that is left out.

    Raises:
        UserError: the policy cannot be loaded, no prompt can be asked, or this machine cannot do
            what the engine's config asks for.
        OnPolicyError: more requests failed than `max_error_share` allows.
    """
    config.engine.refuse_unable(this_device())
    policy = fingerprint.of_input(inputs.policy)
    placement = placement_for(config.engine)
    warm_up(placement, config.engine)
    loaded = resolve(inputs.policy, inputs.base)
    with without_collecting():
        chat = ChatFormat(load_tokenizer(loaded.tokenizer), config.bos, config.date)
        context = config.context(read_positions(loaded.model), f"{loaded.model}: max_tokens ")
    dropped: Counter[str] = Counter()
    planned = _plan(config, inputs.prompts, chat, context, dropped)
    missing = [i for i in range(len(planned)) if _rows(out, i) < planned.requests_in(i)]
    job = engines.Job(
        policy=loaded.model,
        config=config.model_copy(update={"dtype": resolved(config.dtype, loaded.model)}),
        stop_ids=_stop_ids(loaded.model, chat),
        longest=planned.longest,
        context=context,
        adapter=loaded.adapter,
        adapter_rank=loaded.rank,
    )
    turns = Turns(planned, inputs.prompts, config, chat, context)
    writer = Writer(chat.tokenizer, config.stop, policy)
    tally = Tally(_allowed(config, planned.requests))
    try:
        speed = _sample(placement, job, turns, missing, out, writer, tally) if missing else None
    except BaseException:
        # Too many failures end the stage; `_errors.parquet` tells them all the same.
        if tally.failures:
            tally.write(out, dropped)
        raise
    tally.write(out, dropped)
    Journals(out).clear()
    return _result(out, dropped, policy, planned.requests, speed)


def _rows(out: Path, index: int) -> int:
    """Rows of a part: fewer than planned where requests failed, none before it is written."""
    path = part_path(out, index)
    return len(read_part(path, ["response_id"])) if path.exists() else 0


def _plan(
    config: SampleConfig, prompts: Path, chat: ChatFormat, context: int, dropped: Counter[str]
) -> Plan:
    planned = plan_requests(read_prompts(prompts), config, chat, context, dropped)
    if not planned:
        raise UserError(
            f"{prompts}: none of its {sum(dropped.values())} prompts can be asked "
            f"({dict(dropped)}); the context is {context} tokens, max_tokens {config.max_tokens}"
        )
    return planned


def _sample(
    placement: Places,
    job: engines.Job,
    turns: Turns,
    missing: Sequence[int],
    out: Path,
    writer: Writer,
    tally: Tally,
) -> float | None:
    """Draw and write the missing parts; the speed of doing so, in tokens a second."""
    fetch_models([job.policy])
    placement.require([job.policy, job.adapter or ""])
    started = time.monotonic()
    print_phase("loading the model")
    engine = open_engine(placement, job)
    log.info("%s is ready after %.1f s", job.config.engine.kind, time.monotonic() - started)
    progress = Progress(sum(map(turns.planned.requests_in, missing)), "samples")
    started = time.monotonic()
    journals = Journals(out)
    parts = turns.parts(missing, out, journals)
    try:
        fill(parts, engine, journals, out, writer, tally, progress)
    finally:
        engine.close()
    seconds = time.monotonic() - started
    return round(tally.tokens / seconds, 1) if tally.tokens else None


def open_engine(placement: Places, job: engines.Job) -> engines.Engine:
    """The job's engine: in processes of its own, or in this one where the placement has none."""
    if not placement.workers:
        return engines.start(job)
    return WorkerPool(placement, job, job.config.engine.batch)


def _stop_ids(policy: str, chat: ChatFormat) -> list[int]:
    """Tokens that end an answer: the template's end of turn and every EOS of the model."""
    ends = {chat.end_of_turn_id, chat.tokenizer.eos_token_id}
    return sorted((ends | read_end_tokens(policy)) - {None})


def _result(
    out: Path, dropped: Counter[str], policy: str, requests: int, speed: float | None
) -> Result:
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
    facts = SampleFacts(
        policy=policy,
        requests=requests,
        tokens=tokens,
        truncated=truncated,
        repetition=round(repeated / measured, 6) if measured else None,
        tokens_per_second=speed,
    )
    return Result(rows, dict(dropped), facts)


def here(config: SampleConfig) -> dict[str, str]:
    """What `dtype: auto` means for the policy on this machine."""
    if config.dtype != "auto":
        return {}
    # Which of these, the policy's own config.json says, and that is an input.
    return {"`dtype: auto`": " or ".join(device.supported_dtypes(device.capability()))}


def _allowed(config: SampleConfig, requests: int) -> int:
    return int(config.engine.resources.max_error_share * requests)


def refuse(config: SampleConfig, manifest: Manifest) -> str | None:
    """Why what was finished under a larger `max_error_share` does not do."""
    failed = manifest.dropped.get("sampling_error", 0)
    if not failed:
        return None
    requests = SampleFacts.model_validate(manifest.facts).requests
    if failed <= _allowed(config, requests):
        return None
    return (
        f"{failed:,} of its {requests:,} requests failed, more than sampling.engine.resources."
        f"max_error_share admits now: raise it"
    )


STAGE = Stage(
    name="generation.sample", version=1, config=SampleConfig, inputs=SampleInputs,
    output=RESPONSES, facts=SampleFacts, run=run, here=here, refuse=refuse,
)  # fmt: skip

if __name__ == "__main__":
    main(STAGE)
