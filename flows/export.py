"""`onpolicy export`: a round's pairs as a dataset in the published layout, with its card."""

import json
from pathlib import Path

from jinja2 import Environment, FileSystemLoader

from annotation.export import write_published
from contracts.errors import UserError
from contracts.manifest import read_manifest
from contracts.parts import write_atomic

_STAGES = ("prompts", "responses", "scores", "pairs")


def export(round_folder: Path, target: Path, push: str | None) -> int:
    """Write the dataset of a finished round to `target`; gives its rows.

    `push` also uploads it to that hub repository, with the token in `HF_TOKEN`.

    Raises:
        UserError: the round's pairs are not finished, or the target holds something.
    """
    if target.exists() and any(target.iterdir()):
        raise UserError(f"{target}: is not empty; name a new folder")
    (target / "data").mkdir(parents=True, exist_ok=True)
    pairs, responses, scores = (round_folder / name for name in ("pairs", "responses", "scores"))
    rows = write_published(pairs, responses, scores, "train", target / "data" / "train.parquet")
    write_atomic(target / "README.md", _card(round_folder, rows).encode())
    if push:
        _push(target, push)
    return rows


def _card(round_folder: Path, rows: int) -> str:
    """The dataset card: config, counts and fingerprints, so that the data can be made again."""
    manifests = {name: read_manifest(round_folder / name) for name in _STAGES}
    pairs = manifests["pairs"]
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=False)  # noqa: S701 - markdown
    return environment.get_template("dataset_card.md.j2").render(
        run=round_folder.resolve().parent.name,
        round=round_folder.name,
        rows=rows,
        manifests={name: found for name, found in manifests.items() if found},
        facts=json.dumps(pairs.facts if pairs else {}, indent=1),
        config=(round_folder.parent / "config.yaml").read_text(),
    )


def _push(folder: Path, repository: str) -> None:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    hub = HfApi()
    try:
        hub.create_repo(repository, repo_type="dataset", exist_ok=True)
        hub.upload_folder(folder_path=folder, repo_id=repository, repo_type="dataset")
    except (HfHubHTTPError, OSError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise UserError(
            f"{repository}: cannot be pushed to: {reason}. The dataset lies in {folder}; is a "
            "token with write access in HF_TOKEN?"
        ) from None
