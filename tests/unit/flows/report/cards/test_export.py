"""What leaves a run: a policy with its card, a push with the token that was given for it."""

import resource
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from huggingface_hub import ModelCard
from made_facts import made_facts

from contracts.errors import UserError
from contracts.steps.manifest import (
    Manifest,
    Result,
    read_manifest,
    save_manifest,
    write_manifest,
)
from contracts.tables.schemas import METRICS
from flows.report.cards.export import Push, export
from flows.report.cards.hub import hub_id, public
from flows.report.cards.model_card import write_model_card
from flows.report.run_data import RoundData, finished_rounds
from runtime.stage_process import describe

CONFIG: dict[str, Any] = {
    "policy": {"path": "google/gemma-2-9b-it", "revision": None, "bos": "template",
               "date": None},
    "prompts": {"path": "HuggingFaceH4/ultrafeedback_binarized", "sources": []},
    "sampling": {"n": 5, "temperature": 0.8, "top_p": 0.95},
    "annotation": {
        "annotators": [
            {"kind": "armorm", "name": "armorm", "path": "/secret/place/armorm"},
            {"kind": "judge", "name": "judge", "base_url": "https://me:key@judge.example/v1"},
        ]
    },
    "format": {"format": "standard", "max_length": 2048, "truncation": "drop"},
    "training": {
        "loss": {"kind": "simpo", "beta": 10.0, "gamma_beta_ratio": 0.5}, "lora": None,
        "learning_rate": 8e-7, "schedule": "cosine", "warmup_ratio": 0.1, "global_batch": 128,
        "epochs": 1, "resources": {"cluster": {"address": "10.0.0.7:6379"}},
    },
}  # fmt: skip
GAIN = {"mean": 0.1, "low": 0.05, "high": 0.2, "confidence": 0.95, "prompts": 64,
        "at_lowest": 0.05, "at_highest": 0.2, "verdict": "better"}  # fmt: skip
SHARES = {name: {"start": 0.0, "before": 0.0, "after": 0.0} for name in ("unscored", "cut")}
TRAINED = {"steps": 469, "pairs": 60_000, "processes": 8, "engine": "DeepSpeedEngine",
           "zero_stage": 3, "metrics": {"loss": 0.5}}  # fmt: skip


def finish(folder: Path, stage: str, **facts: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_manifest(folder, stage, Result(60_000, {"tie": 7}, made_facts(facts)), Manifest.clock())


def write_model_cards(run: Path) -> None:
    for data in finished_rounds(run):
        write_model_card(data, data.folder / "policy")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    root = tmp_path / "gemma"
    made = root / "round-1"
    policy = made / "policy"
    policy.mkdir(parents=True)
    (root / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    for name in ("responses", "scores", "pairs", "tokens"):
        finish(made / name, name)
    rows = [{"step": step, "name": name, "value": step / 10}
            for name in ("loss", "rewards/margins") for step in range(1, 10)]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows, schema=METRICS), policy / "metrics.parquet")
    (policy / "model.safetensors").write_bytes(b"weights")
    (policy / "config.json").write_text("{}")
    (policy / "_step.json").write_text(f'{{"inputs": "{tmp_path}"}}')
    (policy / ".tensorboard").mkdir()
    (policy / ".tensorboard" / "events").write_bytes(b"")
    finish(policy, "training.train", **TRAINED)
    means = {"start": 0.1, "before": 0.1, "after": 0.2}
    gain = {**means, "over_start": GAIN, "over_before": GAIN, **SHARES}
    finish(made / "evaluation" / "comparison", "evaluation.compare", gains={"armorm": gain})
    return root


