"""Scoring with ArmoRM in vLLM: its prefix cache holds a prompt for all its responses.

One request for each prompt, up to where the gating is read, then one for each whole conversation
in its order: the blocks of the prompt that the first one fills are read by the others. Blocks
are 32 tokens on a CPU, so up to 31 of a prompt's are computed anew for each response.
The model class (`vllm_model`) is registered in this process and vLLM runs in it too, so
there is no other worker to register it in; one GPU holds one model.
"""

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from annotation.annotators.armorm import ArmoRMConfig
from annotation.annotators.base import ScoreResources
from annotation.armorm.model import Rewards
from annotation.armorm.scorer import gate_position, own_weights, to_scores
from annotation.scorers.batches import Group
from annotation.scorers.heads import objective_names, refuse_headless
from annotation.scorers.protocol import Score
from annotation.scorers.reward_models import TokenScorer, budget_of, placement
from contracts.chat import ChatFormat, Tokens
from contracts.errors import UserError, first_line
from contracts.models.architecture import kv_bytes_a_token
from contracts.models.model import load_settings, load_tokenizer, split_reference
from runtime.pool.messages import heartbeat
from runtime.torch_settings import reread_compiling

if TYPE_CHECKING:
    from vllm import LLMEngine

_ARCHITECTURE = "OnPolicyArmoRM"
_MOST_REQUESTS = 256
# The CPU's default blocks of 128 tokens never let short prompts share their prefix.
_CPU_BLOCK = 32


class VllmScorer(TokenScorer):
    """ArmoRM as a pooling model of vLLM's engine."""

    config: ArmoRMConfig

    def __init__(self, config: ArmoRMConfig, engine: "LLMEngine", chat: ChatFormat) -> None:
        super().__init__(config, chat)
        self.engine = engine
        self.header = chat.header_ids()
        settings = engine.model_config.hf_config
        self.names = objective_names(getattr(settings, "num_objectives", 19))
        self.weights = own_weights(config, self.names)

    @property
    def facts(self) -> dict[str, Any]:
        """The device, the dtype, the engine and the names of the objectives."""
        return {
            "dtype": str(self.engine.model_config.dtype),
            "device": self.engine.vllm_config.device_config.device_type,
            "objectives": list(self.names),
            "engine": "vllm",
        }

    def _read(self, tokens: Tokens) -> tuple[list[int], int]:
        return tokens.response, gate_position(tokens.prompt, self.header)

    def _batches(self, groups: list[Group]) -> Iterator[tuple[int, Score]]:
        # What is computed for a part is to depend on no part before it.
        self.engine.reset_prefix_cache()
        pooled = self._pooled([ids for group in groups for ids in _requests(group)])
        start = 0
        for group in groups:
            gating, *responses = pooled[start : start + 1 + len(group.responses)]
            start += 1 + len(responses)
            rewards = _rewards(gating, torch.stack(responses))
            yield from zip(group.rows, to_scores(rewards, self.weights), strict=True)

    def _pooled(self, requests: Sequence[list[int]]) -> list[Tensor]:
        """[3K] float32 for each request, on the CPU."""
        from vllm import PoolingParams

        pooled: dict[str, Tensor] = {}
        for number, ids in enumerate(requests):
            # Raw: vLLM's activation for this task is a sigmoid over all that the heads give.
            settings = PoolingParams(task="classify", use_activation=False)
            self.engine.add_request(str(number), {"prompt_token_ids": ids}, settings)
        while self.engine.has_unfinished_requests():
            for output in self.engine.step():
                pooled[output.request_id] = output.outputs.data
            heartbeat()
        return [pooled[str(number)] for number in range(len(requests))]


