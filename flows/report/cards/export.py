"""`onpolicy export`: a round's pairs as a dataset in the published layout, or its policy; with
a card, and pushed to the hub where that is asked for."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader

from annotation.selection.published_layout import write_published
from contracts.config.yaml import dump_yaml
from contracts.errors import UserError
from contracts.steps.files import changed_files
from contracts.steps.fingerprint import refuse_not_whole
from contracts.steps.manifest import read_manifest
from contracts.steps.new_folder import filled, refuse_not_new
from contracts.tables.parts import write_atomic
from flows.pipeline.folder.recorded import round_keys
from flows.report.cards.hub import hub_id, hub_token, public
from flows.report.cards.hub import push as upload
from flows.report.cards.model_card import write_model_card
from flows.report.run_data import RoundData
from training import carried, train

_STAGES = ("prompts", "responses", "scores", "pairs")
_READ = ("pairs", "responses", "scores")


@dataclass(frozen=True)
class Push:
    """Where to upload, if at all."""

    repository: str
    private: bool = True


def export(source: Path, target: Path, push: Push | None) -> str:
    """Write what is in `source`, a round or a round's policy, to `target`; one line about it.

    Raises:
        UserError: it is neither, it is not finished, or the target holds something.
    """
    refuse_not_new(target)
    manifest = read_manifest(source)
    is_policy = manifest is not None and manifest.stage == train.STAGE.name
    if (source / "config.yaml").is_file():
        raise UserError(f"{source}: is a whole run; name a round of it: {_rounds(source)}")
    if not source.is_dir() or (manifest and not is_policy):
        raise UserError(f"{source}: is no round and no round's policy, e.g. runs/demo/round-1")
    if push:
        hub_token(push.repository)
    _refuse_damaged(source, is_policy)
    with filled(target) as out:
        if is_policy:
            kind, told = "model", _model(source, out, push.repository if push else None)
        else:
            kind, told = "dataset", _dataset(source, out)
    told += f" in {target}"
    if push:
        upload(target, push.repository, kind, push.private)
        told += f", pushed to {push.repository} ({'private' if push.private else 'public'})"
    return told


def _refuse_damaged(source: Path, is_policy: bool) -> None:
    """
    Raises:
        UserError: a stage that is exported is not finished, or not as it was left.
    """
    stages = [source] if is_policy else [source / name for name in _READ]
    for folder in stages:
        if (manifest := read_manifest(folder)) is None:
            raise UserError(f"{folder}: is not finished; run the flow first")
        refuse_not_whole(folder, changed_files(folder, manifest.files, manifest.sizes))


def _rounds(run: Path) -> str:
    """The run's rounds whose pairs are made."""
    rounds = [f"{run}/{path.parent.name}" for path in sorted(run.glob("round-*/pairs"))]
    return ", ".join(rounds) or "none has its pairs yet, run the flow first"


def _dataset(round_folder: Path, target: Path) -> str:
    """The pairs of a round in the published layout."""
    pairs, responses, scores = (round_folder / name for name in _READ)
    (target / "data").mkdir(parents=True, exist_ok=True)
    rows = write_published(pairs, responses, scores, "train", target / "data" / "train.parquet")
    write_atomic(target / "README.md", _card(round_folder, rows).encode())
    return f"{rows:,} pairs"


def _model(policy: Path, target: Path, repository: str | None) -> str:
    """A policy's files without those of its making, and its card."""
    manifest = read_manifest(policy)
    if not (policy.parent.parent / "config.yaml").is_file():
        raise UserError(f"{policy}: lies in no run, so that its card cannot be written")
    if manifest and manifest.freed:
        raise UserError(f"{policy}: its weights were freed by `onpolicy prune`; `onpolicy run ... "
                        f"--redo {policy.parent.name}/policy` trains it again")  # fmt: skip
    for name in manifest.files if manifest else ():
        if name == carried.INDEX or (name.startswith("adapter/") and not _has_public_base(policy)):
            continue
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(policy / name, target / name)
    write_model_card(RoundData(policy.parent), target, repository)
    return str(policy)


def _has_public_base(policy: Path) -> bool:
    """Whether the adapter's base is on the hub: elsewhere, one over a folder here is of no use."""
    config = json.loads((policy / "adapter" / "adapter_config.json").read_text())
    return hub_id(config["base_model_name_or_path"]) is not None


def _card(round_folder: Path, rows: int) -> str:
    """The dataset card: config, counts and fingerprints, so that the data can be made again."""
    manifests = {name: read_manifest(round_folder / name) for name in _STAGES}
    pairs = manifests["pairs"]
    config = round_keys(round_folder)
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=False)  # noqa: S701 - markdown
    return environment.get_template("dataset_card.md.j2").render(
        run=round_folder.resolve().parent.name,
        round=round_folder.name,
        rows=rows,
        manifests={name: manifest for name, manifest in manifests.items() if manifest},
        facts=json.dumps(pairs.facts if pairs else {}, indent=1),
        config=dump_yaml(public(config)),
    )
