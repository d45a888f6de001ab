"""What several benchmarks share: worlds, contestants, the JSON line."""