def open_vllm(config: ArmoRMConfig, reference: str, resources: ScoreResources) -> VllmScorer:
    """ArmoRM in vLLM on its device.

    Raises:
        UserError: vLLM is not installed, or refuses the model; says why.
    """
    refuse_headless("armorm", reference)
    chat = ChatFormat(load_tokenizer(reference), config.bos, config.date)
    device, dtype = placement(config, resources)
    if (device.type == "cuda") != torch.cuda.is_available() or device.index:
        raise UserError(
            f"annotator {config.name!r}: vLLM takes the first device of its own build, not "
            f"{device}; leave `resources.device` at auto, or choose with CUDA_VISIBLE_DEVICES"
        )
    arguments = _arguments(config, reference, budget_of(resources, device), device, dtype)
    _set_environment(device)
    try:
        from vllm import EngineArgs, LLMEngine, ModelRegistry
    except ModuleNotFoundError as error:
        raise UserError(
            f"annotator {config.name!r}: vLLM cannot be imported ({error}); install "
            "requirements/cpu.txt or gpu.txt, or set `engine: native`"
        ) from None
    from annotation.armorm.vllm_model import VllmArmoRM

    ModelRegistry.register_model(_ARCHITECTURE, VllmArmoRM)
    try:
        engine = LLMEngine.from_engine_args(EngineArgs(**arguments))
        return VllmScorer(config, engine, chat)
    except (ValueError, OSError, RuntimeError) as error:
        reason = first_line(error)
        raise UserError(f"{reference}: vLLM refuses it: {reason}") from None


def _requests(group: Group) -> Iterator[list[int]]:
    yield group.prompt[: group.gating_at + 1]
    for response in group.responses:
        yield group.prompt + response


def _rewards(gating: Tensor, responses: Tensor) -> Rewards:
    """A prompt's pooled row [3K] and its responses' [B, 3K] (`VllmArmoRM.heads`)."""
    weights = gating.chunk(3)[2].expand(len(responses), -1)
    objectives, transformed, _ = responses.chunk(3, dim=-1)
    return Rewards((weights * transformed).sum(-1), objectives, weights)


def _arguments(
    config: ArmoRMConfig, reference: str, budget: int, device: torch.device, dtype: torch.dtype
) -> dict[str, Any]:
    """vLLM's engine arguments."""
    path, revision = split_reference(reference)
    arguments = {
        "model": path,
        "revision": revision,
        "runner": "pooling",
        "hf_overrides": {"architectures": [_ARCHITECTURE]},
        "dtype": dtype,
        "max_model_len": config.max_length,
        "max_num_seqs": min(_MOST_REQUESTS, budget),
        "max_num_batched_tokens": budget,
        "kv_cache_memory_bytes": _kv_bytes(config, reference, budget, dtype),
        # Prefill only: there is no decoding for graphs to speed up.
        "enforce_eager": True,
        "enable_prefix_caching": True,
        "load_format": "safetensors",
        "trust_remote_code": False,
        "skip_tokenizer_init": True,
        "disable_log_stats": True,
    }
    if device.type == "cpu":
        return arguments | {"distributed_executor_backend": "uni", "block_size": _CPU_BLOCK}
    # With a KV cache of our size it is only what has to be free at the start; other annotators'
    # models may be there already.
    return arguments | {"gpu_memory_utilization": 0.1}


def _kv_bytes(config: ArmoRMConfig, reference: str, budget: int, dtype: torch.dtype) -> int:
    """Room for the prompts that are read again, beside two of the longest conversations."""
    model = load_settings(reference, "cannot be loaded as ArmoRM")
    if config.max_length > model.max_position_embeddings:
        raise UserError(
            f"annotator {config.name!r}: max_length is {config.max_length}, and vLLM takes no "
            f"more than the model's {model.max_position_embeddings} positions; lower it"
        )
    a_token = kv_bytes_a_token(model, dtype.itemsize)
    return int((4 * budget + 2 * config.max_length + 4 * _CPU_BLOCK) * a_token)


def _set_environment(device: torch.device) -> None:
    """Settings that vLLM reads as it is imported."""
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    quiet = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
    # On a CPU it would compile helpers, for longer than small runs take.
    quiet |= {"TORCH_COMPILE_DISABLE": "1"} if device.type == "cpu" else {}
    for name, value in quiet.items():
        os.environ.setdefault(name, value)
    reread_compiling()