def test_the_card_says_what_the_hub_and_a_reader_look_for(run: Path) -> None:
    write_model_cards(run)
    card = ModelCard.load(run / "round-1" / "policy" / "README.md")
    assert card.data.base_model == "google/gemma-2-9b-it"
    assert card.data.datasets == ["HuggingFaceH4/ultrafeedback_binarized"]
    assert (card.data.pipeline_tag, card.data.library_name) == ("text-generation", "transformers")
    assert "simpo" in card.data.tags
    for text in (
        "beta 10.0, gamma_beta_ratio 0.5", "8e-07, cosine", "469 steps", "60,000 pairs", "7 tie",
        "+0.1000 [+0.0500, +0.2000]", "64 held-out prompts", "vllm serve", "| 9 | 0.9 | 0.9 |",
        "ZeRO stage 3", "its license holds", "transformers ",
    ):  # fmt: skip
        assert text in card.text, text
    assert (run / "round-1" / "policy" / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_card_of_a_round_tells_its_own_settings(run: Path) -> None:
    for first, rate in ((1, "3e-05"), (2, "4e-05")):
        rules = {
            "by_round": {str(first): {"sampling": {}, "training": {"learning_rate": float(rate)}}}
        }
        (run / "config.yaml").write_text(yaml.safe_dump(CONFIG | rules))
        write_model_card(RoundData(run / "round-1"), run)
        assert (rate in (run / "README.md").read_text()) == (first == 1)


def test_a_policy_whose_weights_were_freed_is_no_model_to_export(run: Path, tmp_path: Path) -> None:
    policy = run / "round-1" / "policy"
    manifest = read_manifest(policy)
    assert manifest
    save_manifest(policy, replace(manifest, freed={"model.safetensors": "a hash"}))
    with pytest.raises(UserError, match=r"freed by .onpolicy prune.*--redo round-1/policy"):
        export(policy, tmp_path / "model", None)


def test_no_card_holds_a_path_a_host_or_a_credential(run: Path) -> None:
    write_model_cards(run)
    card = (run / "round-1" / "policy" / "README.md").read_text()
    assert ".../armorm" in card
    for private in ("/secret", "me:key", "10.0.0.7", str(run.parent)):
        assert private not in card, private


def test_a_card_is_the_same_each_time_and_no_part_of_the_policy(run: Path) -> None:
    from contracts.steps.fingerprint import of_input

    policy = run / "round-1" / "policy"
    before = of_input(str(policy))
    write_model_cards(run)
    first = [(policy / name).read_bytes() for name in ("README.md", "curves.png")]
    write_model_cards(run)
    assert [(policy / name).read_bytes() for name in ("README.md", "curves.png")] == first
    assert of_input(str(policy)) == before


def test_the_card_says_the_date_that_a_template_with_a_clock_was_told(run: Path) -> None:
    data = RoundData(run / "round-1")
    write_model_card(data, run)
    assert "reads the clock" not in (run / "README.md").read_text()
    own = CONFIG | {"policy": CONFIG["policy"] | {"date": "2026-03-02"}}
    (run / "config.yaml").write_text(yaml.safe_dump(own))
    write_model_card(data, run)
    assert (
        "reads the clock: in every round it was told that the day is 2026-03-02"
        in (run / "README.md").read_text()
    )


def test_a_run_on_files_of_ones_own_names_no_hub_ids(run: Path) -> None:
    own = CONFIG | {"policy": {**CONFIG["policy"], "path": str(run)},
                    "prompts": {"path": "data/mine.jsonl", "sources": []}}  # fmt: skip
    (run / "config.yaml").write_text(yaml.safe_dump(own))
    write_model_card(RoundData(run / "round-1"), run)
    card = ModelCard.load(run / "README.md")
    assert (card.data.base_model, card.data.datasets) == (None, None)


def test_a_policy_is_exported_without_what_belongs_to_its_making(run: Path, tmp_path: Path) -> None:
    target = tmp_path / "model"
    export(run / "round-1" / "policy", target, None)
    assert sorted(str(path.relative_to(target)) for path in target.rglob("*")) == [
        "README.md", "config.json", "curves.png", "metrics.parquet", "model.safetensors",
    ]  # fmt: skip


def test_a_model_that_a_full_disk_cut_leaves_nothing_and_is_exported_by_the_same_command(
    run: Path, tmp_path: Path
) -> None:
    policy, target = run / "round-1" / "policy", tmp_path / "model"
    (policy / "model.safetensors").write_bytes(bytes(200_000))
    (policy / "_manifest.json").unlink()
    finish(policy, "training.train", **TRAINED)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        with pytest.raises(OSError) as failed:
            export(policy, target, None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert f"({target}/" in describe(failed.value)
    assert not target.exists()
    (target / ".unfinished").mkdir(parents=True)  # as a kill leaves it
    export(policy, target, None)
    assert (target / "model.safetensors").stat().st_size == 200_000
    assert not (target / ".unfinished").exists()


def test_a_damaged_round_is_refused_with_the_way_out(run: Path, tmp_path: Path) -> None:
    (run / "round-1/scores/part-00000.parquet").write_bytes(b"scores")
    finish(run / "round-1/scores", "scores")
    (run / "round-1/scores/part-00000.parquet").unlink()
    with pytest.raises(
        UserError, match=r"part-00000\.parquet is gone; put back .*--redo round-1/sc"
    ):
        export(run / "round-1", tmp_path / "out", None)
    assert not (tmp_path / "out").exists()


def test_a_target_that_cannot_be_made_is_refused_at_once(run: Path) -> None:
    with pytest.raises(UserError, match="/proc/none: cannot be made or written to"):
        export(run / "round-1", Path("/proc/none"), None)


def test_a_folder_that_is_neither_round_nor_policy_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no round and no round's policy"):
        export(run / "round-1" / "tokens", tmp_path / "out", None)
    with pytest.raises(UserError, match="is not empty"):
        export(run / "round-1" / "policy", run, None)


def test_a_whole_run_is_answered_with_the_rounds_that_can_be_named(
    run: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as refused:
        export(run, tmp_path / "out", None)
    assert str(refused.value) == f"{run}: is a whole run; name a round of it: {run}/round-1"


def test_a_push_without_a_token_is_refused_before_anything_is_copied(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(UserError, match="set HF_TOKEN"):
        export(run / "round-1" / "policy", tmp_path / "out", Push("me/model"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("private", [True, False])
def test_a_push_asks_the_hub_for_a_private_model_unless_told_otherwise(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, private: bool
) -> None:
    calls: list[tuple[str, Any]] = []

    class Hub:
        def __init__(self, token: str) -> None:
            calls.append(("token", token))

        def create_repo(self, repository: str, **asked: Any) -> None:
            calls.append((repository, asked))

        def upload_folder(self, **asked: Any) -> None:
            calls.append(("upload", asked))

    monkeypatch.setenv("HF_TOKEN", "hf_test")
    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    target = tmp_path / "out"
    push = Push("me/model") if private else Push("me/model", private=False)
    export(run / "round-1" / "policy", target, push)
    assert calls == [
        ("token", "hf_test"),
        ("me/model", {"repo_type": "model", "private": private, "exist_ok": True}),
        ("upload", {"folder_path": target, "repo_id": "me/model", "repo_type": "model"}),
    ]
    assert 'from_pretrained("me/model"' in (target / "README.md").read_text()


def test_a_hub_that_refuses_is_one_message(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"not/a/name: cannot be pushed to: .*The model lies in"):
        export(run / "round-1" / "policy", tmp_path / "out", Push("not/a/name"))


@pytest.mark.parametrize(("reference", "found"), [
    ("google/gemma-2-9b-it", "google/gemma-2-9b-it"), (".cache/demo", None), ("/models/x", None),
    ("data/mine.jsonl", None), ("one/two/three", None), (None, None),
])  # fmt: skip
def test_hub_ids_are_told_from_paths(reference: str | None, found: str | None) -> None:
    assert hub_id(reference) == found


def test_what_is_public_keeps_all_else() -> None:
    config = {"a": [1, None, "x/y", "~/models/p"], "url": "https://h.example/v1", "resources": {}}
    assert public(config) == {"a": [1, None, "x/y", ".../p"], "url": "https://h.example/v1"}
