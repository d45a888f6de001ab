"""What processes share that load a model with transformers: done once, by the one that they fork
from."""

from transformers.conversion_mapping import get_checkpoint_conversion_mapping

# It compiles 700 patterns as it is first asked for any model's, 0.1 s (transformers 5).
get_checkpoint_conversion_mapping("any")
