"""What processes under ZeRO share on the CPU: imported once, by the one that they fork from."""

from runtime.gc_pause import without_collecting
from runtime.import_settings import while_importing
from training.engines.zero import cpu_only

with without_collecting(), while_importing(cpu_only):
    import deepspeed  # noqa: F401
