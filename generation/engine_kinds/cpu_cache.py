"""vLLM's KV cache on the CPU, where it takes as much as it is told to."""

# Of tokens. In vLLM's default blocks of 128, short prompts never share their prefix.
CPU_BLOCK = 32
# Of a number in the cache, whatever the weights are.
CPU_NUMBER = 4
# Zeroing a GiB of KV cache takes 2 s of the start, so more is reserved only where it is asked for.
_MOST_UNASKED = 4 << 30


def cpu_cache_bytes(a_token: int, samples: int, longest: int, context: int) -> int:
    """KV cache that lets `samples` samples run to their end, two of a whole context at least.

    Args:
        a_token: bytes of a token in all layers.
        longest: tokens of the longest prompt with its answer.
        context: tokens that vLLM allows.
    """
    tokens = samples * (longest + CPU_BLOCK)
    return max(min(2 * tokens * a_token, _MOST_UNASKED), 2 * a_token * (context + CPU_BLOCK))
