"""Configs: what a user writes, what is refused, and what decides a step's identity."""

from pathlib import Path

import pytest
from toy_configs import BOMB, CHAIN, Dated, Fast, Gpus, Rounds, Run, Sampling, Slow

from contracts.config.base import Config, check, identity, load_config
from contracts.config.yaml import dump_yaml, parse_yaml
from contracts.errors import UserError

# Each line ten times the one before it; each line a level deeper than the one before it.


def refusal(data: dict) -> str:
    with pytest.raises(UserError) as refused:
        check(Run, {"name": "demo", **data}, origin="run.yaml")
    return str(refused.value)


def test_a_misspelled_key_is_answered_with_the_key_that_was_meant() -> None:
    assert refusal({"learning_rat": 1}) == (
        "run.yaml: unknown key 'learning_rat' (did you mean 'learning_rate'?)"
    )


def test_a_misspelled_key_inside_a_section_is_named_with_its_path() -> None:
    assert "unknown key 'sampling.temprature' (did you mean 'sampling.temperature'?)" in refusal(
        {"sampling": {"temprature": 1}}
    )


def test_a_key_of_a_unions_variant_is_named_as_the_file_has_it_without_the_variants_tag() -> None:
    said = refusal({"sampling": {"engine": {"kind": "slow", "patiense": 3}}})
    assert "'sampling.engine.patiense' (did you mean 'sampling.engine.patience'?)" in said
    said = refusal({"judges": [{"kind": "fast", "resources": {"cuont": 3}}]})
    assert "'judges.0.resources.cuont' (did you mean 'judges.0.resources.count'?)" in said


def test_a_key_of_another_variant_is_not_offered_but_the_variants_own_keys_are() -> None:
    said = refusal({"sampling": {"engine": {"kind": "slow", "batch_size": 3}}})
    assert (
        "unknown key 'sampling.engine.batch_size' (known here: kind, patience; to leave another "
        "kind's keys behind, give the section: sampling.engine={kind: slow})"
    ) in said


def test_a_key_in_the_wrong_section_is_answered_with_its_place() -> None:
    assert "(did you mean 'sampling.temperature'?)" in refusal({"temperature": 1})


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        ({"kind": "fsat"}, "key 'sampling.engine.kind': should be one of 'fast', 'slow', not 'f"),
        ({"batch_size": 3}, "key 'sampling.engine.kind' is missing"),
    ],
)
def test_a_variant_that_does_not_exist_is_answered_with_those_that_do(
    engine: dict, said: str
) -> None:
    assert said in refusal({"sampling": {"engine": engine}})


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"rounds": True}, "key 'rounds': Input should be a valid integer, not True"),
        ({"rounds": "2"}, "key 'rounds': Input should be a valid integer, not '2'"),
        ({"learning_rate": False}, "key 'learning_rate': Input should be a valid number, not Fal"),
        ({"quick": 1}, "key 'quick': Input should be a valid boolean, not 1"),
        ({"judges": [{"kind": "fast", "batch_size": True}]}, "key 'judges.0.batch_size': Input"),
    ],
)
def test_booleans_numbers_and_texts_are_not_taken_for_one_another(data: dict, said: str) -> None:
    assert said in refusal(data)


def test_an_exponent_without_a_point_is_a_number_and_paths_and_tuples_are_as_yaml_has_them(
    config_file: Path,
) -> None:
    config_file.write_text("name: demo\nlearning_rate: 5e-7\noutput: elsewhere\nbetas: [0, 1]\n")
    run = load_config(Run, config_file)
    assert (run.learning_rate, run.output, run.betas) == (5e-7, Path("elsewhere"), (0, 1))


def test_text_that_looks_like_a_number_is_text_again_after_it_was_written() -> None:
    values = {"name": "1e5", "revision": "12e45", "rate": 1e-5, "answer": "yes", "none": None}
    assert parse_yaml(dump_yaml(values)) == values


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"sampling": {"engine": "slow"}}, "key 'sampling.engine': is a section, not 'slow'; write "
         "{kind: slow}, or sampling.engine.kind=slow on the command line"),
        ({"sampling": {"engine": "lsow"}}, "(kinds: fast, slow)"),
        ({"sampling": 3}, "key 'sampling': is a section, not 3; its keys: temperature, engine"),
        ({"judges": "fast"}, "key 'judges': is a list, not 'fast'; write [...], with all its item"),
        ({"judges": {"0": {"kind": "fast"}}}, "key 'judges': is a list; write [...], with all "),
        ({"judges": ["fast"]}, "key 'judges.0': is a section, not 'fast'; write {kind: fast}"),
    ],
)  # fmt: skip
def test_a_value_in_a_sections_or_a_lists_place_is_answered_with_how_to_write_it(
    data: dict, said: str
) -> None:
    assert said in refusal(data)


def test_what_is_long_is_cut_and_what_is_many_is_counted() -> None:
    said = refusal({"rounds": "x" * 10**6, **{f"k{number}": 1 for number in range(1000)}})
    assert len(said) < 10_000 and said.endswith("and 981 more")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"pairs": {"length_penalty": "aut"}},
         "run.yaml: key 'pairs.length_penalty': Input should be a valid number, or 'auto', "
         "not 'aut'"),
        ({"by_round": {"two": {}}}, "run.yaml: key 'by_round.two': its name: Input should be a "
         "valid integer"),
        ({"by_round": [3]}, "run.yaml: key 'by_round': is a section, not [3]; write {name: value}"),
    ],
)  # fmt: skip
def test_a_value_of_either_of_two_kinds_and_a_keys_name_are_told_as_the_file_has_them(
    data: dict, told: str
) -> None:
    with pytest.raises(UserError) as refused:
        check(Rounds, data, origin="run.yaml")
    assert str(refused.value).startswith(told) and "\n" not in str(refused.value)


