"""`onpolicy plan`: what a run will do, and what that will take; nothing is begun or written."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import pyarrow as pa

from contracts.errors import UserError
from contracts.models.model import config_folder, split_reference
from contracts.models.weights import Weights, read_config
from flows.forecast import stages
from flows.forecast.clusters import clusters_of
from flows.forecast.disk import bytes_a_row
from flows.forecast.figures import in_bytes
from flows.forecast.memory import Memory, shapes_of
from flows.forecast.rates import Rates
from flows.forecast.rows import SAMPLING, Lengths, Rows, mean_answer
from flows.forecast.twins import Twins
from flows.pipeline.checks.worth_knowing import worth_knowing
from flows.pipeline.config import RunConfig
from flows.pipeline.folder.run_folder import settled, steps_left
from flows.pipeline.planning.planned_step import PlannedStep
from flows.pipeline.planning.until import steps_until
from runtime.cluster.count import Counted
from runtime.device import has_cuda
from training import train
from training.config import TrainConfig
from training.launch.disk_space import checkpoint_bytes, policy_bytes, state_bytes, steps_of

_PROMPT = 256


@dataclass(frozen=True)
class StagePlan:
    """One stage of the run to come."""

    path: str
    title: str
    state: str
    """done, anew (done, and to be made again), begun, reuse (another run has done it, and it is
    taken over), to do, or open (a gate before it is still to decide)."""
    rows: int | None
    tokens: int | None
    disk: int | None
    """Bytes that it will write."""
    seconds: float | None
    rate: str | None
    memory: Memory | None


@dataclass(frozen=True)
class RunPlan:
    """What a run will do."""

    run: str
    device: str
    stages: list[StagePlan]
    assumptions: list[str]
    notes: list[str]
    """What is to be known before it begins."""
    clusters: list[Counted]
    """What each cluster that is left to work on has by now."""

    @property
    def left(self) -> list[StagePlan]:
        """What is not done."""
        return [stage for stage in self.stages if stage.state != "done"]

    @property
    def seconds(self) -> float:
        """Seconds of all stages that are left and have a rate."""
        return sum(stage.seconds or 0 for stage in self.left)

    @property
    def without_rate(self) -> list[str]:
        """Folders' names of what is left whose time is not known."""
        names = (stage.path.rsplit("/", 1)[-1] for stage in self.left if stage.seconds is None)
        return list(dict.fromkeys(names))


def forecast(
    config: RunConfig,
    *,
    rates: dict[str, float],
    again: Sequence[str] = (),
    until: str | None = None,
    prompt: int | None = None,
    answer: int | None = None,
    device: Literal["cpu", "cuda"] | None = None,
    gpu_gib: float | None = None,
) -> RunPlan:
    """The plan of a run.

    Args:
        rates: rows a second by a stage's folder's name, in place of measured ones.
        again: stages that are to be made anew, with all that reads from them.
        until: the stage to end after; the last, unless given.
        prompt: tokens of a prompt, on average.
        answer: tokens of an answer, on average.
        device: what it is planned for; this machine's or its cluster's, unless given.
        gpu_gib: memory of one GPU, which makes it a plan for GPUs.

    Raises:
        UserError: `rates`, `again` or `until` names no stage, or a CPU is given a GPU's memory.
    """
    left = {step.path for step in steps_left(config, again, until=until)}
    given, config = config, settled(config)
    steps = steps_until(config, until)
    _refuse_unknown(rates, steps)
    clusters = clusters_of([step for step in steps if step.path in left])
    where = _where(device, gpu_gib, clusters)
    known = Rates(config, rates, where)
    drawn = answer or mean_answer([f for step in steps if step.stage is SAMPLING
                                   for f in known.samplings(step)])  # fmt: skip
    rows = Rows(Lengths(prompt or _PROMPT, drawn))
    gpu = None if gpu_gib is None else int(gpu_gib * (1 << 30))
    machine = stages.Machine(where, config.pinned(config.policy.reference), gpu)
    twins = Twins()
    told = [
        _stage(step, _state(step, step.path in left, twins), rows, known, machine) for step in steps
    ]
    says = _assumptions(prompt, answer, drawn, where)
    says += [_not_told(one) for one in stages.unknown_models(steps, machine)]
    notes = worth_knowing(given, [step for step in steps if step.path in left])
    notes += _too_large([one for one in told if one.path in left])
    return RunPlan(str(config.folder), where, told, says, notes, clusters)


def _refuse_unknown(rates: Mapping[str, float], steps: Sequence[PlannedStep]) -> None:
    known = dict.fromkeys(step.path.rsplit("/", 1)[-1] for step in steps)
    if unknown := [name for name in rates if name not in known]:
        raise UserError(f"--rate {unknown[0]}: the plan has no such stage; its stages: "
                        f"{', '.join(known)}")  # fmt: skip


