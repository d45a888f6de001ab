"""What each of training's processes has in its environment, wherever it runs."""

import os

from training.config import TrainResources, threads

# What torch 2.13 reads; an older name that is set goes before the newer one.
_ALLOCATOR = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF")


def own_environment(resources: TrainResources) -> dict[str, str]:
    """Its threads, and how it takes memory."""
    threads_each = {"OMP_NUM_THREADS": str(threads(resources))}
    return {**threads_each, "TOKENIZERS_PARALLELISM": "false", **allocator_settings()}


def allocator_settings() -> dict[str, str]:
    """How torch's CUDA allocator is to grow, unless the user says: rows of ever new lengths
    leave gaps that fixed segments cannot join, and memory that is free is not to be had."""
    said = any(os.environ.get(name) for name in _ALLOCATOR)
    return {} if said else {_ALLOCATOR[0]: "expandable_segments:True"}
