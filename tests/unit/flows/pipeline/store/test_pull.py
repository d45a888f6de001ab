"""`onpolicy pull` and `onpolicy inspect s3://...`: what a store has, here and where it lies."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_run import tables
from s3_server import S3
from stored_run import run
from stored_steps import begun_step, made_step

from contracts.errors import UserError
from contracts.steps.manifest import Manifest, Result, write_manifest
from flows.explore.stored import show_stored
from flows.explore.tables import View
from flows.pipeline.config import RunConfig
from flows.pipeline.folder.recorded import recorded
from flows.pipeline.store.adopt import clear_begun
from flows.pipeline.store.pull import pull_run
from runtime.store.address import split_address
from runtime.store.finished import push
from runtime.store.objects import Objects

Machine = Callable[..., RunConfig]


def store_of(config: RunConfig) -> str:
    return str(config.resources.store)


def test_a_run_is_pulled_by_its_name_and_a_second_time_nothing_is(
    machine: Machine, tmp_path: Path
) -> None:
    a = machine("a")
    made = run(a)
    told = pull_run("test", store_of(a), tmp_path / "here")
    assert f"{len(made)} of {len(made)} finished steps pulled" in told
    assert tables(tmp_path / "here" / "test") == tables(a.folder)
    assert "0 of" in pull_run("test", store_of(a), tmp_path / "here")
    assert run(machine("b")) == []


def test_a_run_that_the_store_does_not_have_is_told_with_those_it_has(
    machine: Machine, tmp_path: Path
) -> None:
    a = machine("a")
    run(a, until="round-1/prompts")
    for name in ("tset", "../test"):
        with pytest.raises(UserError, match=r"holds no run '.*'; it has test"):
            pull_run(name, store_of(a), tmp_path / "here")
    assert not (tmp_path / "here").exists()


def test_a_folder_of_runs_and_one_that_was_refused_count_as_no_runs(s3: S3, tmp_path: Path) -> None:
    objects = Objects(s3.bucket)
    objects.write("team/test/_run.json", b"{}")
    objects.write("refused/_probe", b"created")
    for name in ("test", "refused"):
        with pytest.raises(UserError, match=rf"no run '{name}'; it has none at all: mind the pre"):
            pull_run(name, s3.bucket, tmp_path / "here")


@pytest.mark.parametrize(
    ("name", "said"),
    [("gema-7", r"; of its 20 runs these are nearest: gemma-7, .* lists all\)"),
     ("zzz", r"; it has 20 others \(`onpolicy inspect s3://\S+` lists all\)")],
)  # fmt: skip
def test_of_a_large_store_the_nearest_runs_are_told_and_how_to_see_all(
    s3: S3, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, said: str
) -> None:
    objects = Objects(f"{s3.bucket}/team")
    for number in range(20):
        objects.write(f"gemma-{number}/_run.json", b"{}")
    objects.write("gemma-7/prompts/_manifest.json", b"{}")
    with pytest.raises(UserError, match=said) as told:
        pull_run(name, objects.address, tmp_path / "here")
    assert str(told.value).count("gemma-") <= 5
    show_stored(objects.address, View())
    (line,) = (one for one in capsys.readouterr().out.splitlines() if "gemma-7" in one)
    assert line.replace("│", "").split() == ["gemma-7", "1", "0.0"]


def test_a_run_that_a_newer_version_pushed_is_told_with_what_is_new(
    machine: Machine, tmp_path: Path
) -> None:
    a = machine("a")
    run(a, until="round-1/prompts")
    objects = Objects(store_of(a))
    record = json.loads(objects.read("test/_run.json") or b"")
    record["config"]["sampling"]["beams"] = 2
    objects.write("test/_run.json", json.dumps(record).encode())
    with pytest.raises(UserError, match=r"'sampling\.beams' .* a newer onpolicy has written it"):
        pull_run("test", store_of(a), tmp_path / "here")


def test_another_run_that_lies_here_by_that_name_is_not_written_over(
    machine: Machine, tmp_path: Path
) -> None:
    a = machine("a")
    run(a, until="round-1/prompts")
    other = machine("b", seed=7)
    without = other.resources.model_copy(update={"store": None})
    run(other.model_copy(update={"resources": without}), until="round-1/prompts")
    with pytest.raises(UserError, match="holds another run of this name"):
        pull_run("test", store_of(a), other.runs_dir)


def test_the_pulled_run_goes_on_here_with_the_store_that_it_was_pulled_from(
    machine: Machine, tmp_path: Path
) -> None:
    run(machine("a"), until="round-1/prompts")
    moved = (tmp_path / "store").rename(tmp_path / "moved")
    pull_run("test", f"file://{moved}", tmp_path / "here")
    config = recorded(tmp_path / "here" / "test")
    assert config and config.runs_dir == tmp_path / "here"
    assert config.resources.store == f"file://{moved}"


def test_a_run_is_not_pulled_into_its_own_store(machine: Machine, tmp_path: Path) -> None:
    run(machine("a"), until="round-1/prompts")
    with pytest.raises(UserError, match="a run's folder and its store must lie apart"):
        pull_run("test", f"file://{tmp_path}/store", tmp_path / "store")


def test_a_key_that_is_no_step_of_the_run_is_not_pulled_over_its_steps(
    machine: Machine, tmp_path: Path
) -> None:
    a = machine("a")
    run(a, until="round-1/prompts")
    push(Objects(store_of(a)), "test/round-1", made_step(tmp_path / "other", parts=0))
    pull_run("test", store_of(a), tmp_path / "here")
    pull_run("test", store_of(a), a.runs_dir)
    assert tables(tmp_path / "here" / "test") == tables(a.folder)
    with pytest.raises(UserError, match="is finished; nothing was removed"):
        clear_begun(a.folder, "round-1")


@pytest.fixture(params=["a bucket", "a shared folder"])
def pairs(request: pytest.FixtureRequest, s3: S3, tmp_path: Path) -> str:
    """The address of a table in a store: margins 0, -0.5 and 0.9, in two parts."""
    (tmp_path / "store").mkdir()
    store = s3.bucket if request.param == "a bucket" else f"file://{tmp_path}/store"
    folder = begun_step(tmp_path / "pairs", parts=0)
    for number, margins in enumerate(([0.0, -0.5], [0.9])):
        table = pa.table({"margin": margins, "text": ["x"] * len(margins)})
        path = folder / f"part-{number:05d}.parquet"
        pq.write_table(table, path, write_page_checksum=True)
    write_manifest(folder, "annotation.pairs", Result(rows=3), Manifest.clock())
    push(Objects(store), "runs/demo/round-1/pairs", folder)
    return f"{store}/runs/demo/round-1/pairs"


def test_a_table_is_read_where_it_lies(pairs: str, capsys: pytest.CaptureFixture[str]) -> None:
    show_stored(pairs, View(rows=1))
    told = capsys.readouterr().out
    assert f"3 rows in 2 part(s), {pairs}" in told
    assert "margin: 0" in told


def test_its_rows_are_filtered_and_sorted(pairs: str, capsys: pytest.CaptureFixture[str]) -> None:
    show_stored(pairs, View(where="margin >= 0", sort="-margin"))
    told = capsys.readouterr().out
    assert told.index("margin: 0.9") < told.index("margin: 0\n")
    assert "-0.5" not in told


def test_a_run_in_a_store_is_a_line_for_each_finished_step(
    pairs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    show_stored(pairs.removesuffix("/round-1/pairs"), View())
    assert "round-1/pairs" in capsys.readouterr().out


def test_a_part_that_is_gone_or_cut_is_told_with_what_brings_it_back(pairs: str) -> None:
    root, key = split_address(pairs)
    objects = Objects(root)
    part = next(name for name in objects.sizes(key) if name.endswith("00001.parquet"))
    objects.write(part, b"cut")
    for _ in range(2):
        with pytest.raises(UserError, match=r"part-00001\.parquet is gone or cut; a machine that"):
            show_stored(pairs, View())
        objects.remove([part])


@pytest.mark.parametrize(
    ("view", "said"),
    [(View(sql="SELECT 1"), "pull the run first"), (View(where="margin > 0"), "one table")],
)
def test_what_needs_more_than_one_table_is_told(pairs: str, view: View, said: str) -> None:
    with pytest.raises(UserError, match=said):
        show_stored(pairs.removesuffix("/round-1/pairs"), view)


def test_where_nothing_lies_that_is_told(s3: S3) -> None:
    with pytest.raises(UserError, match="neither a table nor a run lies there"):
        show_stored(f"{s3.bucket}/nothing", View())


def test_a_shared_folder_is_read_alike(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    a = machine("a")
    run(a, until="round-1/prompts")
    show_stored(f"{store_of(a)}/test", View())
    assert "round-1/prompts" in capsys.readouterr().out
