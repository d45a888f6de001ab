"""What can be known of prompts and sampling before the first stage."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

from contracts.checks import Check, refuse_absent
from contracts.errors import UserError
from contracts.models.hub import is_hub_id
from contracts.models.model import load_tokenizer, local_folder
from contracts.models.weights import read_config, refuse_other_weights
from generation import prompts
from generation.config import PromptsConfig, SampleConfig
from generation.engines.adapter import resolve
from generation.engines.device import this_device
from generation.sources.columns import rows_or_faults
from generation.sources.conversation import to_messages
from generation.sources.decontaminate import BENCHMARK_COLUMNS
from generation.sources.folder import refuse_no_data
from generation.workers.placement import placement_for

# A file of gigabytes takes the stage minutes, too: of such a one the beginning is looked at.
_READ_BELOW = 1 << 30
_LOOKED_AT = 10_000
_TOLD = 10


def prompt_checks(config: PromptsConfig) -> Iterator[Check]:
    """Check that each file is there and holds prompts; the hub is not asked."""
    for place, source in enumerate(config.mixture):
        key = f"prompts.sources.{place}.path" if config.sources else "prompts.path"
        yield _whole(key, source.path, (source.column,))
    for number, path in enumerate(config.decontaminate):
        yield _whole(f"prompts.decontaminate.{number}", path, BENCHMARK_COLUMNS)


def _whole(key: str, path: str, columns: Sequence[str]) -> Check:
    """A file is read to its end: 60,000 prompts in 0.3 s, and the last may be cut."""

    def look() -> None:
        if Path(path).is_dir():
            refuse_no_data(Path(path))
        elif not is_hub_id(path):
            faults = list(_row_faults(path, columns))
            more = [f"and {len(faults) - _TOLD:,} more lines"] if faults[_TOLD:] else []
            if faults:
                raise UserError("\n  ".join([*faults[:_TOLD], *more]))

    return Check(key, look)


def _row_faults(path: str, columns: Sequence[str]) -> Iterator[str]:
    """What is wrong with each row that holds no prompt; the file's own fault comes last."""
    try:
        rows = rows_or_faults(path, columns)
        is_small = Path(path).stat().st_size < _READ_BELOW
        for place, value in rows if is_small else islice(rows, _LOOKED_AT):
            try:
                if isinstance(value, UserError):
                    raise value
                to_messages(place, value)
            except UserError as error:
                yield str(error)
    except UserError as error:
        yield str(error)


def most_to_train_on(config: PromptsConfig, enough: int) -> int | None:
    """Prompts that are not held out, at most, counted no further than `enough`; None where that
    takes the stage itself: on the hub, or of a file of gigabytes, with no `limit`."""
    paths = [Path(source.path) for source in config.mixture]
    known = config.limit
    if all(path.is_file() and path.stat().st_size < _READ_BELOW for path in paths):
        with suppress(UserError):  # told by the check of its own key
            known = prompts.count(config, enough + config.test_size)
    return None if known is None else max(0, known - config.test_size)


def policy_checks(key: str, model: str) -> Iterator[Check]:
    """Check from the headers that the policy's files are there and complete."""
    yield Check(key, lambda: refuse_absent(model))
    yield Check(key, lambda: refuse_other_weights(resolve(model).model), of=model)


def sampling_checks(sections: Mapping[str, SampleConfig], model: str) -> Iterator[Check]:
    """Check that each section's engine is installed, has its GPUs, and room for an answer.

    Args:
        sections: by their keys.
    """
    for key, config in sections.items():
        yield from _sampling_checks(key, config, model)


def _sampling_checks(key: str, config: SampleConfig, model: str) -> Iterator[Check]:
    yield Check(f"{key}.engine", config.engine.refuse_not_installed)
    yield Check(f"{key}.engine.kv_cache", lambda: config.engine.refuse_unable(this_device()))
    if not config.engine.resources.cluster:  # that is looked at as a whole
        yield Check(f"{key}.engine.resources", lambda: placement_for(config.engine))
    yield Check(f"{key}.max_tokens", lambda: refuse_no_context(config, model), of=model)


def refuse_no_context(config: SampleConfig, model: str) -> None:
    """Refuse a `max_tokens` that fills the model's whole context.

    Raises:
        UserError: an answer of `max_tokens` leaves no room for a prompt.
    """
    folder = local_folder(resolve(model).model)
    settings = read_config(folder) if folder else {}
    limit = (settings.get("text_config") or settings).get("max_position_embeddings")
    if limit is not None:
        config.context(limit)


def look_inside(model: str, bos: str, date: object) -> None:
    """Try the policy's tokenizer and chat template. Seconds, for imports.

    A policy that is only on the hub passes.

    Raises:
        UserError: says what is amiss.
    """
    tokenizer = resolve(model).tokenizer
    if Path(tokenizer).is_dir() or local_folder(tokenizer):
        from contracts.chat import ChatFormat

        ChatFormat(load_tokenizer(tokenizer), bos, date)  # type: ignore[arg-type]
