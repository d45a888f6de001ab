"""The recipes of docs/extend.md, installed as the package that the page describes."""

import math
import re
import sys
import tomllib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from checkout import CHECKOUT
from packages import install

from annotation.annotators.base import ScoreResources, Setting
from annotation.config import PairsConfig, ScoreConfig
from annotation.scorers.protocol import Conversation
from annotation.selection.pairs import select_pairs
from annotation.selection.ranking import Candidates
from contracts.config.base import check
from generation.config import SampleConfig
from generation.engines import Job
from generation.engines.requests import Request, Sample
from training.config import TrainConfig
from training.losses.base import PairLogprobs, ResponseLogprobs, pair_losses

PAGE = (CHECKOUT / "docs" / "extend.md").read_text()
RECIPES = dict(re.findall(r"```python\n# (\w+)\.py\n(.*?)```", PAGE, re.DOTALL))


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's modules and entry points, on the path."""
    (written,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    groups = tomllib.loads(written)["project"]["entry-points"]
    points = {f"{group}:{k}": v for group, named in groups.items() for k, v in named.items()}
    install(tmp_path, "my-variants", points, RECIPES)
    monkeypatch.syspath_prepend(tmp_path)
    for module in RECIPES:
        monkeypatch.delitem(sys.modules, module, raising=False)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_at_most_30_lines(name: str) -> None:
    assert len(RECIPES[name].splitlines()) <= 30


def test_the_loss_computes_from_log_probs() -> None:
    config = check(TrainConfig, {"loss": {"kind": "log_ratio", "beta": 3}}, origin="page").loss
    chosen, rejected = (
        ResponseLogprobs(torch.tensor([total], requires_grad=True), torch.tensor([2.0]))
        for total in (-2.0, -4.0)
    )
    losses = pair_losses(config, PairLogprobs(chosen, rejected))
    assert losses.loss.item() == pytest.approx(math.log(1 + math.exp(-3)))
    losses.loss.sum().backward()
    assert chosen.total.grad is not None
    assert chosen.total.grad.item() < 0


def test_the_annotator_scores_two_texts() -> None:
    words = {"kind": "words", "name": "mine"}
    (annotator,) = check(ScoreConfig, {"annotators": [words]}, origin="page").annotators
    scorer = annotator.build(Setting(ScoreResources()))
    messages = [{"role": "user", "content": "Say it."}]
    scores = scorer.score([Conversation(messages, ["so so", "this and that"])])  # type: ignore
    assert [score.score for score in scores] == [1, 3]


def test_the_engine_answers_a_request() -> None:
    config = check(SampleConfig, {"engine": "parrot"}, origin="page")
    engine = config.engine.build(Job("owner/name", config, [7], 8, 64))
    engine.add([Request("prompt", 0, 1, [3, 4])])
    assert engine.step() == [Sample("prompt-0", [3, 4, 7], "stop")]
    assert engine.step() == []


def test_the_strategy_picks_a_pair() -> None:
    config = check(PairsConfig, {"strategy": "neighbours"}, origin="page")
    candidates = Candidates(
        prompt=np.zeros(4, np.int32),
        score=np.array([0.1, 0.9, 0.3, 0.2]),
        tokens=np.full(4, 10),
        truncated=np.zeros(4, bool),
        text=pa.array(["a", "b", "c", "d"]),
    )
    selection = select_pairs(config, candidates, pa.array(["p"]))
    assert (selection.chosen.tolist(), selection.rejected.tolist()) == ([1], [3])
