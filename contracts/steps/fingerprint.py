"""Fingerprints of what a stage reads and makes: equal content, equal fingerprint."""

import hashlib
import json
import time
from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from contracts.errors import UserError
from contracts.models.hub import is_hub_id
from contracts.redo_hint import MOVE_AWAY, PUT_BACK, way_out
from contracts.steps.files import changed_files, names_of

_CHUNK = 1 << 20
# Of 18 GB of weights, 64 blocks of 1 MiB are read in place of 17,000.
_SAMPLED_BLOCKS = 64
_WHOLE_BELOW = 1 << 28
# File systems' clocks tick every few milliseconds: a file changed in this tick may change again.
_SETTLED_NS = 1_000_000_000
# What readers take up of a folder by its name alone, so that a new file of such a name counts.
_TABLE = ("part-*.parquet",)
_MODEL = ("*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json",
          "adapter_config.json", "tokenizer*.json", "vocab.*", "merges.txt", "added_tokens.json",
          "special_tokens_map.json", "*.model", "*.tiktoken", "tekken.json",
          "chat_template.*")  # fmt: skip
_known: dict[tuple[str, int, int, int], str] = {}


def of_json(value: Any) -> str:
    """Fingerprint of a JSON value, whatever the order of its keys.

    Raises:
        TypeError: the value holds something that is no JSON.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    # 128 bits: that any two of a billion files agree by chance is less likely than 1 in 10^20.
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def of_file(path: Path) -> str:
    """SHA-256 of a file's bytes; above 256 MiB, of its size, both ends and 62 blocks between.

    Reading 18 GB of weights anew at each start would cost more than some stages do. A process
    reads a file once, as long as its size, inode and time of change stay.
    """
    stat = path.stat()
    key = (str(path.absolute()), stat.st_size, stat.st_mtime_ns, stat.st_ino)
    if key in _known:
        return _known[key]
    digest = _digest(path, stat.st_size)
    if time.time_ns() - stat.st_mtime_ns > _SETTLED_NS:
        _known[key] = digest
    return digest


def _digest(path: Path, size: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        if size < _WHOLE_BELOW:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        else:
            digest.update(str(size).encode())
            for block in range(_SAMPLED_BLOCKS):
                file.seek(block * (size - _CHUNK) // (_SAMPLED_BLOCKS - 1))
                digest.update(file.read(_CHUNK))
    return digest.hexdigest()[:32]


def of_files(folder: Path) -> dict[str, str]:
    """Fingerprint of each output file in a folder; bookkeeping and hidden files left out."""
    return {name: of_file(folder / name) for name in names_of(folder)}


def added_files(folder: Path, files: Collection[str]) -> list[str]:
    """The files beside those of a finished stage, which made `files`, that a reader would take for
    its own; a note, a picture or a folder of another tool's is none."""
    a_model = not {"config.json", "adapter_config.json"}.isdisjoint(files)
    patterns = _TABLE + (_MODEL if a_model else ())
    return [
        path.name
        for path in sorted(folder.iterdir())
        if path.name not in files
        and any(fnmatchcase(path.name, pattern) for pattern in patterns)
        and path.is_file()
    ]


def edited_files(folder: Path) -> list[str]:
    """Which of a finished stage's files were edited since its manifest was written, or freed; empty
    if the folder holds no manifest.

    Raises:
        UserError: the manifest is damaged, or a file is gone, cut or new.
    """
    if not (folder / "_manifest.json").is_file():
        return []
    of_input(str(folder))
    manifest = _manifest(folder)
    files, freed = manifest["files"], manifest.get("freed", {})
    if freed:
        return [f"{name} was freed by `onpolicy prune`" for name in freed]
    return [f"{name} was edited" for name in files if of_file(folder / name) != files[name]]


def of_input(reference: str) -> str:
    """Fingerprint of a stage's input: a stage's folder, a model's folder, a file or a hub id.

    Raises:
        UserError: nothing is there, or a stage's folder is not finished, or no longer whole.
    """
    path = Path(reference)
    if not reference.strip():
        raise UserError("an input is empty; give a file, a folder or a hub id")
    if (path / "_manifest.json").is_file():
        return _of_stage(path)
    if (path / "_step.json").is_file():
        raise UserError(f"{path}: this stage has not finished; run it first")
    if path.is_file():
        return of_file(path)
    if path.is_dir():
        return of_json(of_files(path) | _adapter_base(path))
    if is_hub_id(reference):
        return f"hub:{reference}"
    raise UserError(f"{reference}: no such file or folder, and not a hub id such as owner/name")


def _adapter_base(folder: Path) -> dict[str, str]:
    """Fingerprint of the model below a LoRA adapter, which answers as much as the adapter does."""
    path = folder / "adapter_config.json"
    if not path.is_file():
        return {}
    try:
        settings = json.loads(path.read_text())
        base, revision = settings["base_model_name_or_path"], settings.get("revision")
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path}: names no base_model_name_or_path") from None
    return {"base": of_input(f"{base}@{revision}" if revision else str(base))}


def _of_stage(folder: Path) -> str:
    manifest = _manifest(folder)
    files = manifest["files"]
    changed = changed_files(folder, files, manifest.get("sizes", {}))
    known = files.keys() | manifest.get("freed", {}).keys()
    refuse_not_whole(folder, changed, added_files(folder, known))
    return str(manifest["fingerprint"])


def refuse_not_whole(folder: Path, changed: Sequence[str], added: Sequence[str] = ()) -> None:
    """Refuse a finished stage whose files are not as it left them.

    Args:
        changed: what is gone, cut or edited, as lines.
        added: names of new files.

    Raises:
        UserError: there is any of them; only what was changed costs making the stage anew.
    """
    told = [*changed, *(f"{name} is new" for name in added)]
    ways = [MOVE_AWAY] if added else []
    ways += [f"{PUT_BACK}, or {way_out(folder)}"] if changed else []
    if told:
        raise UserError(
            f"{folder}: is not as its stage left it: {'; '.join(told)}; {', and '.join(ways)}"
        )


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / "_manifest.json"
    try:
        manifest: dict[str, Any] = json.loads(path.read_text())
        return {"sizes": {}} | {key: manifest[key] for key in ("files", "fingerprint")} | manifest
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path}: is damaged; {way_out(folder)}") from None
