"""Models: references, hub commits, tensors checked from headers, loading."""
