"""What processes with vLLM share on the CPU: imported once, by the one that they fork from."""

from functools import partial

from generation.engines.vllm_environment import set_vllm_environment
from runtime.gc_pause import without_collecting
from runtime.import_settings import while_importing

with without_collecting(), while_importing(partial(set_vllm_environment, True, eager=True)):
    from vllm import EngineArgs, LLMEngine  # noqa: F401

    import generation.engines.transformers  # noqa: F401
