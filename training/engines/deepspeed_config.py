"""DeepSpeed's settings for a training run. Pure."""

from typing import Any

from training.config import TrainConfig

# Passes between two optimizer steps vary from step to step; the engine is told at each backward
# whether it is the last. Above 1, so that offloaded gradients get their accumulation buffer.
ACCUMULATION = 2
# Gradients reduced at once: 1 GB of float32, as DeepSpeed's own 500 million are of bfloat16.
_BUCKET = 250_000_000


def deepspeed_config(config: TrainConfig, bfloat16: bool) -> dict[str, Any]:
    """The JSON that `deepspeed.initialize` reads. Batch sizes in it mean nothing: the loss
    carries its own weights, and `scale_wrt_gas` is off."""
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": ACCUMULATION,
        "gradient_clipping": config.max_grad_norm,
        "bf16": {"enabled": bfloat16},
        # Passes and processes add up in float32, as under FSDP: in bfloat16 the gradients of two
        # processes with a few passes each are already off by 2e-3.
        "data_types": {"grad_accum_dtype": "fp32"},
        "communication_data_type": "fp32",
        # A torch optimizer, also where it is offloaded: DeepSpeed's own is compiled at first use.
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 1_000_000_000,
        "zero_optimization": _zero(config),
    }


def _zero(config: TrainConfig) -> dict[str, Any]:
    resources = config.resources
    zero: dict[str, Any] = {
        "stage": int(resources.strategy[-1]),
        "contiguous_gradients": True,
        "reduce_bucket_size": _BUCKET,
    }
    if resources.offload != "none":
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": False}
    if resources.offload == "parameters":
        zero["offload_param"] = {"device": "cpu", "pin_memory": False}
    if resources.strategy == "zero3":
        # Without it accelerate's `get_state_dict` refuses to gather the weights at the end.
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    return zero
