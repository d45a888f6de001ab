"""`make gpu-check`: every step is run and told of, whatever becomes of the others."""

import importlib
import json
import time
from pathlib import Path

import pytest

from benchmarks import gpu_check
from benchmarks.support.check_steps import Result, Step, as_markdown, keep, kept, run_step

HOLDS = {"name": "n", "figure": 3.1, "reach": 2.9, "holds": True, "unit": "times", "detail": {}}


def step(name: str, code: str, minutes: float = 1, needs: tuple[str, ...] = ()) -> Step:
    return Step(name, ("-S", "-c", code), minutes, needs)


def printing(outcome: dict[str, object]) -> str:
    return f"print('loading'); print({json.dumps(outcome)!r})"


STEPS = [
    step("tests", "print('3 passed, 1 skipped in 2.10s')"),
    step("no_flash", "print('=== 2 skipped in 75.10s (0:01:15) ===')"),
    step("crashes", "import os; print('CUDA error', flush=True); os.abort()"),
    step("rate", printing(HOLDS)),
    step("memory", printing(HOLDS | {"figure": 0.4, "reach": 0.25, "holds": False})),
    step("hangs", "import time; time.sleep(60)", minutes=0.02),
    step("engines", "", needs=("vllm_of_another_name",)),
    step("long", "", minutes=900),
    step("number", "print('{\"figure\": 3}')"),
]


def test_a_step_that_crashes_or_hangs_hides_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gpu_check.check(STEPS, tmp_path, 600, "One GPU; 2026-11-22.") == 1
    told = capsys.readouterr().out
    states = {name: result.state for name, result in kept(tmp_path, "One GPU; 2026-11-22.").items()}
    assert states == {
        "tests": "passed", "crashes": "failed", "rate": "passed", "memory": "missed",
        "hangs": "failed", "number": "passed",
    }  # fmt: skip
    assert "no_flash  not run" in told
    assert "vllm_of_another_name, not installed here" in told and "too few are left" in told
    block = (tmp_path / "RESULTS.md").read_text()
    assert block.startswith("One GPU; 2026-11-22.\n") and block in told
    assert "| `rate` | 3.1 times | 2.9 | yes |" in block
    assert "| `memory` | 0.4 times | 0.25 | no |" in block
    assert "- crashes: failed (exit code -6: CUDA error)" in block


def test_a_later_call_adds_to_the_block_of_the_same_machine_and_day(tmp_path: Path) -> None:
    for named in (STEPS[3:4], STEPS[4:5]):
        gpu_check.check(named, tmp_path, 600, "One GPU; 2026-11-22.")
    block = (tmp_path / "RESULTS.md").read_text()
    assert "| `rate` | 3.1 times" in block and "| `memory` | 0.4 times" in block
    gpu_check.check(STEPS[4:5], tmp_path, 600, "Another GPU; 2026-11-22.")
    block = (tmp_path / "RESULTS.md").read_text()
    assert "`rate`" not in block and "| `memory` | 0.4 times" in block


def test_what_a_step_leaves_running_is_ended_with_it(tmp_path: Path) -> None:
    engine = "import subprocess, sys; print(subprocess.Popen(['sleep', '60']).pid); sys.exit(1)"
    assert run_step(step("engine", engine), tmp_path, 600).state == "failed"
    left = int((tmp_path / "engine.log").read_text())
    ended_by = time.monotonic() + 10
    while Path(f"/proc/{left}/exe").exists() and time.monotonic() < ended_by:
        time.sleep(0.01)
    assert not Path(f"/proc/{left}/exe").exists()  # ended, if no parent has asked after it yet


def test_tests_are_not_run_where_what_they_need_is_not_installed() -> None:
    assert all("pytest" in one.needs and "xdist" in one.needs for one in gpu_check.gpu_tests())


def test_all_that_ran_and_failed_in_nothing_is_a_success(tmp_path: Path) -> None:
    assert gpu_check.check(STEPS[:1], tmp_path, 600, "") == 0


def test_without_a_gpu_it_says_so_and_starts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu_check, "has_cuda", lambda: False)
    assert gpu_check.main(["--out", str(tmp_path / "out")]) == 1
    assert "no CUDA device here; nothing was started" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("one", gpu_check.FIGURES, ids=lambda one: one.name)
def test_a_figures_command_is_one_that_its_benchmark_takes(one: Step) -> None:
    module = importlib.import_module(one.command[1])
    found = module.options(one.command[2:])
    assert (found.device, found.dtype) == ("cuda", "bfloat16")


def test_the_tests_come_first_a_file_each() -> None:
    names = [one.name for one in gpu_check.steps()]
    files = sorted(path.stem for path in gpu_check._TESTS.glob("test_*.py"))
    assert names[: len(files)] == files and len(set(names)) == len(names)
    assert gpu_check.options([]).only == names


def test_a_figures_detail_leaves_out_what_stands_above_the_table() -> None:
    outcome = HOLDS | {
        "detail": {"steps": 8, "torch": "2.11", "milliseconds": {"flex": 1.5, "eager": 4}}
    }
    block = as_markdown([Result("rate", "passed", "", 1.0, outcome)], "A GPU.")
    assert "| steps 8, milliseconds (flex 1.5; eager 4) |" in block


@pytest.mark.parametrize(
    ("ends", "state"),
    [("print('[W] destroy_process_group')", "passed"), ("time.sleep(60)", "failed"),
     ("os.abort()", "failed")],
)  # fmt: skip
def test_a_figure_is_kept_whatever_becomes_of_its_process_after_it(
    tmp_path: Path, ends: str, state: str
) -> None:
    code = f"import os, time; {printing(HOLDS)}; import sys; sys.stdout.flush(); {ends}"
    result = run_step(step("rate", code, minutes=0.05), tmp_path, 600)
    assert result.state == state and result.outcome == HOLDS
    block = as_markdown([result], "A GPU.")
    assert "| `rate` | 3.1 times | 2.9 | yes |" in block
    assert ("- rate: failed" in block) == (state == "failed")


def test_a_steps_whole_output_is_kept(tmp_path: Path) -> None:
    run_step(step("rate", printing(HOLDS)), tmp_path, 600)
    assert (tmp_path / "rate.log").read_text().startswith("loading\n")


def test_a_result_cut_short_by_a_kill_or_a_full_disk_stops_no_later_call(tmp_path: Path) -> None:
    keep(Result("rate", "passed", "3.1 times"), tmp_path, "One GPU")
    (tmp_path / "cut.json").write_text((tmp_path / "rate.json").read_text()[:20])
    (tmp_path / "empty.json").touch()
    assert list(kept(tmp_path, "One GPU")) == ["rate"]
