"""What a model's safetensors hold, from their headers alone: nothing is loaded.

A loader of transformers' fills a missing tensor with random numbers and goes on, and vLLM ends
at a wrong shape without a word of it: every loader asks here first.
"""

import json
import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts.errors import UserError
from contracts.models.architecture import language_model
from contracts.models.model import local_folder

Shapes = Mapping[str, tuple[int, ...]]

_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_AGAIN = "copy or download it anew"
# About safetensors' own limit of 100 MB: a length above it is no header's, but other bytes.
_LONGEST_HEADER = 100 << 20
# Published files of old hold these; they are computed from the config, never read.
_BUFFERS = re.compile(r"(rotary_emb\.inv_freq|position_ids|attn\.(masked_)?bias)$")
_SHOWN = 3
_HEAD, _EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"
_BLOCK, _BLOCKS = 1 << 16, 32
_WRITERS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")


@dataclass(frozen=True)
class Weights:
    """The tensors of a model's folder."""

    shapes: Shapes
    nbytes: int

    @property
    def parameters(self) -> int:
        """Numbers in all tensors."""
        return sum(math.prod(shape) for shape in self.shapes.values())


def refuse_other_weights(reference: str) -> Weights | None:
    """Refuse a language model whose safetensors are cut, or are not what its config asks for.

    Returns what they hold, or None if they are only on the hub. If the family is not known
    here, only the files are checked; its loader judges the tensors.

    Raises:
        UserError: names folder or file, and the tensors.
    """
    if (folder := local_folder(reference)) is None:
        return None
    weights, config = read_weights(folder), read_config(folder)
    _refuse_what_writes_nothing(folder, config)
    if expected := language_model(config):
        tied = {_HEAD} - expected.keys()
        refuse_unlike(unlike_config(folder), weights.shapes, expected, tied)
        if tied and _HEAD in weights.shapes:
            _refuse_untied(folder)
    return weights


def _refuse_what_writes_nothing(folder: Path, config: Mapping[str, Any]) -> None:
    """transformers would give a classifier or a BERT a language model's head and go on."""
    names = [str(name) for name in config.get("architectures") or ()]
    if names and not any(name.endswith(_WRITERS) for name in names):
        raise UserError(
            f"{folder}: is of type {names[0]} (config.json), which writes no text; a policy is a "
            "causal language model (...ForCausalLM)"
        )


