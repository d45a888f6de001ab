"""What a run fixes when it is claimed: its day, told to the models whose template asks for it."""

import shutil
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from checkout import CHECKOUT
from made_run import make

from contracts.config.base import check, load_config
from contracts.errors import ConfigDrift, UserError
from flows.pipeline.config import RunConfig
from flows.pipeline.folder import claimed
from flows.pipeline.folder.run_folder import claim_run, claim_together
from flows.pipeline.planning.plan import plan

TEMPLATES = CHECKOUT / "tests" / "templates"
PLAIN, CLOCK = "{{ bos_token }}", "clock-default-system.jinja"
MONDAY, TUESDAY = date(2026, 3, 2), date(2026, 3, 3)


@pytest.fixture
def today(monkeypatch: pytest.MonkeyPatch) -> type[date]:
    """The calendar that runs are claimed by; `day` can be set."""

    class Calendar(date):
        day_of_claim = MONDAY

        @classmethod
        def today(cls) -> date:
            return cls.day_of_claim

    monkeypatch.setattr(claimed, "date", Calendar)
    return Calendar


def model(folder: Path, clock: bool) -> str:
    """A model's folder, as far as its claim looks into it."""
    folder.mkdir(exist_ok=True)
    if clock:
        shutil.copyfile(TEMPLATES / CLOCK, folder / "chat_template.jinja")
    return str(folder)


def settings(
    folder: Path, policy: bool | dict[str, str] = True, reward: bool = False, **changes: Any
) -> RunConfig:
    """A run whose policy's and reward model's template reads the clock, or does not."""
    rewards = {"kind": "classifier", "name": "rm", "path": model(folder / "reward", reward)}
    prompts = folder / "prompts.jsonl"
    prompts.write_text("List two fruits.")
    own = policy if isinstance(policy, dict) else {"path": model(folder / "policy", policy)}
    data = {
        "name": "run", "runs_dir": str(folder), "rounds": 2, "policy": own,
        "prompts": {"path": str(prompts), "test_size": 4}, "sampling": {"n": 4},
        "annotation": {"annotators": [rewards]}, "training": {},
        "evaluation": {"sampling": {"n": 1, "temperature": 0}},
    }  # fmt: skip
    config = check(RunConfig, data | changes, origin="test")
    config.folder.mkdir(exist_ok=True)
    return config


def dates(config: RunConfig) -> dict[str, Any]:
    """What each stage of the second round is told, where it is told anything."""
    found = {}
    for step in plan(config):
        own = getattr(step.config, "date", None)
        for annotator in getattr(step.config, "annotators", []):
            own = own or annotator.date
        if own and step.path.startswith("round-2/"):
            found[step.path.removeprefix("round-2/")] = own
    return found


def test_the_day_of_the_claim_is_kept_in_the_runs_config_and_told_tomorrow(
    tmp_path: Path, today: Any
) -> None:
    first = claim_run(settings(tmp_path))
    today.day_of_claim = TUESDAY
    assert claim_run(settings(tmp_path)) == first
    written = load_config(RunConfig, first.folder / "config.yaml")
    assert written.date == written.policy.date == MONDAY
    assert dates(first) == {"responses": MONDAY, "tokens": MONDAY, "evaluation/responses": MONDAY}


def test_a_reward_model_whose_template_reads_the_clock_is_told_the_same_day(
    tmp_path: Path, today: Any
) -> None:
    first = claim_run(settings(tmp_path, policy=False, reward=True))
    assert dates(first) == {"scores": MONDAY, "evaluation/scores": MONDAY}


def test_steps_without_a_clock_are_the_same_steps_on_every_day(tmp_path: Path, today: Any) -> None:
    monday = claim_run(settings(tmp_path, policy=False, name="a"))
    today.day_of_claim = TUESDAY
    tuesday = claim_run(settings(tmp_path, policy=False, name="b"))
    assert (monday.date, tuesday.date) == (MONDAY, TUESDAY)
    assert [s.config for s in plan(monday)] == [s.config for s in plan(tuesday)]


def test_a_date_of_the_users_own_is_told_and_another_one_later_is_refused(
    tmp_path: Path, today: Any
) -> None:
    first = claim_run(settings(tmp_path, date="2024-07-26"))
    assert dates(first)["responses"] == date(2024, 7, 26)
    assert claim_run(settings(tmp_path)).date == date(2024, 7, 26)
    make(first)
    with pytest.raises(ConfigDrift, match="date: was '2024-07-26', now '2024-07-27'"):
        claim_run(settings(tmp_path, date="2024-07-27"))


