"""A judging stage is killed: no judgement that came is paid for again."""

import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from checkout import CHECKOUT
from judge_endpoint import KEY, Endpoint
from judging_files import completion, llm_judge, write_outputs

from contracts.steps.manifest import read_manifest
from contracts.steps.step import claim
from evaluation.judge import STAGE
from evaluation.judging.config import JudgingConfig

pytestmark = pytest.mark.engine

PLACES = 2


def instruction(question: str) -> str:
    return re.findall(r'"instruction": """(.*)"""', question)[0]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Two files of answers to 60 questions."""
    asked = [f"question {n}" for n in range(60)]
    return {
        name: str(write_outputs(tmp_path / f"{name}.json", {q: f"{name} {q}" for q in asked}, name))
        for name in ("answers", "baseline")
    }


def test_a_killed_stage_asks_only_what_was_not_answered(
    files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    sold: Counter[str] = Counter()

    def answer(question: str) -> bytes:
        time.sleep(0.02)
        sold[instruction(question)] += 1
        return completion("m", {"m": -0.05, "M": -3.0})

    endpoint = Endpoint(answer)
    resources = {"concurrency": PLACES, "most_concurrency": PLACES}
    judge = llm_judge(endpoint.url, resources=resources)
    out = tmp_path / "out"
    claim(STAGE, JudgingConfig(benchmark="alpaca_eval", judge=judge), files, out)
    command = [sys.executable, "-m", "evaluation.judge", str(out / "_step.json")]
    for killed_at in (12, 40):
        stage = subprocess.Popen(command, cwd=CHECKOUT, stderr=subprocess.PIPE)
        while sum(sold.values()) < killed_at:
            assert stage.poll() is None, stage.communicate()[1]
            time.sleep(0.001)
        stage.kill()
        stage.communicate()
        assert (out / ".replies.jsonl").read_bytes().count(b"\n") >= killed_at - 2 * PLACES
    subprocess.run(command, cwd=CHECKOUT, check=True)
    endpoint.server.shutdown()
    endpoint.server.server_close()
    assert len(sold) == 60
    # What was in flight at a kill was asked again, and nothing else.
    assert sum(sold.values()) <= 60 + 2 * PLACES
    assert read_manifest(out) is not None
