"""`onpolicy inspect`: what it shows of a table, and what it says where it cannot."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from contracts.errors import UserError
from contracts.steps.manifest import Manifest, Result, write_manifest
from contracts.tables.parts import write_part
from contracts.tables.schemas import PROMPTS, RESPONSES, SCORES
from flows.explore.tables import View, add_step, show, steps_table


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """A table in two parts."""
    folder = tmp_path / "pairs"
    folder.mkdir()
    for number, margins in enumerate(([0.0, -0.5], [0.9])):
        pq.write_table(
            pa.table({"margin": margins, "text": ["x"] * len(margins)}),
            folder / f"part-{number:05d}.parquet",
        )
    return folder


def margins(path: Path, capsys: pytest.CaptureFixture[str], **view: str | int) -> list[float]:
    show(path, View(**view))  # type: ignore[arg-type]
    lines = capsys.readouterr().out.splitlines()
    return [float(line.split(": ")[1]) for line in lines if line.startswith("  margin: ")]


def test_rows_are_filtered_and_sorted_over_all_parts_of_a_table(
    pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert margins(pairs, capsys, sort="-margin") == [0.9, 0.0, -0.5]
    assert margins(pairs, capsys, sort="text, margin DESC", rows=1) == [0.9]
    assert margins(pairs, capsys, where="margin > -0.1", sort="margin") == [0.0, 0.9]


def test_one_file_is_filtered_and_sorted_like_a_table(
    pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = pairs / "part-00000.parquet"
    assert margins(part, capsys, sort="margin") == [-0.5, 0.0]
    assert margins(part, capsys, where="margin < 0") == [-0.5]


@pytest.mark.parametrize(
    ("view", "said"),
    [
        (View(where="widht > 1"), '--where: Binder Error: Referenced column "widht" not found'),
        (View(where="margin > 0", sort="-widht"), "--sort: Binder Error: Referenced column "),
        (View(where="CAST(text AS int) > 1"), "--where: Conversion Error: "),
    ],
)
def test_an_expression_that_is_wrong_is_named_by_its_option(
    pairs: Path, view: View, said: str
) -> None:
    with pytest.raises(UserError) as refused:
        show(pairs, view)
    assert str(refused.value).startswith(said)
    assert str(refused.value).endswith("; columns: margin, text")


@pytest.mark.parametrize(
    ("view", "said"),
    [
        (View(sql="SELECT 1", where="margin > 0"), "--sql and --where do not go together"),
        (View(prompt="p", sort="margin"), "--prompt and --sort do not go together"),
        (View(sql="SELECT 1", prompt="p"), "--sql and --prompt do not go together"),
        (View(prompt=""), "--prompt: give the beginning of a prompt_id"),
        (View(sql=""), "--sql: only reads"),
        (View(sort=""), "--sort: give a column, e.g. --sort margin"),
        (View(sort="-"), "--sort: give a column, e.g. --sort margin"),
        (View(where=" "), "--where: give a condition, e.g. "),
    ],
)
def test_no_option_is_ignored(pairs: Path, view: View, said: str) -> None:
    with pytest.raises(UserError) as refused:
        show(pairs, view)
    assert str(refused.value).startswith(said)


def test_brackets_in_a_path_or_a_columns_name_are_shown_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "[bold]" / "table[.parquet"
    path.parent.mkdir()
    pq.write_table(pa.table({"[/red]": ["[/]"]}), path)
    show(path, View())
    shown = capsys.readouterr().out
    assert "[bold]/table[.parquet" in shown.replace("\n", "") and "  [/red]: [/]" in shown


def test_a_filter_on_a_whole_run_is_answered_with_a_table_to_name(tmp_path: Path) -> None:
    finish(tmp_path / "round-1" / "pairs")
    with pytest.raises(UserError) as refused:
        show(tmp_path, View(where="margin > 0"))
    assert str(refused.value).startswith(f"{tmp_path}: --where looks into one table; name its fol")


def test_the_folders_of_a_round_are_told_apart_at_60_columns() -> None:
    table = steps_table()
    made = Manifest("evaluation.answers", 960, {"duplicate": 12}, {}, "f", {}, 0.0, 61.0, {}, "r")
    for name in ("prompts", "responses"):
        add_step(table, f"round-1/evaluation/{name}", made)
    console = Console(width=60)
    with console.capture() as shown:
        console.print(table)
    rows = [line.split("│")[1] for line in shown.get().splitlines() if line.startswith("│")]
    assert (
        "".join("".join(rows).split()) == "round-1/evaluation/promptsround-1/evaluation/responses"
    )
    assert shown.get().count("0:01:01") == 2


def test_a_damaged_stage_is_shown_with_a_warning_and_hides_no_other(
    pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_manifest(pairs, "annotation.pairs", Result(3), Manifest.clock())
    finish(pairs.parent / "tokens")
    (pairs / "part-00001.parquet").unlink()
    show(pairs, View(rows=0))
    assert f"warning: {pairs}: is not as its stage left it: part-00001.parquet is gone; put" in (
        capsys.readouterr().out
    )
    (pairs.parent / "tokens" / "_manifest.json").write_text("{")
    show(pairs.parent, View())
    said = capsys.readouterr().out
    assert "part-00001.parquet is gone" in said
    assert "damaged" in said and f"{pairs.parent}/tokens/_manifest.json: is damaged" in said


def test_a_wrong_expression_is_told_before_anything_is_shown(
    pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match="--sort"):
        show(pairs, View(sort="widht"))
    assert capsys.readouterr().out == ""


def test_a_table_has_its_folders_name_in_sql(
    pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show(pairs, View(sql="SELECT count(*) AS n FROM pairs"))
    assert "3" in capsys.readouterr().out


def test_a_file_that_is_no_table_is_answered_with_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text("{}")
    with pytest.raises(UserError, match=r"mine\.jsonl: is no parquet file, and only these are"):
        show(tmp_path / "mine.jsonl", View())


def test_more_rows_than_the_first_part_holds_are_shown(
    pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert margins(pairs, capsys, rows=5) == [0.0, -0.5, 0.9]


def test_a_file_with_other_columns_and_one_that_is_no_parquet_are_named(pairs: Path) -> None:
    mixed, broken = pairs / "part-00002.parquet", pairs / "part-00003.parquet"
    pq.write_table(pa.table({"width": [1]}), mixed)
    with pytest.raises(UserError, match=f"{mixed}: its columns differ from those of {pairs}"):
        show(pairs, View())
    mixed.unlink()
    broken.write_text("no parquet")
    with pytest.raises(UserError, match=f"{broken}: is no whole parquet file"):
        show(pairs, View())


def finish(folder: Path) -> None:
    folder.mkdir(parents=True)
    write_manifest(folder, "stage", Result(1), Manifest.clock())


def test_a_runs_stages_are_shown_in_the_pipelines_order_after_it_was_copied(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    order = ["prompts", "round-0/prompts", "round-1/pairs", "round-1/policy", "round-2/pairs"]
    for name in reversed(order):
        finish(tmp_path / name)
    show(tmp_path, View())
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines if "stage" in line][1:] == order


def test_a_prompts_responses_are_shown_best_first_and_zero_is_a_score(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    turns = [{"role": "user", "content": "Why?"}]
    prompt = {"prompt_id": "p", "messages": turns, "source": "file", "split": "train"}
    write(tmp_path / "prompts", PROMPTS, [prompt])
    scores = {"below": -1.0, "zero": 0.0, "unscored": None, "above": 1.0}
    write(tmp_path / "responses", RESPONSES, [response(name) for name in [*scores, "unseen"]])
    write(tmp_path / "scores", SCORES, [
        {"response_id": name, "prompt_id": "p", "annotator": "a", "score": score,
         "error": None if score is not None else "too_long"}
        for name, score in scores.items()
    ])  # fmt: skip
    show(tmp_path, View(prompt="p"))
    shown = capsys.readouterr().out.split()
    places = [shown.index(name) for name in ("above", "zero", "below", "unscored", "unseen")]
    assert places == sorted(places)


def write(folder: Path, schema: pa.Schema, rows: list[dict]) -> None:
    folder.mkdir()
    write_part(folder, 0, pa.Table.from_pylist(rows, schema=schema), schema)


def response(name: str) -> dict:
    return {"prompt_id": "p", "response_id": name, "sample": 0, "seed": 1, "text": name,
            "token_ids": [1], "finish_reason": "stop", "n_tokens": 1, "policy": "x"}  # fmt: skip


def test_a_file_of_the_users_own_that_is_no_parquet_is_named_as_that(tmp_path: Path) -> None:
    path = tmp_path / "mine.parquet"
    path.write_text("not that")
    with pytest.raises(UserError) as refused:
        show(path, View())
    assert str(refused.value).startswith(f"{path}: is no whole parquet file (")
    assert "--redo" not in str(refused.value) and "delete" not in str(refused.value)


def test_a_damaged_part_of_a_stage_is_named_with_the_way_out(pairs: Path) -> None:
    (pairs.parent / "config.yaml").touch()
    (pairs / "_manifest.json").write_text("{}")
    (pairs / "part-00001.parquet").write_text("not that")
    with pytest.raises(UserError, match=r"part-00001\.parquet: is no whole .*`--redo pairs`"):
        show(pairs, View())


def test_a_models_text_commands_no_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "a\x1b]0;title\x07b\x9bc\n\td"
    prompt = {"prompt_id": "p", "messages": [{"role": "user", "content": said}], "source": "x",
              "split": "train"}  # fmt: skip
    answer = {"prompt_id": "p", "response_id": "p-0", "sample": 0, "seed": 1, "text": said,
              "token_ids": [1], "finish_reason": "stop", "n_tokens": 1, "policy": "x"}  # fmt: skip
    for name, schema, row in (("prompts", PROMPTS, prompt), ("responses", RESPONSES, answer)):
        (tmp_path / name).mkdir()
        write_part(tmp_path / name, 0, pa.Table.from_pylist([row], schema=schema), schema)
    show(tmp_path / "responses", View())
    show(tmp_path, View(prompt="p"))
    show(tmp_path, View(sql="SELECT text FROM responses"))
    told = capsys.readouterr().out
    assert not {"\x1b", "\x07", "\x9b"} & set(told)
    assert told.count("a\\x1b]0;title\\x07b\\x9bc") == 4
