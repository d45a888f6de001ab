"""What workers with vLLM share on the CPU: imported once, by the process that they fork from."""

from runtime.gc_pause import without_collecting

with without_collecting():
    from vllm import EngineArgs, LLMEngine  # noqa: F401

    import generation.engines.transformers  # noqa: F401
