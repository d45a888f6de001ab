"""The Hugging Face hub: which references mean it, the commits they stand for, single files."""

import re
from pathlib import Path
from typing import Literal

from contracts.errors import UserError, first_line
from contracts.models.model import split_reference

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_DATA_FILES = (".json", ".jsonl", ".parquet", ".csv", ".txt")
# Seconds for one answer about a model or dataset; loaders' own retries take 84 a file.
_PATIENCE = 10.0

Kind = Literal["model", "dataset"]


def is_hub_id(reference: str) -> bool:
    """Whether a reference means the hub: owner/name, maybe with @revision, and nothing is there
    by that name on this machine."""
    # `data/prompts.jsonl` has the form of a hub id: a file that is missing must not be asked of the
    # hub.
    if Path(reference).exists() or reference.removesuffix(".gz").endswith(_DATA_FILES):
        return False
    return bool(_HUB_ID.fullmatch(reference))


def full_name(kind: Kind, reference: str) -> str:
    """A reference that no other model or dataset has, as in the hub's addresses."""
    return reference if kind == "model" else f"datasets/{reference}"


def may_move(reference: str) -> bool:
    """Whether a reference may stand for other files tomorrow: on the hub, not by its commit."""
    return is_hub_id(reference) and not _COMMIT.fullmatch(split_reference(reference)[1] or "")


def pinned(commits: dict[str, str], kind: Kind, reference: str) -> str:
    """The reference by its commit, which stays the one that `commits` holds for its name.

    Args:
        commits: full names to commits; a name that is new to it is asked of the hub and added.

    Raises:
        UserError: there is no such thing, or the hub cannot be asked.
    """
    if not may_move(reference):
        return reference
    name = full_name(kind, reference)
    if name not in commits:
        commits[name] = commit_of(kind, reference)
    return f"{split_reference(reference)[0]}@{commits[name]}"


def commit_of(kind: Kind, reference: str) -> str:
    """The commit that a model's or dataset's revision stands for now. With HF_HUB_OFFLINE set,
    the commit in this machine's cache.

    Raises:
        UserError: there is no such thing, or the hub cannot be asked.
    """
    from httpx2 import HTTPError
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    repository, revision = split_reference(reference)
    if constants.HF_HUB_OFFLINE:
        return _cached_commit(kind, repository, revision or "main")
    try:
        info = HfApi().repo_info(repository, repo_type=kind, revision=revision, timeout=_PATIENCE)
    except (HfHubHTTPError, HFValidationError) as error:
        raise UserError(f"{reference}: no {kind} on the hub for us: {first_line(error)}") from None
    except (HTTPError, OSError) as error:
        raise _unreachable(reference, error) from None
    return str(info.sha)


def refuse_unreachable(kind: Kind, reference: str) -> None:
    """Ask the hub once for what a loader is about to fetch. Without a network, the loader itself
    retries each file for 84 s and does not say what would help.

    Raises:
        UserError: there is no such model or dataset, or the hub cannot be asked.
    """
    if is_hub_id(reference) and not in_cache(kind, *split_reference(reference)):
        commit_of(kind, reference)


def in_cache(kind: Kind, repository: str, revision: str | None) -> bool:
    """Whether this machine's cache holds files of exactly this revision (usually all of them)."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE) / f"{kind}s--{repository.replace('/', '--')}"
    named = folder / "refs" / (revision or "main")
    commit = named.read_text().strip() if named.is_file() else revision or ""
    snapshot = folder / "snapshots" / commit
    file = "tokenizer_config.json" if kind == "model" else "."
    return bool(commit) and (snapshot / file).exists()


def _cached_commit(kind: Kind, repository: str, revision: str) -> str:
    from huggingface_hub import constants

    folder = f"{kind}s--{repository.replace('/', '--')}"
    path = Path(constants.HF_HUB_CACHE) / folder / "refs" / revision
    try:
        return path.read_text().strip()
    except OSError:
        raise UserError(
            f"{repository}: HF_HUB_OFFLINE is set, and the cache holds no revision {revision!r} "
            f"of this {kind}; download it first, or name a folder"
        ) from None


def _unreachable(name: str, error: Exception) -> UserError:
    return UserError(
        f"{name}: the hub cannot be reached: {first_line(error)}; with HF_HUB_OFFLINE=1 what is in "
        "this machine's cache is taken"
    )


def model_file(reference: str, name: str) -> Path | None:
    """A file of a model, from its folder or the hub; None if the model has no such file.

    Raises:
        UserError: the model is not there, or the hub cannot be asked.
    """
    if not is_hub_id(reference):
        path = Path(reference) / name
        return path if path.is_file() else None
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

    repository, revision = split_reference(reference)
    if not constants.HF_HUB_OFFLINE:
        refuse_unreachable("model", reference)
    try:
        return Path(hf_hub_download(repository, name, revision=revision))
    except LocalEntryNotFoundError as error:
        if constants.HF_HUB_OFFLINE:
            return None  # what is not in the cache does not exist
        raise _unreachable(reference, error) from None
    except EntryNotFoundError:
        return None
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise UserError(f"{reference}: {name} cannot be had: {first_line(error)}") from None


def dataset_file(reference: str, name: str) -> Path:
    """A file of a dataset on the hub, or of this machine's cache of it.

    Raises:
        UserError: the dataset has no such file, or the hub cannot be asked.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    repository, revision = split_reference(reference)
    refuse_unreachable("dataset", reference)
    try:
        return Path(hf_hub_download(repository, name, revision=revision, repo_type="dataset"))
    except LocalEntryNotFoundError as error:
        raise _unreachable(reference, error) from None
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise UserError(f"{reference}: {name} cannot be had: {first_line(error)}") from None
