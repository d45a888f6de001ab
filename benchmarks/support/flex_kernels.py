"""Sizes of FlexAttention's blocks that are tried on a GPU, as torch's `FlexKernelOptions`."""

# torch 2.13's own on an H100 in bfloat16: at head size 256 forward blocks of 64 x 32 with 3 stages
# and 4 warps, backward 64 x 64 with 2 and 4, which takes 192 of 227 KiB of shared memory; at 128
# forward 128 x 64 with 3 and 8, backward 64 x 128 with 3 and 8.
KERNELS: dict[str, dict[str, int]] = {
    "large-forward": {
        "fwd_BLOCK_M": 128, "fwd_BLOCK_N": 64, "fwd_num_stages": 2, "fwd_num_warps": 8,
    },
    "small-backward": {
        "bwd_BLOCK_M1": 32, "bwd_BLOCK_N1": 64, "bwd_BLOCK_M2": 64, "bwd_BLOCK_N2": 32,
        "bwd_num_stages": 2, "bwd_num_warps": 4,
    },
    "wide-backward": {
        "bwd_BLOCK_M1": 64, "bwd_BLOCK_N1": 64, "bwd_BLOCK_M2": 64, "bwd_BLOCK_N2": 64,
        "bwd_num_stages": 1, "bwd_num_warps": 8,
    },
}  # fmt: skip