def _refuse_untied(folder: Path) -> None:
    """Refuse a head of its own under a config that ties it: transformers would take the head,
    vLLM the embedding, and a training would save the embedding alone.

    Looks at 32 blocks of 64 KiB, as two tensors of 2 GB take long to read.
    """
    head, embedding = _places(folder)[_HEAD], _places(folder)[_EMBEDDING]
    size = head[2] - head[1]
    last = max(0, size - _BLOCK)
    starts = {number * last // (_BLOCKS - 1) for number in range(_BLOCKS)}
    if size != embedding[2] - embedding[1] or any(
        _block(head, start) != _block(embedding, start) for start in starts
    ):
        raise UserError(
            f"{folder}: {_HEAD} is not {_EMBEDDING}, though its config.json ties them, and "
            "engines differ in which they take; set tie_word_embeddings to false there if the "
            f"head was trained, or leave {_HEAD} out"
        )


_Place = tuple[Path, int, int]


def _places(folder: Path) -> dict[str, _Place]:
    """File, first byte and end of each tensor."""
    places = {}
    for path in _files(folder):
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
        for name, tensor in header.items():
            if name != "__metadata__":
                begin, end = tensor["data_offsets"]
                places[name] = path, 8 + length + begin, 8 + length + end
    return places


def _block(place: _Place, start: int) -> bytes:
    path, begin, end = place
    with path.open("rb") as file:
        file.seek(begin + start)
        return file.read(min(_BLOCK, end - begin - start))


def unlike_config(model: object) -> str:
    """Beginning of a message about tensors that do not fit the model's config."""
    return f"{model}: its weights are not what its config.json asks for"


def refuse_unlike(
    what: str, actual: Shapes, expected: Shapes, optional: Collection[str] = ()
) -> None:
    """Refuse tensors that are not those expected.

    Args:
        what: how the message begins.
        optional: names that may be there too.

    Raises:
        UserError: names the missing, the misshaped and those too many.
    """
    refuse_differences(
        what,
        missing=expected.keys() - actual.keys(),
        extra=actual.keys() - expected.keys() - set(optional),
        misshaped=[
            (name, actual[name], shape)
            for name, shape in expected.items()
            if name in actual and actual[name] != shape
        ],
    )


def refuse_differences(
    what: str,
    missing: Iterable[str] = (),
    extra: Iterable[str] = (),
    misshaped: Iterable[tuple[str, Iterable[int], Iterable[int]]] = (),
) -> None:
    """Refuse a model for its missing, extra or misshaped tensors, if there are any.

    Args:
        what: how the message begins.
        misshaped: name, actual shape, expected shape.

    Raises:
        UserError: names up to three tensors of each kind.
    """
    faults = [
        _some(sorted(missing), "missing"),
        _some(
            [f"{name} {list(is_)} instead of {list(should)}" for name, is_, should in misshaped],
            "of another shape",
        ),
        _some(sorted(name for name in extra if not _BUFFERS.search(name)), "unknown"),
    ]
    if lines := [fault for fault in faults if fault]:
        raise UserError(
            f"{what}: {'; '.join(lines)}. Copy or download the model anew, or mend its config.json"
        )


def _some(names: list[str], how: str) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{how}: {', '.join(names[:_SHOWN])}{more}" if names else ""


def read_config(folder: Path) -> dict[str, Any]:
    """A model's config.json.

    Raises:
        UserError: it is not there, or holds no keys.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{folder}: holds no config.json, so it is no model's folder") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {error}; {_AGAIN}") from None
    if not isinstance(config, dict):
        raise UserError(f"{path}: holds no keys; {_AGAIN}")
    return config


def read_weights(folder: Path) -> Weights:
    """The tensors that a model's folder holds.

    Raises:
        UserError: there are no safetensors, or a file of them is missing, cut or damaged.
    """
    headers = {path: read_header(path) for path in _files(folder)}
    shapes: dict[str, tuple[int, ...]] = {}
    for path, header in headers.items():
        for name, shape in header.items():
            if name in shapes:
                raise UserError(f"{path}: holds {name}, which another file of the model has too")
            shapes[name] = shape
    return Weights(shapes, sum(path.stat().st_size for path in headers))


def read_header(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors in a safetensors file.

    Raises:
        UserError: the file is cut or damaged.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > min(size - 8, _LONGEST_HEADER):
                raise ValueError("its header is cut")
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        end = max((int(tensor["data_offsets"][1]) for tensor in header.values()), default=0)
        shapes = {name: tuple(map(int, tensor["shape"])) for name, tensor in header.items()}
    except FileNotFoundError:
        raise UserError(f"{path}: is missing; {_AGAIN}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: is no whole safetensors file ({error}); {_AGAIN}") from None
    if size != 8 + length + end:
        raise UserError(f"{path}: has {size:,} bytes instead of {8 + length + end:,}; {_AGAIN}")
    return shapes


def _files(folder: Path) -> list[Path]:
    """The files that a loader reads: those of the index, or the single one."""
    index, single = folder / _INDEX, folder / _SINGLE
    if not index.is_file():
        others = [path for path in sorted(folder.glob("*.safetensors")) if path != single]
        if not single.is_file():
            there = f"{others[0].name} without {_INDEX}" if others else "no *.safetensors"
            raise UserError(f"{folder}: holds {there}; weights of other kinds are not read")
        if others:
            raise UserError(f"{others[0]}: lies beside {_SINGLE}, and vLLM would read it too; "
                            "move it away")  # fmt: skip
        return [single]
    try:
        names = set(json.loads(index.read_text())["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{index}: is damaged ({error}); {_AGAIN}") from None
    if single.is_file() and single.name not in names:
        raise UserError(f"{single}: lies beside {_INDEX}, which does not name it, and loaders "
                        "differ in which they read; move one of them away")  # fmt: skip
    return [folder / name for name in sorted(names)]
