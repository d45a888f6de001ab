"""vLLM as an engine: requests stream in, finished samples stream out."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
from pydantic import ValidationError

from contracts.errors import UserError, first_line
from contracts.models.architecture import kv_bytes_a_token
from contracts.models.model import load_settings, split_reference
from generation.config import SampleConfig
from generation.engine_kinds.cpu_cache import CPU_BLOCK, CPU_NUMBER, cpu_cache_bytes
from generation.engine_kinds.vllm import VllmEngine, VllmResources
from generation.engines import Job
from generation.engines.requests import Failure, Outcome, Request, Sample
from generation.engines.vllm_environment import set_vllm_environment
from runtime.gc_pause import without_collecting

_GIB = 1 << 30


class Vllm:
    """A model in vLLM. Each sample depends on its prompt's ids and its own seed alone.

    On the CPU that was seen to hold to the bit; on a GPU, kernels whose sums depend on the
    batch can move the last bits, and with them a token.
    """

    batch = 1

    def __init__(self, engine: Any, job: Job) -> None:
        self._engine = engine
        self._in_process = os.environ.get("VLLM_ENABLE_V1_MULTIPROCESSING") == "0"
        # Twice what runs: vLLM takes the next request off its own queue in the very step in which a
        # place comes free.
        self.capacity = 2 * engine.vllm_config.scheduler_config.max_num_seqs
        self._parameters = sampling_parameters(job)
        self._refused: list[Outcome] = []
        self._adapter = _lora_request(job.adapter) if job.adapter else None

    def add(self, requests: Sequence[Request]) -> None:
        """Queue requests."""
        for request in requests:
            # As vLLM's own renderer would make it of ids.
            prompt = {"type": "token", "prompt_token_ids": request.prompt}
            settings = self._parameters(request)
            settings.skip_clone = True  # made for this request alone
            try:
                self._engine.add_request(
                    request.response_id, prompt, settings, lora_request=self._adapter
                )
            except ValueError as error:
                reason = first_line(error)
                self._refused.append(Failure(request.response_id, f"vLLM refuses it: {reason}"))

    def step(self) -> list[Outcome]:
        """One token for every running sample."""
        refused, self._refused = self._refused, []
        return refused + [outcome_of(output) for output in self._engine.step() if output.finished]

    def close(self) -> None:
        """End the engine's processes, where it has its own."""
        if not self._in_process:
            self._engine.engine_core.shutdown()


