"""What can be known of benchmarks before the first stage."""

from collections.abc import Iterator, Sequence
from functools import partial

from contracts.checks import Check
from evaluation.benchmarks.base import Benchmark
from evaluation.benchmarks.questions import look


def benchmark_checks(benchmarks: Sequence[Benchmark]) -> Iterator[Check]:
    """That each local file holds the questions that it should; what lies on the hub is left out."""
    for number, benchmark in enumerate(benchmarks):
        yield Check(f"evaluation.benchmarks.{number}", partial(look, benchmark))
