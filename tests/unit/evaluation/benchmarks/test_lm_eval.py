"""A task of lm-evaluation-harness on local files: it asks and scores, our engine answers."""

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
from pydantic import ValidationError

from contracts.errors import UserError
from evaluation.benchmarks import LmEvalTask
from evaluation.benchmarks.base import Decoding, Question, digest
from evaluation.benchmarks.lm_eval_task import refuse_no_punkt
from evaluation.benchmarks.questions import read_questions

TASK = """\
task: sums
dataset_path: json
dataset_kwargs: {{data_files: {{test: {path}}}}}
output_type: generate_until
test_split: test
doc_to_text: "What is {{{{question}}}}?"
doc_to_target: "{{{{answer}}}}"
generation_kwargs: {{until: ["\\n"], do_sample: false, max_gen_toks: 32}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
"""


@pytest.fixture
def task(tmp_path: Path) -> LmEvalTask:
    pytest.importorskip("lm_eval", reason="the extra lm-eval is not installed")
    path = tmp_path / "sums.jsonl"
    rows = [{"question": f"{n} + 2", "answer": str(n + 2)} for n in range(3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "sums.yaml").write_text(TASK.format(path=path))
    return LmEvalTask(task="sums", include_path=str(tmp_path / "tasks"))


def test_lm_eval_asks_and_scores_and_our_engine_answers(task: LmEvalTask) -> None:
    questions = read_questions(task, task.source)
    assert questions[0].messages == [{"role": "user", "content": "What is 0 + 2?"}]
    assert task.decoding(questions[0]) == Decoding(0.0, 1.0, 32)
    assert task.metrics(["2\nand more", "3", "five"])["exact_match,none"] == pytest.approx(2 / 3)


def test_a_tasks_questions_can_be_pinned_by_their_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [Question("1", [{"role": "user", "content": "Why?"}])]
    monkeypatch.setattr(LmEvalTask, "collected", lambda _: asked)
    pinned = LmEvalTask(task="sums", questions_sha256=digest(asked))
    assert read_questions(pinned, "x") == asked
    asked.append(asked[0])
    with pytest.raises(UserError, match="sums: its 2 questions are not sums's"):
        read_questions(pinned, "x")


def test_a_file_of_questions_is_not_for_lm_eval_to_read() -> None:
    with pytest.raises(ValueError, match="path: lm-eval knows where its questions lie"):
        LmEvalTask(task="ifeval", path="mine.jsonl")


def test_several_answers_to_a_question_are_refused_for_lm_eval_scores_one() -> None:
    with pytest.raises(ValidationError, match="n 2: lm-eval scores one answer to each question"):
        LmEvalTask(task="ifeval", temperature=0.7, n=2)


def test_without_lm_eval_the_way_to_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.metadata

    def absent(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", absent)
    with pytest.raises(UserError, match=r"pip install 'onpolicy\[lm-eval\]'"):
        _ = LmEvalTask(task="ifeval").source


@pytest.mark.parametrize("is_installed", [False, True])
def test_without_nltks_data_ifeval_is_refused_before_anything_is_asked(
    monkeypatch: pytest.MonkeyPatch, is_installed: bool
) -> None:
    """Stands in for nltk, which comes with lm-eval alone."""

    def find(name: str) -> None:
        raise LookupError(f"Resource {name} not found, in a banner of forty lines")

    nltk = ModuleType("nltk.data")
    nltk.find = find  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "nltk", ModuleType("nltk"))
    monkeypatch.setitem(sys.modules, "nltk.data", nltk if is_installed else None)
    with pytest.raises(UserError, match=r"python -m nltk\.downloader punkt_tab; without a network"):
        refuse_no_punkt("ifeval")
