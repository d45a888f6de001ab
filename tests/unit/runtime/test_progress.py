"""Progress as lines of a pipe: counted, read back, rates and time left."""

import pytest

from runtime import progress
from runtime.progress import Progress, Reading, parse_progress


def test_progress_is_read_back_as_it_was_counted(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(total=10, unit="samples", resumed=4)
    progress.advance(3, note="loss 0.5")
    progress.advance(3)
    lines = capsys.readouterr().out.splitlines()
    first, *_, last = [parse_progress(line) for line in lines]
    assert first and (first.done, first.total, first.unit, first.resumed) == (4, 10, "samples", 4)
    assert last and (last.done, last.note) == (10, "loss 0.5")


class Pool:
    """On one node."""

    def spread(self) -> tuple[dict[str, int], dict[str, float]]:
        return {"node a": 2}, {"node a": 1.0}


def test_a_reading_tells_the_nodes_that_a_pool_announces(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_spreads", [])
    pool = Pool()
    progress.announce_spread(pool.spread)
    Progress(total=1, unit="samples").advance()
    last = parse_progress(capsys.readouterr().out.splitlines()[-1])
    assert last and (last.workers, last.shares) == ({"node a": 2}, {"node a": 1.0})
    del pool
    Progress(total=1, unit="samples")
    last = parse_progress(capsys.readouterr().out.splitlines()[-1])
    assert last and (last.workers, last.shares) == ({}, {})


def test_many_small_advances_print_few_lines(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(total=10_000, unit="rows")
    for _ in range(9_999):
        progress.advance()
    assert len(capsys.readouterr().out.splitlines()) <= 5


def test_rate_and_time_left_count_only_what_this_process_did() -> None:
    reading = Reading(done=60, total=100, unit="rows", resumed=40, seconds=10.0)
    assert reading.rate == 2.0
    assert reading.seconds_left == 20.0


def test_nothing_is_foretold_before_the_first_unit() -> None:
    assert Reading(done=40, total=100, unit="rows", resumed=40, seconds=9.0).seconds_left is None
    assert Reading(done=0, total=100, unit="rows", resumed=0, seconds=0.0).seconds_left is None


@pytest.mark.parametrize(
    "line",
    ["", "plain log", "::progress", '::progress {"done": 1', "::progress [1]", "::progress 3"],
)
def test_a_line_that_is_no_progress_or_a_torn_one_is_plain_log(line: str) -> None:
    assert parse_progress(line) is None
