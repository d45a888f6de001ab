"""A run loads from the hub what its names stood for when it was claimed, wherever they move."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from checkout import CHECKOUT
from huggingface_hub import constants
from small_hub import SmallHub
from tiny_armorm import write_armorm

from contracts.config.base import check
from contracts.errors import UserError
from contracts.models.hub import commit_of, may_move
from flows.pipeline.config import RunConfig
from flows.pipeline.planning.plan import plan
from generation.engines.adapter import resolve

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

COMMIT = "c" * 40
MINIMAL: dict[str, Any] = {
    "name": "test", "rounds": 2, "policy": {"path": "owner/both"},
    "prompts": {"path": "owner/both", "test_size": 4}, "sampling": {"n": 4}, "training": {},
    "annotation": {"annotators": [{"kind": "armorm", "name": "rm", "path": "owner/reward"}]},
    "evaluation": {"sampling": {"n": 1, "temperature": 0}},
}  # fmt: skip

# As the stages do it: every reference of the plan, by the loader of the stage that reads it.
PROGRAM = """
import json, sys
from pathlib import Path

import torch

from annotation.armorm.model import load_armorm
from contracts.config.base import check
from contracts.models.model import load_tokenizer
from flows.pipeline.config import RunConfig
from flows.pipeline.planning.plan import plan
from flows.pipeline.folder.run_folder import claim_run
from generation.engines.transformers import _load
from generation.sources.columns import read_column
from training.config import TrainResources
from training.loop.policy import load_policy

cpu = torch.device("cpu")


def first(model):
    return float(next(model.parameters()).detach().flatten()[0])


def loaded(config):
    steps = {step.path: step.reads for step in plan(config)}
    policy = steps["round-1/policy"]["policy"]
    training = TrainResources(strategy="none")
    return {
        "commits": config.commits,
        "date": str(config.policy.date),
        "policy": policy,
        "tokenizer": load_tokenizer(policy).chat_template[-5:],
        "trained": first(load_policy(policy, training, torch.float32)),
        "sampled": first(_load(steps["round-1/responses"]["policy"], "float32", cpu)),
        "scored": first(load_armorm(steps["round-1/scores"]["models.rm"], cpu, torch.float32)),
        "prompts": [text for _, text in read_column(steps["prompts"]["sources.0"], ["prompt"])],
    }


for line in sys.stdin:
    config = check(RunConfig, json.loads(line), "test")
    config.folder.mkdir(exist_ok=True)
    print(json.dumps(loaded(claim_run(config))), flush=True)
