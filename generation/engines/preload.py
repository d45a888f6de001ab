"""What workers on the CPU share: imported once, by the process that they fork from."""

import os

from runtime.gc_pause import without_collecting

with without_collecting():
    if os.environ.get("ONPOLICY_PRELOAD") == "vllm":
        from vllm import EngineArgs, LLMEngine  # noqa: F401
    import generation.engines.transformers  # noqa: F401
