"""The plan: what each round reads, makes, and in what order."""

from pathlib import Path
from typing import Any

import pytest
from minimal_run import MINIMAL, config

from contracts.config.base import identity
from contracts.errors import UserError
from flows.pipeline.config import RunConfig
from flows.pipeline.folder.run_folder import claim_run, is_finished
from flows.pipeline.planning.plan import plan
from flows.pipeline.planning.step_order import place

JUDGED: dict[str, Any] = {
    "sampling": {"n": 1},
    "benchmarks": ["mt_bench", "gsm8k", "alpaca_eval"],
    "judges": [
        {"name": "second", "model": "b", "enabled": True, "benchmarks": ["mt_bench"]},
        {"name": "first", "model": "a", "enabled": True, "benchmarks": ["alpaca_eval", "mt_bench"]},
    ],
    "judged_with": {"mt_bench": {"references": "gpt-4.jsonl"}},
}


def there(folder: Path, **changes: Any) -> RunConfig:
    """A run on models that lie in a folder: names on the hub are looked up when it is claimed."""
    (folder / "test").mkdir(exist_ok=True)
    rewarded = {"annotators": [{"kind": "armorm", "name": "rm", "path": str(folder)}]}
    own = {"runs_dir": str(folder), "policy": {"path": str(folder)}, "annotation": rewarded}
    return config(**own | changes)


def by_path(settings: RunConfig) -> dict[str, Any]:
    return {step.path: step for step in plan(settings)}


def test_each_round_samples_and_trains_the_policy_of_the_round_before() -> None:
    steps = by_path(config())
    assert steps["round-1/responses"].reads["policy"] == "owner/policy@abc"
    assert steps["round-2/responses"].reads["policy"] == "runs/test/round-1/policy"
    assert steps["round-2/policy"].reads["policy"] == "runs/test/round-1/policy"


def test_every_step_comes_after_those_that_it_reads_from() -> None:
    made: set[str] = set()
    for step in plan(config(rounds=3)):
        inside = {value for value in step.reads.values() if value.startswith("runs/")}
        assert inside <= made, f"{step.path} reads {inside - made} before it is made"
        made.add(str(step.out))


def test_folders_sort_as_the_pipeline_makes_them_wherever_they_lie() -> None:
    """Ten rounds and more, with every step that a config can ask for; another run comes after."""
    changes: dict[str, Any] = {
        "rounds": 11,
        "demonstrations": {},
        "training": {"loss": {"kind": "dpo"}},
        "evaluation": JUDGED,
    }
    steps = [step.out for name in ("one", "two") for step in plan(config(name=name, **changes))]
    assert sorted(set(steps), key=place) == steps


def test_the_best_responses_are_kept_for_sft_where_a_config_asks_for_it() -> None:
    assert "round-1/demonstrations" not in by_path(config())
    step = by_path(config(demonstrations={"min_score": 0.5}))["round-2/demonstrations"]
    assert step.reads["scores"] == "runs/test/round-2/scores"
    assert step.config.min_score == 0.5


def test_rounds_take_disjoint_slices_of_one_order() -> None:
    steps = by_path(config())
    slices = [steps[f"round-{n}/prompts"].config for n in (1, 2)]
    assert [(s.start, s.count) for s in slices] == [(0, 10), (10, 10)]
    assert slices[0].seed == slices[1].seed


def test_adding_a_round_changes_nothing_of_the_rounds_before() -> None:
    two, three = plan(config(rounds=2)), plan(config(rounds=3))
    assert three[: len(two)] == two


def test_no_round_of_any_seed_draws_with_another_rounds_seed() -> None:
    plans = [by_path(config(rounds=4, seed=seed)) for seed in (1, 2, 3)]
    drawn = {steps[f"round-{n}/responses"].config.seed for steps in plans for n in (1, 2, 3, 4)}
    assert len(drawn) == 3 * 4


def test_rounds_draw_with_different_seeds_and_held_out_answers_with_the_same() -> None:
    steps = by_path(config())
    assert steps["round-1/responses"].config.seed != steps["round-2/responses"].config.seed
    answers = [steps[f"round-{n}/evaluation/responses"].config.seed for n in (0, 1, 2)]
    assert len(set(answers)) == 1


@pytest.mark.parametrize(("setting", "second"), [
    ("start", "owner/policy@abc"),
    ("previous", "runs/test/round-1/policy"),
])  # fmt: skip
def test_a_loss_with_a_reference_gets_it_scored_once_a_round(setting: str, second: str) -> None:
    steps = by_path(config(training={"loss": {"kind": "dpo"}}, reference=setting))
    assert steps["round-1/reference"].reads["policy"] == "owner/policy@abc"
    assert steps["round-2/reference"].reads["policy"] == second
    assert steps["round-2/reference"].reads["tokens"] == "runs/test/round-2/tokens"
    assert steps["round-2/policy"].reads["reference"] == "runs/test/round-2/reference"


