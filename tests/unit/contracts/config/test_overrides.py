"""Dotted overrides: they set their own key and leave the rest."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from toy_configs import Run, Sampling, Slow

from contracts.config.base import apply_overrides, load_config
from contracts.errors import UserError


def test_overrides_reach_into_sections_and_leave_the_rest(config_file: Path) -> None:
    config_file.write_text("name: demo\nsampling:\n  temperature: 0.5\n")
    run = load_config(
        Run, config_file, ["learning_rate=5e-7", "sampling.engine={kind: slow}", "name=two=2"]
    )
    assert run.learning_rate == 5e-7
    assert run.sampling == Sampling(temperature=0.5, engine=Slow())
    assert run.name == "two=2"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("rounds", "write it as key=value"),
        ("=3", "write it as key=value"),
        ("a..b=3", "write it as key=value"),
        ("name.first=3", "'name' is a value, it has no keys inside"),
        ("rounds.first=3", "'rounds' is a value, it has no keys inside"),
        ("judges=[1", "not valid YAML"),
        ("judges=" + "[" * 5000, "not valid YAML: nested deeper than 50 levels"),
        (".".join("a" * 51) + "=1", "nested deeper than 50 levels"),
        (
            "engines.2.kind=slow",
            "'engines' is a list and has no item '2' (numbers 0 to 1 are "
            "there); to add one, give the whole list: engines=[...]",
        ),
        ("engines.first=slow", "'engines' is a list and has no item 'first'"),
        ("engines.0.kind.name=x", "'kind' is a value, it has no keys inside"),
        ("sampling={n: 1, n: 2}", "key 'n' is given twice"),
    ],
)
def test_an_override_that_cannot_be_applied_says_why(override: str, said: str) -> None:
    with pytest.raises(UserError) as refused:
        engines = [{"kind": "fast"}, {"kind": "slow"}]
        apply_overrides({"name": "demo", "rounds": 0, "engines": engines}, [override])
    assert str(refused.value).startswith(f"override {override!r}: ")
    assert said in str(refused.value)


def test_an_override_sets_one_item_of_a_list_by_its_number() -> None:
    data = {"judges": [{"kind": "fast", "batch_size": 8}, {"kind": "slow"}], "files": ["a", "b"]}
    changed = apply_overrides(data, ["judges.0.batch_size=2", "files.1=c"])
    assert changed == {
        "judges": [{"kind": "fast", "batch_size": 2}, {"kind": "slow"}],
        "files": ["a", "c"],
    }
    assert data["files"] == ["a", "b"]


KEYS = st.text(st.characters(categories=["Ll", "Nd"], include_characters="_"), min_size=1)


TREES = st.recursive(
    st.none() | st.integers() | st.text(st.characters(categories=["L", "P", "Zs"])),
    lambda values: st.dictionaries(KEYS, values, max_size=3),
    max_leaves=8,
)


@given(data=st.dictionaries(KEYS, TREES), path=st.lists(KEYS, min_size=1, max_size=4), value=TREES)
def test_an_override_sets_its_own_key_and_changes_nothing_that_was_given(
    data: dict, path: list[str], value: object
) -> None:
    before = yaml.safe_dump(data)
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6)
    try:
        changed = apply_overrides(data, [f"{'.'.join(path)}={text}"])
    except UserError as refused:
        assert "it has no keys inside" in str(refused)
    else:
        for key in path:
            changed = changed[key]
        assert changed == value
    assert yaml.safe_dump(data) == before