def test_every_bad_key_is_in_one_message_with_its_value() -> None:
    said = refusal({"learning_rate": "fast", "sampling": {"temperature": 3}, "naem": "x"})
    assert "key 'learning_rate'" in said and "not 'fast'" in said
    assert "key 'sampling.temperature': Input should be less than or equal to 2, not 3" in said
    assert "unknown key 'naem'" in said


def test_a_missing_key_is_named() -> None:
    with pytest.raises(UserError, match="key 'name' is missing"):
        check(Run, {}, origin="run.yaml")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_refused(value: float) -> None:
    assert "key 'learning_rate': Input should be a finite number" in refusal(
        {"learning_rate": value}
    )


def test_a_config_that_was_read_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Run(name="demo").name = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("name: a\nrounds: 1\nname: b\n", 3, "key 'name' is given twice"),
        ("name: a\nsampling:\n  n: 1\n  n: 2\n", 4, "key 'n' is given twice"),
        ("name: a\njudges: [1, 2\nrounds: 2\n", 3, "expected ',' or ']'"),
        ("name: a\n\tsampling: 1\n", 2, "cannot start any token"),
        ("name: a\n[sampling]: 1\n", 2, "a key is a list or a mapping"),
        (f"name: a\nrounds: {'9' * 5000}\n", 2, "Exceeds the limit"),
        ("name: a\nnote: \x01\n", 2, "the character U+0001 is not allowed"),
        ("name: a\nnote: !!python/object:os.system ls\n", 2, "could not determine"),
        ("name: a\njudges: " + "[" * 5000, 2, "nested deeper than 50 levels"),
        ("name: a\n" + CHAIN, 51, "nested deeper than 50 levels"),
        ("name: a\n" + BOMB, 7, "stands for more than 100,000 values"),
        ("name: a\njudges: &all [*all]\n", 2, "an alias lies in what it stands for"),
    ],
)
def test_malformed_yaml_is_refused_with_its_line(
    config_file: Path, text: str, line: int, problem: str
) -> None:
    config_file.write_text(text)
    with pytest.raises(UserError) as refused:
        load_config(Run, config_file)
    assert str(refused.value).startswith(f"{config_file}:{line}: not valid YAML: ")
    assert problem in str(refused.value)


def test_a_day_that_is_in_no_calendar_is_told_by_its_key(config_file: Path) -> None:
    config_file.write_text("date: 2024-02-30\n")
    for overrides in ([], ["date=2024-02-30"]):
        with pytest.raises(UserError) as refused:
            load_config(Dated, config_file, overrides)
        assert str(refused.value).startswith(f"{config_file}: key 'date': Input should be a valid")
        assert str(refused.value).endswith("day value is outside expected range, not '2024-02-30'")


def test_a_word_for_a_date_is_answered_with_how_a_day_is_written(config_file: Path) -> None:
    config_file.write_text("date: yesterday\n")
    with pytest.raises(UserError, match="should be a day such as 2025-11-22, not 'yesterday'"):
        load_config(Dated, config_file)


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "- a\n- b\n", "demo"])
def test_a_file_without_keys_is_refused(config_file: Path, text: str) -> None:
    config_file.write_text(text)
    with pytest.raises(UserError, match="holds no keys"):
        load_config(Run, config_file)


def test_a_missing_file_and_one_that_is_no_text_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.yaml: no such config file"):
        load_config(Run, tmp_path / "nowhere.yaml")
    (tmp_path / "run.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"run\.yaml: cannot be read"):
        load_config(Run, tmp_path / "run.yaml")


def test_yaml_merge_keys_work_as_they_do_elsewhere(config_file: Path) -> None:
    config_file.write_text(
        "name: demo\njudges:\n  - &first {kind: fast, batch_size: 2}\n"
        "  - {<<: *first, batch_size: 4}\n"
    )
    assert [judge.batch_size for judge in load_config(Run, config_file).judges] == [2, 4]


def test_resources_are_no_part_of_the_identity_wherever_they_lie() -> None:
    small = Run(name="demo", judges=[Fast()])
    big = Run(
        name="demo",
        sampling=Sampling(engine=Fast(resources=Gpus(count=8))),
        judges=[Fast(resources=Gpus(count=4))],
    )
    assert small != big
    assert identity(small) == identity(big)
    assert "resources" not in str(identity(big))


def test_optional_resources_are_no_part_of_the_identity_whether_given_or_not() -> None:
    class Stage(Config):
        seed: int = 1
        resources: Gpus | None = None

    assert identity(Stage()) == identity(Stage(resources=Gpus())) == {"seed": 1}


def test_whatever_else_changes_changes_the_identity() -> None:
    run = Run(name="demo")
    for change in ({"learning_rate": 2e-6}, {"judges": [Slow()]}, {"output": Path("elsewhere")}):
        assert identity(run.model_copy(update=change)) != identity(run)
