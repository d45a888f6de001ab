"""Settings that vLLM reads from the environment."""

import os

from runtime.torch_settings import reread_compiling


def set_vllm_environment(on_cpu: bool, eager: bool) -> None:
    """Settings that vLLM and torch read as they are imported; a user's own win."""
    settings = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_LOGGING_LEVEL": "WARNING"}
    if on_cpu:
        # One process: the engine's own would import everything again. Its warnings speak
        # of Triton, NUMA and preloaded allocators.
        settings |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_LOGGING_LEVEL": "ERROR"}
        if eager:
            # Else the first log-prob asked for compiles a helper of vLLM's for 16 s.
            settings |= {"TORCH_COMPILE_DISABLE": "1"}
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    reread_compiling()