def test_a_loss_without_a_reference_has_no_such_step() -> None:
    assert "round-1/reference" not in by_path(config())


def test_evaluation_adds_its_own_annotators_to_the_training_ones() -> None:
    truth = {"kind": "function", "name": "truth", "function": "demo.rubric:score"}
    evaluation = {"sampling": {"n": 1, "temperature": 0}, "annotators": [truth]}
    steps = by_path(config(evaluation=evaluation))
    names = [a.name for a in steps["round-1/evaluation/scores"].config.annotators]
    assert names == ["rm", "truth"]
    assert [a.name for a in steps["round-1/scores"].config.annotators] == ["rm"]


def test_benchmarks_are_read_once_and_answered_by_every_rounds_policy() -> None:
    named = ["alpaca_eval", {"name": "gsm8k", "max_tokens": 512}]
    steps = by_path(
        config(evaluation={"sampling": {"n": 4, "max_tokens": 64}, "benchmarks": named})
    )
    assert len([path for path in steps if path.endswith("questions")]) == 1
    for number, policy in enumerate(("owner/policy@abc", "runs/test/round-1/policy")):
        answered = steps[f"round-{number}/evaluation/benchmark_responses"]
        assert answered.inputs.policy == policy
        assert (answered.config.n, answered.config.max_tokens) == (1, 4096)
        label = steps[f"round-{number}/evaluation/answers"].config.label.generator
        assert label == ("policy", "test-round-1")[number]
    assert "round-0/questions" not in by_path(config())


def test_a_run_shares_all_but_its_training_unless_it_is_told_not_to() -> None:
    alone = [step.path for step in plan(config(rounds=2)) if not step.shared]
    assert alone == ["round-1/policy", "round-2/policy"]
    assert not any(step.shared for step in plan(config(rounds=2, resources={"reuse": False})))


def test_judges_judge_the_start_and_every_round_and_a_rounds_win_rates_know_the_one_before() -> (
    None
):
    steps = by_path(config(evaluation=JUDGED))
    root = "runs/test/round-1/evaluation"
    judged = steps["round-1/evaluation/judgements/first/alpaca_eval"]
    assert judged.reads["answers"] == f"{root}/answers"
    assert judged.reads["baseline"].startswith("tatsu-lab/alpaca_eval@2edc6fad")
    assert judged.config.files["baseline"].file == "alpaca_eval_gpt4_baseline.json"
    assert steps["round-0/evaluation/judgements/second/mt_bench"].reads["references"]
    rates = steps["round-1/evaluation/win_rates"].reads
    before = rates["before.first/mt_bench"]
    assert before == "runs/test/round-0/evaluation/judgements/first/mt_bench"
    assert rates["files.alpaca_eval/gamed"].startswith("tatsu-lab/alpaca_eval@")
    decided = steps["round-1/evaluation/verdict"]
    assert decided.reads["win_rates"] == f"{root}/win_rates"
    assert decided.config.judge == "second"


def test_a_judge_that_is_not_asked_leaves_the_plan_as_it_was() -> None:
    asked = {**JUDGED["judges"][0], "enabled": False}
    silent = config(evaluation={**JUDGED, "judges": [asked]})
    assert plan(silent) == plan(config(evaluation={**JUDGED, "judges": []}))


@pytest.mark.parametrize(
    ("judges", "told"),
    [
        (JUDGED["judges"][:1] * 2, "second is there twice"),
        ([{"name": "j", "model": "m", "benchmarks": ["arena_hard"]}], "arena_hard is not answered"),
    ],
)
def test_a_judge_without_a_name_or_work_of_its_own_is_refused(judges: Any, told: str) -> None:
    with pytest.raises(UserError, match=told):
        config(evaluation={**JUDGED, "judges": judges})


def test_a_copied_runs_new_name_drifts_from_no_step() -> None:
    evaluation = {"sampling": {"n": 1}, "benchmarks": ["alpaca_eval"]}
    made, copied = (plan(config(name=name, evaluation=evaluation)) for name in ("base", "copy"))
    assert [identity(step.config) for step in copied] == [identity(step.config) for step in made]
    labels = [step.config.label.generator for step in copied if step.path.endswith("/answers")]
    assert labels == ["policy", "copy-round-1", "copy-round-2"]


def test_a_stages_own_seed_is_refused_because_the_runs_seed_rules() -> None:
    with pytest.raises(UserError, match=r"sampling\.seed: set the run's own `seed`"):
        config(sampling={"n": 4, "seed": 7})


def test_a_run_without_held_out_prompts_is_refused() -> None:
    with pytest.raises(UserError, match=r"prompts\.test_size"):
        config(prompts={"path": "prompts.jsonl"})


