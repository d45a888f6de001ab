"""LLM judges: the benchmarks' own prompts, games and verdicts."""
