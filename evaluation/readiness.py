"""What can be known of benchmarks before the first stage."""

from collections.abc import Iterator, Sequence
from functools import partial

from contracts.checks import Check
from contracts.models.hub import is_hub_id
from evaluation.benchmarks.base import Benchmark
from evaluation.benchmarks.questions import read_questions


def benchmark_checks(benchmarks: Sequence[Benchmark]) -> Iterator[Check]:
    """That each local file holds the questions that it should; what lies on the hub is left out."""
    for number, benchmark in enumerate(benchmarks):
        yield Check(f"evaluation.benchmarks.{number}", partial(_look, benchmark))


def _look(benchmark: Benchmark) -> None:
    if not is_hub_id(benchmark.source):
        read_questions(benchmark, benchmark.source)
