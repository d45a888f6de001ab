"""What processes with vLLM share on the CPU: imported once, by the one that they fork from."""

from functools import partial

from generation.engines.vllm_environment import set_vllm_environment
from runtime.gc_pause import without_collecting
from runtime.import_settings import while_importing


def _settle_once() -> None:
    """What each fork's engine would do again: set vLLM's loggers, 0.1 s, and put its CPU kernels
    in the place of its Triton ones, 0.3 s, as it looks at each name of each loaded module."""
    from vllm.config.logging import LoggingConfig
    from vllm.logger import configure_logging
    from vllm.platforms import current_platform

    configure_logging(LoggingConfig())
    current_platform.register_triton_kernel_overrides()
    platform = type(current_platform)
    platform.register_triton_kernel_overrides = classmethod(lambda _: None)


with without_collecting(), while_importing(partial(set_vllm_environment, True, eager=True)):
    # What an engine imports as it starts, 0.9 s of it (vLLM 0.32): its worker, its scheduler, and
    # what these find by name.
    import vllm.distributed.elastic_ep.elastic_execute
    import vllm.model_executor.layers.quantization.online.base
    import vllm.renderers.hf
    import vllm.v1.attention.backends.cpu_attn
    import vllm.v1.core.sched.scheduler
    import vllm.v1.worker.cpu_worker  # noqa: F401
    from vllm import EngineArgs, LLMEngine  # noqa: F401

    import generation.engines.transformers
    import generation.engines.vllm  # noqa: F401

    _settle_once()