"""


@pytest.fixture
def worlds(
    tmp_path: Path, tiny_gemma: Path, tiny_llama_tokenizer: "PreTrainedTokenizerFast"
) -> dict[str, dict[str, Path]]:
    """Two commits, `a` and `b`, of a policy, a reward model and a dataset of prompts."""
    from safetensors.torch import load_file, save_file

    found = {}
    for number, name in enumerate("ab"):
        root = tmp_path / name
        policy, reward, data = root / "policy", root / "reward", root / "data"
        shutil.copytree(tiny_gemma, policy)
        write_armorm(reward, tiny_llama_tokenizer)
        data.mkdir()
        (data / "train.jsonl").write_text(json.dumps({"prompt": f"question {name}"}) + "\n")
        for folder in (policy, reward):
            weights = load_file(folder / "model.safetensors")
            for value in weights.values():
                value.fill_(float(number + 1))
            save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        template = policy / "chat_template.jinja"
        # The newer template reads the clock besides.
        template.write_text(
            template.read_text() + ("{# a", "{{ strftime_now('') }}{# b")[number] + " #}"
        )
        found[name] = {"policy": policy, "reward": reward, "data": data}
    return found


def push(hub: SmallHub, world: dict[str, Path]) -> dict[str, str]:
    """Move every `main` on; the commits by name."""
    return {
        "owner/policy": hub.push("owner/policy", world["policy"]),
        "owner/reward": hub.push("owner/reward", world["reward"]),
        "datasets/owner/prompts": hub.push("owner/prompts", world["data"], "datasets"),
    }


class Starts:
    """Runs claimed in another process, whose environment names the hub; what each has loaded."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        own = {"HF_ENDPOINT": endpoint, "HF_HOME": str(folder / "cache")}
        online = {"HF_HUB_OFFLINE": "0", "HF_DATASETS_OFFLINE": "0"}
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM], cwd=CHECKOUT, env={**os.environ, **own, **online},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def start(self, name: str) -> dict[str, Any]:
        """Claim a run on three names of the hub, and load what its stages read."""
        rewards = {"kind": "armorm", "name": "rm", "path": "owner/reward"}
        prompts = {"path": "owner/prompts", "test_size": 4}
        config = {
            "name": name, "runs_dir": str(self._folder), "policy": {"path": "owner/policy"},
            "prompts": prompts, "sampling": {"n": 4}, "training": {},
            "annotation": {"annotators": [rewards]},
            "evaluation": {"sampling": {"n": 1, "temperature": 0}},
        }  # fmt: skip
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(config) + "\n")
        self._process.stdin.flush()
        return dict(json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        """Let the process go."""
        self._process.kill()
        self._process.communicate()


def test_a_run_keeps_loading_the_commits_that_it_was_claimed_with(
    tmp_path: Path, worlds: dict[str, dict[str, Path]]
) -> None:
    hub = SmallHub()
    old = push(hub, worlds["a"])
    with hub.serve() as endpoint, closing(Starts(tmp_path, endpoint)) as runs:
        first = runs.start("run")
        new = push(hub, worlds["b"])
        again, other = runs.start("run"), runs.start("other")
    assert first["commits"] == old
    assert first["policy"] == f"owner/policy@{old['owner/policy']}"
    assert first["tokenizer"].endswith("a #}")
    assert first["trained"] == first["sampled"] == first["scored"] == 1.0
    assert first["prompts"] == ["question a"]
    assert again == first
    assert other["commits"] == new
    assert other["trained"] == other["sampled"] == other["scored"] == 2.0
    assert other["prompts"] == ["question b"]
    assert first["date"] == "None" and other["date"] == str(date.today())


def test_what_the_hub_does_not_hold_is_refused_when_the_run_is_claimed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with SmallHub().serve() as endpoint:
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        for kind in ("model", "dataset"):
            with pytest.raises(UserError, match=f"owner/none: no {kind} on the hub for us: 404"):
                commit_of(kind, "owner/none")
    with pytest.raises(UserError, match=r"the hub cannot be reached: .*; with HF_HUB_OFFLINE=1"):
        commit_of("model", "owner/none")


def test_without_a_network_it_is_the_commit_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    refs = tmp_path / "models--owner--policy" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text("a" * 40)
    assert commit_of("model", "owner/policy") == commit_of("model", "owner/policy@main") == "a" * 40
    for kind, name in (("model", "owner/policy@other"), ("dataset", "owner/policy")):
        with pytest.raises(UserError, match=f"the cache holds no revision .* of this {kind}"):
            commit_of(kind, name)


def test_an_adapters_base_is_loaded_by_its_commit_too(tmp_path: Path) -> None:
    settings = {"base_model_name_or_path": "owner/base", "r": 8}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    own = {"path": str(tmp_path)}
    config = check(RunConfig, MINIMAL | {"policy": own, "commits": {"owner/base": COMMIT}}, "test")
    inputs = {step.path: step.reads for step in plan(config)}
    assert inputs["round-0/evaluation/responses"]["base"] == f"owner/base@{COMMIT}"
    asked = inputs["round-1/responses"]
    assert resolve(asked["policy"], asked["base"]).model == f"owner/base@{COMMIT}"
    assert "base" not in inputs["round-2/responses"]  # a whole model by then


@pytest.mark.parametrize(("reference", "moves"), [
    ("owner/name", True), ("owner/name@main", True), ("owner/name@v1.0", True),
    (f"owner/name@{COMMIT}", False), ("tests/unit", False), ("prompts/none.jsonl", False),
])  # fmt: skip
def test_a_commit_and_what_lies_on_this_machine_need_no_hub(reference: str, moves: bool) -> None:
    assert may_move(reference) == moves


def test_a_model_and_a_dataset_of_one_name_are_two(tmp_path: Path) -> None:
    commits = {"owner/both": "a" * 40, "datasets/owner/both": "b" * 40}
    config = check(RunConfig, MINIMAL | {"commits": commits}, "test")
    steps = {step.path: step.reads for step in plan(config)}
    assert steps["prompts"]["sources.0"] == f"owner/both@{'b' * 40}"
    assert steps["round-1/responses"]["policy"] == f"owner/both@{'a' * 40}"
