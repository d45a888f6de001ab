"""ArmoRM: 19 objectives, gated by the prompt; native, packed, or in vLLM."""