def start(job: Job, kind: VllmEngine) -> Vllm:
    """vLLM with the model loaded, ready for requests.

    Raises:
        UserError: vLLM is not installed, or refuses the model.
    """
    arguments = engine_arguments(job, kind)
    with without_collecting():
        try:
            from vllm import EngineArgs, LLMEngine
        except ModuleNotFoundError as error:
            raise UserError(
                f"vLLM cannot be imported ({error}): install requirements/cpu.txt or gpu.txt, "
                "or set engine.kind: transformers"
            ) from None
        try:
            return Vllm(LLMEngine.from_engine_args(EngineArgs(**arguments)), job)
        except (ValueError, NotImplementedError) as error:
            raise UserError(f"{job.policy}: vLLM refuses it: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """What vLLM says, without what pydantic puts around it."""
    message = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
    return message.removeprefix("Value error, ")


def engine_arguments(job: Job, kind: VllmEngine) -> dict[str, Any]:
    """vLLM's `EngineArgs`. Sets the environment that vLLM reads as it is imported."""
    on_cpu, resources = not torch.cuda.is_available(), kind.resources
    set_vllm_environment(on_cpu, eager=resources.enforce_eager in (None, True))
    seqs = resources.at_once(on_cpu)
    arguments = _arguments(job, resources, seqs) | {"kv_cache_dtype": kind.kv_cache}
    arguments |= _adapter_arguments(job)
    return arguments | (_cpu_arguments(job, resources, seqs) if on_cpu else {})


def _lora_request(adapter: str) -> Any:
    from vllm.lora.request import LoRARequest

    return LoRARequest("policy", 1, adapter)


def _adapter_arguments(job: Job) -> dict[str, Any]:
    """Room for an adapter; vLLM knows these ranks only."""
    if not job.adapter:
        return {}
    ranks = (1, 8, 16, 32, 64, 128, 256, 320, 512)
    rank = next((rank for rank in ranks if rank >= job.adapter_rank), None)
    if rank is None:
        raise UserError(f"{job.adapter}: rank {job.adapter_rank} is more than vLLM's 512; merge it")
    return {"enable_lora": True, "max_loras": 1, "max_lora_rank": rank}


def _arguments(job: Job, resources: VllmResources, seqs: int) -> dict[str, Any]:
    path, revision = split_reference(job.policy)
    return {
        "model": path,
        "revision": revision,
        "tokenizer_revision": revision,
        "dtype": job.config.dtype,
        "max_model_len": job.context,
        "max_num_seqs": seqs,
        "max_num_batched_tokens": resources.max_num_batched_tokens,
        "tensor_parallel_size": resources.tensor_parallel,
        "gpu_memory_utilization": resources.gpu_memory_utilization,
        "enforce_eager": bool(resources.enforce_eager),
        "enable_prefix_caching": True,
        "load_format": "safetensors",
        "trust_remote_code": False,
        # Stop ids and sampling settings come from us alone, never from the model's folder.
        "generation_config": "vllm",
        # We decode; only stop strings make vLLM look at text.
        "skip_tokenizer_init": not job.config.stop,
        "disable_log_stats": True,
    }


def _cpu_arguments(job: Job, resources: VllmResources, seqs: int) -> dict[str, Any]:
    batched = resources.max_num_batched_tokens or 8192
    kv = resources.cpu_kv_gib
    return {
        "dtype": "float32" if job.config.dtype == "auto" else job.config.dtype,
        "enforce_eager": resources.enforce_eager in (None, True),
        "distributed_executor_backend": "uni",
        # Blocks of 128 tokens, the default, never let short prompts share their prefix.
        "block_size": CPU_BLOCK,
        # A seeded request whose prompt is prefilled in pieces kills the CPU engine
        # ("CPU Generator does not use offset"), so no prompt is.
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": max(batched, job.context),
        # Without a size vLLM asks for 92 % of a memory node on a CPU, and ends where that is not
        # free.
        "kv_cache_memory_bytes": int(kv * _GIB) if kv else _kv_bytes(job, seqs),
    }


def _kv_bytes(job: Job, seqs: int) -> int:
    a_token = kv_bytes_a_token(load_settings(job.policy).get_text_config(), CPU_NUMBER)
    return cpu_cache_bytes(a_token, seqs, job.longest, job.context)


def sampling_parameters(job: Job) -> Callable[[Request], Any]:
    """vLLM's `SamplingParams` of a request."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    config: SampleConfig = job.config
    shared = {
        "temperature": config.temperature,
        "top_p": config.top_p,
        "top_k": config.top_k,
        "min_p": config.min_p,
        "max_tokens": config.max_tokens,
        "stop": list(config.stop) or None,
        "stop_token_ids": job.stop_ids,
        # What ends an answer is all in `stop_token_ids`; the model's generation config may name
        # more.
        "ignore_eos": True,
        # 0 is the drawn token's own, and no other's.
        "logprobs": 0 if config.logprobs else None,
        "detokenize": bool(config.stop),
        # Nothing here reads an answer before it is whole.
        "output_kind": RequestOutputKind.FINAL_ONLY,
    }
    return lambda request: SamplingParams(seed=request.seed, **{**shared, **request.decoding})


def outcome_of(output: Any) -> Outcome:
    """A finished request's sample; a failure where vLLM ended it before its answer was."""
    answer = output.outputs[0]
    if answer.finish_reason not in ("stop", "length"):
        return Failure(output.request_id, f"vLLM ended it: {answer.finish_reason}")
    logprob = None if answer.logprobs is None else answer.cumulative_logprob
    return Sample(output.request_id, list(answer.token_ids), answer.finish_reason, logprob)
