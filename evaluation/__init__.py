"""What a round gained: held-out rewards before and after, benchmarks, judges, the verdict."""
