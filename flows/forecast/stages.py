"""The memory of a planned step, by what its config says of where and how it runs."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from annotation.annotators.base import RewardModel
from annotation.config import ScoreConfig
from contracts.errors import UserError
from contracts.models.architecture import kv_bytes
from contracts.models.model import config_folder
from contracts.models.weights import read_config
from flows.forecast import memory
from flows.forecast.figures import in_bytes
from flows.forecast.memory import Memory, Model, Pass
from flows.pipeline.planning.planned_step import PlannedStep
from generation.config import SampleConfig
from generation.engine_kinds.cpu_cache import CPU_NUMBER, cpu_cache_bytes
from generation.engine_kinds.vllm import VllmEngine, VllmResources
from runtime.device import dtype_of
from training.config import ReferenceConfig, TrainConfig
from training.launch.disk_space import trained_numbers

_SCORED_AT_ONCE = {"cpu": 2_048, "cuda": 16_384}
_GIB = 1 << 30
# Bytes of a number.
_FLOAT32 = 4


@dataclass(frozen=True)
class Machine:
    """What the run is planned for."""

    device: str
    """`cpu` or `cuda`."""
    policy: str
    """The run's own policy: every round's is as large."""
    gpu: int | None = None
    """Bytes of one GPU; None where that is not known."""


def memory_of(step: PlannedStep, machine: Machine, prompt: int, answer: int) -> Memory | None:
    """Bytes on one GPU, or in one process; None for a step without a model, or with one whose
    config is not on this machine or not of a known family.

    Args:
        prompt: tokens of a prompt.
        answer: tokens of an answer.
    """
    taken = _taken(step, machine, prompt, answer)
    if taken and taken.room is None:
        return replace(taken, room=machine.gpu)
    return taken


def _taken(step: PlannedStep, machine: Machine, prompt: int, answer: int) -> Memory | None:
    if isinstance(step.config, ScoreConfig):
        return _scoring(step.config, machine)
    if not (model := model_of(machine.policy)):
        return None
    if isinstance(step.config, SampleConfig):
        return _sampling(step.config, model, machine, prompt, answer)
    if isinstance(step.config, ReferenceConfig):
        resources = step.config.resources
        shared = resources.processes if resources.strategy == "fsdp" else 1
        one = _pass(step.config, machine, prompt, answer)
        return memory.inference(model, one, resources.processes, shared)
    if isinstance(step.config, TrainConfig):
        return _training(step.config, model, machine, prompt, answer)
    return None


def _training(
    config: TrainConfig, model: Model, machine: Machine, prompt: int, answer: int
) -> Memory:
    resources, one = config.resources, _pass(config, machine, prompt, answer)
    pair = prompt + 2 * answer
    processes = resources.processes
    passes = -(-config.global_batch * pair // (one.tokens * processes))
    wanted = resources.gradient_checkpointing
    shapes = memory.shapes_of(model)
    return memory.training(
        model, one, passes=passes, processes=processes, strategy=resources.strategy,
        trained=trained_numbers(config, shapes) if config.lora else None,
        in_4_bits=bool(config.lora and config.lora.quantize),
        checkpointing=machine.device == "cuda" if wanted is None else wanted,
        offload=resources.offload,
    )  # fmt: skip


def _pass(
    config: TrainConfig | ReferenceConfig, machine: Machine, prompt: int, answer: int
) -> Pass:
    """As many whole pairs of a process's share as `micro_batch_tokens` holds, one at least."""
    pair = prompt + 2 * answer
    pairs = max(1, config.resources.micro_batch_tokens // pair)
    if isinstance(config, TrainConfig):
        processes = config.resources.processes
        pairs = min(pairs, -(-config.global_batch // processes))
    return Pass(
        pairs * pair, 2 * pairs * answer, _width(config.dtype, machine),
        config.resources.logits_mib << 20, machine.device == "cuda",
    )  # fmt: skip


def _sampling(
    config: SampleConfig, model: Model, machine: Machine, prompt: int, answer: int
) -> Memory:
    width, longest = _width(config.dtype, machine), prompt + config.max_tokens
    engine = config.engine
    if not isinstance(engine, VllmEngine):
        return memory.sampling(model, engine.batch, prompt, answer, width)
    resources = engine.resources
    batch = (resources.max_num_batched_tokens or 8192) * width
    activations = batch * (4 * model.of.hidden + 3 * model.of.intermediate)
    weights = width * model.parameters // resources.tensor_parallel
    own = Memory(weights, activations=activations)
    if machine.device == "cpu":
        return replace(own, kv_cache=_cpu_cache(config, resources, model, longest))
    number = width if engine.kv_cache == "auto" else 1
    a_token = kv_bytes(model.of.layers, _keys(model, resources.tensor_parallel), number)
    return _filled(own, longest * a_token, longest, resources, machine.gpu)


def _keys(model: Model, gpus: int) -> int:
    """Width of one GPU's key heads: with more GPUs than heads, each has a copy of one (vLLM's
    `get_num_kv_heads`)."""
    a_head = model.of.queries // int(model.config["num_attention_heads"])
    return max(a_head, model.of.keys // gpus)


def _cpu_cache(config: SampleConfig, resources: VllmResources, model: Model, longest: int) -> int:
    if resources.cpu_kv_gib:
        return int(resources.cpu_kv_gib * _GIB)
    limit = model.config.get("max_position_embeddings") or longest
    context = min(config.max_model_len or limit, limit)
    a_token = kv_bytes(model.of.layers, model.of.keys, CPU_NUMBER)
    return cpu_cache_bytes(a_token, resources.at_once(on_cpu=True), longest, context)


def _filled(
    own: Memory, sample: int, longest: int, resources: VllmResources, gpu: int | None
) -> Memory:
    """vLLM takes its share of the GPU, whatever the samples need; those without room wait.

    Args:
        sample: bytes that the longest sample's KV cache takes, of `longest` tokens.
        gpu: bytes of the GPU; without them the cache of one sample is told.
    """
    share = resources.gpu_memory_utilization
    each = f"a sample of {longest:,} tokens takes {in_bytes(sample)}"
    if gpu is None:
        says = f"KV cache of one sample; vLLM fills {share:g} of the GPU (--gpu-gib): {each}"
        return replace(own, kv_cache=sample, says=says)
    own = replace(own, room=int(share * gpu))
    room = int(share * gpu) - own.total
    if room < sample:
        says = f"more than {share:g} of the GPU: not one sample fits beside the weights; {each}"
        return replace(own, kv_cache=sample, says=says)
    at_once = min(room // sample, resources.at_once(on_cpu=False))
    says = f"{share:g} of the GPU; room for {at_once} samples at once: {each}"
    return replace(own, kv_cache=room, says=says)


def _scoring(config: ScoreConfig, machine: Machine) -> Memory | None:
    """All reward models of a worker, and the widest one's batch; or what comes after them, the
    largest of those that ran below float32, once more and alone in float32."""
    tokens = config.resources.batch_tokens or _SCORED_AT_ONCE[machine.device]
    each, exact = [], []
    for one in config.annotators:
        if not isinstance(one, RewardModel):
            continue
        if not (model := model_of(one.reference)):
            return None
        width = _width(one.dtype, machine)
        each.append(memory.scoring(model, tokens, width))
        if width < _FLOAT32 and config.resources.agreement_prompts:
            exact.append(memory.scoring(model, tokens, _FLOAT32))
    if not each:
        return None
    own = Memory(sum(one.weights for one in each), activations=max(m.activations for m in each))
    return _with_agreement(own, max(exact, key=lambda one: one.total, default=own), machine.gpu)


def _with_agreement(own: Memory, exact: Memory, gpu: int | None) -> Memory:
    """The larger of scoring's memory and of its check in float32, which is left out where it does
    not fit (annotation.scoring.precision_check)."""
    if exact.total <= own.total:
        return own
    if gpu is not None and exact.total > gpu:
        says = f"no check in float32, which would take {_bytes(exact)}"
        return replace(own, says=says)
    return replace(exact, says=f"at its check in float32; scoring takes {_bytes(own)}")


def _bytes(taken: Memory) -> str:
    return in_bytes(taken.total)


def _width(dtype: str, machine: Machine) -> int:
    return 4 if dtype_of(dtype, machine.device) == "float32" else 2


@cache
def model_of(reference: str) -> Model | None:
    """A model by its config.json; None where it is not here, or of no family known here."""
    folder = config_folder(reference)
    try:
        return Model.read(_config(folder)) if folder else None
    except UserError:  # `onpolicy check` says what is amiss with it
        return None


def unknown_models(steps: Iterable[PlannedStep], machine: Machine) -> list[str]:
    """The policy and the reward models of `steps` whose sizes are not known."""
    annotators = [
        one for step in steps if isinstance(step.config, ScoreConfig)
        for one in step.config.annotators if isinstance(one, RewardModel)
    ]  # fmt: skip
    every = dict.fromkeys([machine.policy, *(one.reference for one in annotators)])
    return [reference for reference in every if model_of(reference) is None]


def _config(folder: Any) -> dict[str, Any]:
    config = read_config(folder)
    return {**config, **(config.get("text_config") or {})}