def _where(
    device: Literal["cpu", "cuda"] | None, gpu_gib: float | None, clusters: Sequence[Counted]
) -> str:
    if device == "cpu" and gpu_gib is not None:
        raise UserError("--gpu-gib is the memory of a GPU: leave it out, or plan for --device cuda")
    on_gpu = gpu_gib is not None or has_cuda() or any(one.gpus for one in clusters)
    return device or ("cuda" if on_gpu else "cpu")


def _stage(
    step: PlannedStep, state: str, rows: Rows, known: Rates, machine: stages.Machine
) -> StagePlan:
    count, tokens = rows.add(step)
    prompt, answer = rows.prompt_of(step), rows.answer_of(step)
    rate = known.of(step)
    seconds = count / rate.rows if rate and count is not None else known.seconds(step)
    costs = state not in ("done", "reuse")
    return StagePlan(
        step.path, step.title, state, count, tokens,
        _disk(step, count, (prompt, answer), known, machine) if costs else 0,
        seconds if costs else 0.0, rate.says if rate and costs else None,
        stages.memory_of(step, machine, prompt, answer),
    )  # fmt: skip


def _state(step: PlannedStep, is_left: bool, twins: Twins) -> str:
    is_twin = twins.has(step)
    if step.done:
        return "anew" if is_left else "done"
    if (step.out / "_step.json").exists():
        return "begun"
    if is_twin:
        return "reuse"
    return "open" if step.provisional else "to do"


def _disk(
    step: PlannedStep, rows: int | None, lengths: tuple[int, int], known: Rates,
    machine: stages.Machine,
) -> int | None:  # fmt: skip
    if isinstance(step.config, TrainConfig) and step.stage is train.STAGE:
        return _policy_bytes(step.config, rows or 0, machine)
    if rows is None:
        return None
    if each := known.bytes_a_row(step):
        return round(each * rows)
    table = step.stage.output
    return rows * bytes_a_row(table, *lengths) if isinstance(table, pa.Schema) else None


def _policy_bytes(config: TrainConfig, pairs: int, machine: stages.Machine) -> int | None:
    """The policy, its state, and the checkpoints that lie there at once."""
    if not (model := stages.model_of(machine.policy)):
        return None
    weights = Weights(shapes_of(model), 0)
    own = policy_bytes(config, weights) + state_bytes(config, weights)
    return own + checkpoint_bytes(config, weights, steps_of(config, pairs))


def _too_large(left: Sequence[StagePlan]) -> list[str]:
    """A line for each kind of stage that a GPU has no room for."""
    taken = {one.path.split("/", 1)[-1]: one.memory for one in left if one.memory}
    return [
        f"{name} does not fit: it takes {in_bytes(memory.total)} of a GPU and may take "
        f"{in_bytes(memory.room)}; docs/troubleshooting.md names the keys that lower it"
        for name, memory in taken.items() if not memory.fits
    ]  # fmt: skip


def _not_told(reference: str) -> str:
    """That a model's sizes are not known, and what helps."""
    if folder := config_folder(reference):
        try:
            family = read_config(folder).get("model_type")
        except UserError as unread:
            return f"{unread}; until then its memory and disk are not told"
        return (
            f"{reference} is of no family known here ({family}): its memory and disk are not told"
        )
    path, revision = split_reference(reference)
    of = f" --revision {revision}" if revision else ""
    return (f"{reference} is not on this machine: its memory and disk are not told; "
            f"`hf download {path} config.json{of}` is enough")  # fmt: skip


def _assumptions(
    prompt: int | None, answer: int | None, drawn: int | None, device: str
) -> list[str]:
    said = "given" if prompt else "assumed; --prompt-tokens says otherwise"
    told = [f"a prompt has {prompt or _PROMPT} tokens ({said})"]
    if drawn:
        source = "given" if answer else "mean of earlier samplings here"
        told.append(f"an answer has {drawn} tokens ({source})")
    else:
        told.append("each answer is as long as `max_tokens` allows (none was sampled here yet; "
                    "--answer-tokens says otherwise)")  # fmt: skip
    told.append("every prompt gives a pair, and every answer a score")
    told.append(f"memory is for one {'GPU' if device == 'cuda' else 'process on a CPU'} at "
                "its peak, without the libraries' own (0.5 to 2 GiB)")  # fmt: skip
    return told


def as_json(told: RunPlan) -> str:
    """The plan for programs: bytes and seconds."""
    listed = [
        asdict(stage) | {"memory": stage.memory and asdict(stage.memory) | {
            "total": stage.memory.total}}
        for stage in told.stages
    ]  # fmt: skip
    whole = {"run": told.run, "device": told.device, "seconds_left": told.seconds,
             "without_rate": told.without_rate, "assumptions": told.assumptions,
             "notes": told.notes, "clusters": [one.model_dump() for one in told.clusters],
             "stages": listed}  # fmt: skip
    return json.dumps(whole, indent=1)
