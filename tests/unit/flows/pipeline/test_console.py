"""The progress line and the figures behind it."""

import io
import time
from collections.abc import Callable

import pytest
from rich.console import Console
from rich.text import Text

from contracts.steps.manifest import Manifest
from flows.pipeline import console as display
from flows.pipeline.console import console, print_done, print_warning, step_line
from runtime.progress import Progress, Reading, parse_progress, print_phase, summary


def test_a_reading_shows_count_rate_and_time_left() -> None:
    reading = Reading(done=300, total=900, unit="samples", resumed=100, seconds=10.0, note="")
    assert summary(reading) == "300/900 samples, 20 samples/s, 0:00:30 left"


def test_what_was_there_before_does_not_count_into_the_rate() -> None:
    fresh = Reading(done=500, total=1000, unit="samples", resumed=500, seconds=10.0)
    assert fresh.rate == 0 and fresh.seconds_left is None


def test_a_note_such_as_the_loss_is_shown_behind() -> None:
    reading = Reading(done=8, total=8, unit="steps", resumed=0, seconds=4.0, note="loss 0.62")
    assert summary(reading) == "8/8 steps, 2 steps/s, loss 0.62"


def test_a_stage_prints_what_the_flow_parses(capsys) -> None:
    progress = Progress(total=3, unit="pairs")
    progress.advance(3, note="done")
    lines = capsys.readouterr().out.splitlines()
    readings = [parse_progress(line) for line in lines]
    assert [reading.done for reading in readings if reading] == [0, 3]
    assert parse_progress("INFO generation: 3 pairs") is None


def test_units_read_at_one_and_at_few_a_second() -> None:
    assert summary(Reading(0, 1, "steps", 0, 0.0)) == "0/1 step"
    assert summary(Reading(4, 5, "parts", 0, 5.0)) == "4/5 parts, 0.8 parts/s, 0:00:01 left"
    assert summary(Reading(9000, 9000, "rows", 0, 1.5)) == "9,000/9,000 rows, 6,000 rows/s"


def test_a_phase_is_shown_until_something_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    print_phase("loading the model")
    progress = Progress(2, "samples", phase="warming up")
    progress.advance(2)
    readings = [parse_progress(line) for line in capsys.readouterr().out.splitlines()]
    told = [summary(reading) for reading in readings if reading]
    assert told[:2] == ["loading the model", "0/2 samples, warming up"]
    assert "warming up" not in told[2]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], io.StringIO]:
    """A terminal of so many columns in place of standard error."""

    def make(columns: int) -> io.StringIO:
        screen = io.StringIO()
        own = Console(file=screen, force_terminal=True, width=columns, soft_wrap=True, markup=False)
        monkeypatch.setattr(display, "console", own)
        return screen

    return make


READING = Reading(640, 1000, "samples", 0, 3.0, "loss 0.6931, margin 0.123")


@pytest.mark.parametrize("columns", [60, 80, 140])
def test_every_line_stands_whole_in_the_terminal(
    terminal: Callable[[int], io.StringIO], columns: int
) -> None:
    screen = terminal(columns)
    made = Manifest("x", 6000, {"duplicate": 12}, {}, "", {}, 0.0, 3700.0, {}, "")
    with step_line("round 12: score held-out answers") as bar:
        bar.update(READING)
        bar._live.refresh()
    print_done("round 12: score held-out answers", made, skipped=False)
    plain = Text.from_ansi(screen.getvalue()).plain
    assert "640/1,000 samples" in plain and "0:00:00" in plain and "1:01:40" in plain
    assert max(len(line) for line in plain.splitlines()) <= columns


def test_figures_of_all_steps_stand_below_each_other() -> None:
    made = Manifest("x", 192, {}, {}, "", {}, 0.0, 0.2, {}, "")
    with console.capture() as shown:
        for title in ("load prompts", "round 12: pair chosen and rejected"):
            print_done(title, made, skipped=False)
    first, second = shown.get().splitlines()
    assert first.index("192 rows") == second.index("192 rows")


def test_without_a_terminal_a_line_is_printed_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = io.StringIO()
    monkeypatch.setattr(display, "console", Console(file=log, soft_wrap=True, markup=False))
    monkeypatch.setattr(display, "_EVERY_SECONDS", 0.01)
    with step_line("sample responses") as bar:
        assert bar.line() == "  sample responses  0:00:00  starting"
        bar.update(READING)
        deadline = time.monotonic() + 10
        while "213 samples/s" not in log.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
    assert "0:00:00  640/1,000 samples, 213 samples/s, 0:00:02 left, loss" in log.getvalue()


def test_brackets_in_a_path_or_a_stages_line_are_shown_as_they_are() -> None:
    manifest = Manifest("scores", 1, {"[/]": 1}, {}, "", {}, 0.0, 1.0, {}, "")
    with console.capture() as captured:
        print_warning("[/x] ends in runs/[bold]")
        print_done("[/score]", manifest, skipped=False)
    assert "[/x] ends in runs/[bold]" in captured.get() and "[/score]" in captured.get()
    assert "dropped: 1 [/]" in captured.get()