def test_a_model_that_comes_in_later_is_told_the_runs_own_day(tmp_path: Path, today: Any) -> None:
    claim_run(settings(tmp_path, policy=False))
    today.day_of_claim = TUESDAY
    other = {"path": model(tmp_path / "other", clock=True)}
    assert dates(claim_run(settings(tmp_path, policy=other)))["responses"] == MONDAY


@pytest.mark.parametrize("day", [None, "2024-07-26"])
def test_a_run_that_was_claimed_without_a_day_is_given_one_and_keeps_what_it_made(
    tmp_path: Path, today: Any, day: str | None
) -> None:
    first = claim_run(settings(tmp_path, policy=False))
    make(first)
    path = first.folder / "config.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"date": None}))
    today.day_of_claim = TUESDAY
    again = claim_run(settings(tmp_path, policy=False, **({"date": day} if day else {})))
    wanted = date.fromisoformat(day) if day else TUESDAY
    assert again.date == load_config(RunConfig, path).date == wanted
    assert dates(again) == {} and make(again) == []


def test_a_runs_config_can_be_run_again_under_another_name(tmp_path: Path, today: Any) -> None:
    first = claim_run(settings(tmp_path))
    today.day_of_claim = TUESDAY
    again = load_config(RunConfig, first.folder / "config.yaml", ["name=again"])
    again.folder.mkdir()
    assert dates(claim_run(again)) == dates(first)


def test_points_of_a_sweep_are_of_one_day_also_past_midnight(
    tmp_path: Path, today: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = [settings(tmp_path, name=name) for name in "abc"]
    claim_run(points[1])
    today.day_of_claim = TUESDAY
    assert {point.date for point in claim_together(points)} == {MONDAY}


JUDGES = {
    "sampling": {"n": 1, "temperature": 0}, "benchmarks": ["alpaca_eval"],
    "judges": [{"name": "gpt", "model": "gpt-4.1", "resources": {"api_key_env": "JUDGE_KEY"}},
               {"name": "local", "model": "m", "resources": {"api_key_env": None}}],
}  # fmt: skip


def asked(config: RunConfig) -> dict[str, bool | None]:
    return {judge.name: judge.enabled for judge in config.evaluation.judges}


def test_judges_whose_key_is_there_when_the_run_is_claimed_judge_it_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    without = claim_run(settings(tmp_path, evaluation=JUDGES, name="without"))
    monkeypatch.setenv("JUDGE_KEY", "sk-x")
    first = claim_run(settings(tmp_path, evaluation=JUDGES))
    assert asked(first) == {"gpt": True, "local": True}
    assert asked(claim_run(settings(tmp_path, evaluation=JUDGES, name="without"))) == asked(without)
    monkeypatch.delenv("JUDGE_KEY")
    assert claim_run(settings(tmp_path, evaluation=JUDGES)) == first
    assert asked(without) == {"gpt": False, "local": True}
    assert "sk-x" not in (first.folder / "config.yaml").read_text()


def test_a_run_that_began_without_a_key_is_judged_later_by_a_config_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    gpt = {**JUDGES["judges"][0], "benchmarks": ["alpaca_eval"]}
    files = {"alpaca_eval": {"baseline": str(tmp_path / "prompts.jsonl"),
                             "difficulty": None, "gamed": None}}  # fmt: skip
    own = {**JUDGES, "judged_with": files}
    own["benchmarks"] = [{"name": "alpaca_eval", "path": str(tmp_path / "prompts.jsonl")}]

    def with_judge(**more: Any) -> RunConfig:
        return settings(tmp_path, evaluation={**own, "judges": [{**gpt, **more}]}, policy=False)

    make(claim_run(with_judge()))
    with pytest.raises(ConfigDrift, match="--redo evaluation/verdict"):
        claim_run(with_judge(enabled=True))
    again = claim_run(with_judge(enabled=True), again=["evaluation/verdict"])
    made = make(again)
    assert "round-0/evaluation/judgements/gpt/alpaca_eval" in made
    assert {path.partition("/")[2] for path in made} == {
        "evaluation/judgements/gpt/alpaca_eval", "evaluation/win_rates", "evaluation/verdict",
    }  # fmt: skip


@pytest.mark.parametrize("section", ["sampling", "format"])
def test_a_stages_own_date_is_refused_because_the_runs_date_rules(
    tmp_path: Path, section: str
) -> None:
    with pytest.raises(UserError, match=rf"{section}\.date: set the run's own `date`"):
        settings(tmp_path, **{section: {"date": "2024-07-26"}})


def test_a_date_in_yaml_or_on_the_command_line_is_a_day(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(settings(tmp_path).model_dump(mode="json")))
    assert load_config(RunConfig, path, ["date=2024-07-26"]).date == date(2024, 7, 26)
    with pytest.raises(UserError, match="date"):
        load_config(RunConfig, path, ["date=yesterday"])