@pytest.mark.parametrize("limit", [3, 4])
def test_a_limit_that_holds_every_prompt_out_is_refused(limit: int) -> None:
    with pytest.raises(UserError, match=rf"limit: {limit} prompts, of which test_size holds out 4"):
        config(prompts={**MINIMAL["prompts"], "limit": limit})


def test_a_config_survives_the_round_trip_through_the_runs_folder(tmp_path: Path) -> None:
    settings = there(tmp_path)
    claimed = claim_run(settings)
    assert claim_run(settings) == claim_run(claimed) == claimed
    assert not is_finished(settings)


def test_rounds_and_resources_may_change_between_two_starts(tmp_path: Path) -> None:
    claim_run(there(tmp_path))
    resources = {"resources": {"processes": 8}}
    assert claim_run(there(tmp_path, rounds=3, training=resources)).rounds == 3


PAIRRM = {"kind": "pairwise", "name": "pairrm", "path": "owner/pairrm"}
JUDGE = {"kind": "judge", "name": "judge", "model": "m"}


def annotated(
    *annotators: dict[str, Any], evaluation: tuple[dict[str, Any], ...] = ()
) -> RunConfig:
    held_out = MINIMAL["evaluation"] | {"annotators": list(evaluation)}
    decides = {"annotator": annotators[0]["name"]}
    return config(annotation={"annotators": list(annotators)}, evaluation=held_out, pairs=decides)


@pytest.mark.parametrize("annotators", [(PAIRRM,), (PAIRRM, JUDGE)])
def test_a_run_that_cannot_tell_policies_apart_is_refused_at_the_start(
    annotators: tuple[dict[str, Any], ...],
) -> None:
    with pytest.raises(UserError, match=r"pairrm.* says nothing of one policy.*; add an annotator"):
        annotated(*annotators)


def test_held_out_answers_are_scored_by_those_that_need_no_other_answers() -> None:
    reward = {"kind": "armorm", "name": "rm", "path": "owner/reward"}
    alone = {**JUDGE, "name": "grades", "compare": "pointwise"}
    members = [{"name": "rm"}, {"name": "pairrm"}]
    both = {"kind": "ensemble", "name": "both", "members": members}
    ranks = {**both, "name": "ranks", "members": [{"name": "rm"}, {"name": "grades"}]}
    sums = {**ranks, "name": "sums"}
    ranks["scale"] = "prompt"
    annotators = (PAIRRM, reward, both, alone, ranks, sums)
    steps = by_path(annotated(*annotators, evaluation=(JUDGE,)))
    held_out = steps["round-1/evaluation/scores"]
    assert [a.name for a in held_out.config.annotators] == ["rm", "grades", "sums"]
    assert "models.pairrm" not in held_out.reads
    assert "models.pairrm" in steps["round-1/scores"].reads
    assert len(steps["round-1/scores"].config.annotators) == len(annotators)


def test_a_pairwise_annotator_may_have_another_beside_it_for_the_evaluation_alone() -> None:
    reward = {"kind": "armorm", "name": "rm", "path": "owner/reward"}
    steps = by_path(annotated(PAIRRM, evaluation=(reward,)))
    assert [a.name for a in steps["round-0/evaluation/scores"].config.annotators] == ["rm"]
    assert [a.name for a in steps["round-1/scores"].config.annotators] == ["pairrm"]


def test_each_round_ends_with_a_verdict_on_all_that_it_measured() -> None:
    truth = {"kind": "function", "name": "truth", "function": "demo.rubric:score"}
    evaluation = {"sampling": {"n": 1}, "annotators": [truth], "verdict": {"max_drift": 0.1}}
    steps = plan(config(evaluation=evaluation))
    assert [step.path for step in steps if step.round == 2][-1] == "round-2/evaluation/verdict"
    step = steps[-1]
    assert step.reads["start_scores"] == "runs/test/round-0/evaluation/scores"
    assert step.reads["before_responses"] == "runs/test/round-1/evaluation/responses"
    assert "after_answers" not in step.reads
    decided = step.config.model_dump()
    assert (decided["trained_by"], decided["second"]) == ("rm", "truth")
    assert decided["limits"]["max_drift"] == 0.1
    asked = plan(config(evaluation=evaluation | {"benchmarks": ["gsm8k"]}))[-1]
    assert asked.reads["before_answers"] == "runs/test/round-1/evaluation/answers"


def test_a_member_of_the_ensemble_that_makes_the_pairs_is_no_second_annotator() -> None:
    rewards = [{"kind": "armorm", "name": name, "path": "owner/rm"} for name in ("a", "b", "c")]
    both = {"kind": "ensemble", "name": "both", "members": [{"name": "a"}, {"name": "b"}]}
    annotation = {"annotators": [*rewards, both]}
    assert config(annotation=annotation, pairs={"annotator": "both"}).second_annotator(1) == "c"
    assert config(annotation=annotation, pairs={"annotator": "a"}).second_annotator(1) == "b"
    assert config().second_annotator(1) is None
