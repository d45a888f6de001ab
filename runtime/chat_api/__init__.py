"""Language models behind OpenAI-compatible chat endpoints, asked over HTTP."""
