"""What runs a policy's training over processes: plain, DeepSpeed ZeRO, FSDP."""

from training.config import TrainConfig
from training.engines.base import Engine


def make_engine(config: TrainConfig) -> Engine:
    """The engine that `resources.strategy` names."""
    strategy = config.resources.strategy
    if strategy == "fsdp":
        from training.engines.fsdp import FsdpEngine

        return FsdpEngine(config)
    if strategy == "none":
        from training.engines.plain import PlainEngine

        return PlainEngine(config)
    from training.engines.zero import ZeroEngine

    return ZeroEngine(config)
