"""The progress line and the figures behind it."""

from contracts.steps.manifest import Manifest
from flows.pipeline.console import console, print_done, print_warning
from runtime.progress import Progress, Reading, parse_progress, summary


def test_a_reading_shows_count_rate_and_time_left() -> None:
    reading = Reading(done=300, total=900, unit="samples", resumed=100, seconds=10.0, note="")
    assert summary(reading) == "300/900 samples, 20/s, 0:00:30 left"


def test_what_was_there_before_does_not_count_into_the_rate() -> None:
    fresh = Reading(done=500, total=1000, unit="samples", resumed=500, seconds=10.0)
    assert fresh.rate == 0 and fresh.seconds_left is None


def test_a_note_such_as_the_loss_is_shown_behind() -> None:
    reading = Reading(done=8, total=8, unit="steps", resumed=0, seconds=4.0, note="loss 0.62")
    assert summary(reading) == "8/8 steps, 2/s, loss 0.62"


def test_a_stage_prints_what_the_flow_parses(capsys) -> None:
    progress = Progress(total=3, unit="pairs")
    progress.advance(3, note="done")
    lines = capsys.readouterr().out.splitlines()
    readings = [parse_progress(line) for line in lines]
    assert [reading.done for reading in readings if reading] == [0, 3]
    assert parse_progress("INFO generation: 3 pairs") is None


def test_brackets_in_a_path_or_a_stages_line_are_shown_as_they_are() -> None:
    manifest = Manifest("scores", 1, {"[/]": 1}, {}, "", {}, 0.0, 1.0, {}, "")
    with console.capture() as captured:
        print_warning("[/x] ends in runs/[bold]")
        print_done("[/score]", manifest, skipped=False)
    assert "[/x] ends in runs/[bold]" in captured.get() and "[/score]" in captured.get()
    assert "dropped: 1 [/]" in captured.get()
