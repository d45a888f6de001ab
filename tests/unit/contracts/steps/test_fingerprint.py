"""Fingerprints: equal content gives an equal one, whatever its order, name or place."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import UserError
from contracts.steps import fingerprint
from contracts.steps.manifest import Result, write_manifest

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
JSON = st.recursive(
    SCALARS,
    lambda values: (
        st.lists(values, max_size=3) | st.dictionaries(st.text("abc"), values, max_size=3)
    ),
    max_leaves=8,
)


def turned_round(value: Any) -> Any:
    """The same JSON value, its keys in the opposite order."""
    if isinstance(value, dict):
        return {key: turned_round(value[key]) for key in reversed(value)}
    return [turned_round(item) for item in value] if isinstance(value, list) else value


@given(JSON)
def test_the_order_of_keys_does_not_matter(value: Any) -> None:
    assert fingerprint.of_json(value) == fingerprint.of_json(turned_round(value))


@given(JSON)
def test_a_value_keeps_its_fingerprint_when_written_and_read_again(value: Any) -> None:
    assert fingerprint.of_json(json.loads(json.dumps(value))) == fingerprint.of_json(value)


def test_the_order_of_a_list_and_the_type_of_a_value_do_matter() -> None:
    values: list[Any] = [[1, 2], [2, 1], ["1", 2], {"1": 2}, [[1], 2], [1, 2, None]]
    assert len({fingerprint.of_json(value) for value in values}) == len(values)


@pytest.mark.parametrize("value", [{1, 2}, Path("x"), float("nan"), b"bytes"])
def test_what_is_no_json_is_refused_not_guessed(value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        fingerprint.of_json({"key": value})


def test_a_file_is_known_by_its_bytes_alone(tmp_path: Path) -> None:
    for name, content in [("a.jsonl", "one"), ("b.jsonl", "one"), ("c.jsonl", "two")]:
        (tmp_path / name).write_text(content)
    one, same, other = (fingerprint.of_input(str(tmp_path / f"{name}.jsonl")) for name in "abc")
    assert one == same != other


def test_a_large_file_is_known_by_its_size_and_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprint, "_WHOLE_BELOW", 4 << 20)
    path = tmp_path / "model.safetensors"
    path.write_bytes(bytes(5 << 20))
    before = fingerprint.of_file(path)
    with path.open("r+b") as file:
        file.seek((5 << 20) - 1)
        file.write(b"x")
    changed = fingerprint.of_file(path)
    path.write_bytes(bytes((5 << 20) + 1))
    assert len({before, changed, fingerprint.of_file(path)}) == 3


def test_a_folder_is_known_by_its_files_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "weights").write_text("1")
    before = fingerprint.of_input(str(tmp_path))
    (tmp_path / "README.md").write_text("words do not count")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "lock").write_text("nor do hidden files")
    assert fingerprint.of_input(str(tmp_path)) == before
    (tmp_path / "inner" / "weights").rename(tmp_path / "weights")
    assert fingerprint.of_input(str(tmp_path)) != before


def test_an_adapter_is_known_by_its_base_too(tmp_path: Path) -> None:
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    base.mkdir()
    adapter.mkdir()
    (base / "weights").write_text("1")
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps({"base_model_name_or_path": str(base)}))
    before = fingerprint.of_input(str(adapter))
    (base / "weights").write_text("2")
    assert fingerprint.of_input(str(adapter)) != before
    path.write_text(json.dumps({"base_model_name_or_path": "owner/base", "revision": "a"}))
    first = fingerprint.of_input(str(adapter))
    path.write_text("{}")
    with pytest.raises(UserError, match="names no base_model_name_or_path"):
        fingerprint.of_input(str(adapter))
    assert first != before


def test_a_stages_folder_is_known_by_its_manifest_once_it_has_finished(tmp_path: Path) -> None:
    (tmp_path / "_step.json").write_text("{}")
    with pytest.raises(UserError, match="has not finished; run it first"):
        fingerprint.of_input(str(tmp_path))
    (tmp_path / "rows.txt").write_text("rows")
    manifest = write_manifest(tmp_path, "stage", Result(rows=1), started=0.0)
    assert fingerprint.of_input(str(tmp_path)) == manifest.fingerprint


def test_when_and_where_a_stage_ran_does_not_change_its_fingerprint(tmp_path: Path) -> None:
    prints = set()
    for place, started in (("one", 0.0), ("two", 100.0)):
        folder = tmp_path / place
        folder.mkdir()
        (folder / "rows.txt").write_text("rows")
        prints.add(write_manifest(folder, "stage", Result(rows=1), started).fingerprint)
    assert len(prints) == 1


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "\x00\xff"])
def test_a_damaged_manifest_of_an_input_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "_manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"manifest\.json: is damaged"):
        fingerprint.of_input(str(tmp_path))


@pytest.mark.parametrize("name", ["google/gemma-2-9b-it", "a/b@main", "a/b.c@refs/pr/1"])
def test_a_hub_id_stands_for_itself(name: str) -> None:
    assert fingerprint.of_input(name) == f"hub:{name}"


@pytest.mark.parametrize(
    "name", ["data/prompts.jsonl", "nowhere", "../a/b", "a/b/c", "/no/where", "data/x.parquet"]
)
def test_a_missing_data_file_is_not_taken_for_a_hub_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no such file or folder, and not a hub id"):
        fingerprint.of_input(name)


@pytest.mark.parametrize("name", ["", "  "])
def test_an_empty_input_is_not_taken_for_the_current_folder(name: str) -> None:
    with pytest.raises(UserError, match="an input is empty"):
        fingerprint.of_input(name)
