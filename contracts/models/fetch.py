"""Models on the hub, made present before workers load them: a worker that is silent for
`load_timeout` seconds as it downloads would be taken for hung, and several would all download."""

import logging
from collections.abc import Iterable
from typing import Any

from contracts.errors import UserError, first_line
from contracts.models.hub import commit_of, is_hub_id
from contracts.models.model import local_folder, split_reference

log = logging.getLogger(__name__)

_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken")
# Copies of the weights in other layouts, which no loader here reads.
_OTHER_LAYOUTS = ("*/*", "consolidated*")
_GB = 1e9


def fetch_models(references: Iterable[str]) -> None:
    """Download what loaders read of each model on the hub: safetensors, configs, tokenizers.

    Folders and models that are complete in the cache cost nothing. With HF_HUB_OFFLINE set,
    nothing is fetched: the loader says what is missing.

    Raises:
        UserError: there is no such model, or the hub cannot be reached.
    """
    for reference in dict.fromkeys(references):
        if is_hub_id(reference) and not local_folder(reference):
            _fetch(reference)


def _fetch(reference: str) -> None:
    from httpx2 import HTTPError
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return
    commit_of("model", reference)  # says at once where the hub is not there
    try:
        _download(reference)
    except (HTTPError, OSError, ValueError) as error:
        raise UserError(
            f"{reference}: cannot be downloaded: {first_line(error)}; what has come is kept, and "
            "the same command goes on from there"
        ) from None


def _download(reference: str) -> None:
    from huggingface_hub import snapshot_download

    repository, revision = split_reference(reference)
    selection: dict[str, Any] = {
        "repo_id": repository, "revision": revision,
        "allow_patterns": list(_FILES), "ignore_patterns": list(_OTHER_LAYOUTS),
    }  # fmt: skip
    lacking = [file for file in snapshot_download(**selection, dry_run=True) if file.will_download]
    size = sum(file.file_size or 0 for file in lacking)
    log.info("downloading %s: %d files, %.3g GB", reference, len(lacking), size / _GB)
    snapshot_download(**selection)
    log.info("downloaded %s", reference)
