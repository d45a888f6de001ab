"""RewardBench 2's questions: a prompt, right answers and wrong ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts.errors import UserError
from contracts.models.hub import dataset_file, is_hub_id
from generation.sources.columns import read_records

_HUB_FILE = "data/test-00000-of-00001.parquet"
TIES = "Ties"


@dataclass(frozen=True)
class Case:
    """One prompt with its answers, the right ones first."""

    case_id: str
    """In Ties `tied:7`, with several right answers, or `ref:7`, the like with one."""
    subset: str
    prompt: str
    answers: Sequence[str]
    correct: int
    """How many of the answers are right."""

    @property
    def key(self) -> str:
        """A name that no other case of any subset has."""
        return f"{self.subset}-{self.case_id}"


def read_cases(source: str) -> list[Case]:
    """The cases of a file of RewardBench 2's schema, or of a dataset on the hub, as
    `owner/name@revision`.

    Raises:
        UserError: the file cannot be had or read, or a row is of another shape or there twice.
    """
    path = dataset_file(source, _HUB_FILE) if is_hub_id(source) else Path(source)
    cases: dict[str, Case] = {}
    for origin, record in read_records(path):
        case = _case(origin, record)
        if case.key in cases:
            raise UserError(f"{origin}: id {case.case_id!r} of {case.subset} stands there twice")
        cases[case.key] = case
    if not cases:
        raise UserError(f"{path}: holds no question")
    return list(cases.values())


def _case(origin: str, record: dict[str, Any]) -> Case:
    texts = {key: record.get(key) for key in ("prompt", "subset")}
    for key, value in texts.items():
        if not isinstance(value, str) or not value:
            raise UserError(f"{origin}: `{key}` is to be a text, it is {value!r:.60}")
    chosen, rejected = (_answers(origin, record, key) for key in ("chosen", "rejected"))
    if (told := record.get("num_correct")) not in (None, len(chosen)):
        raise UserError(f"{origin}: `num_correct` is {told}, `chosen` holds {len(chosen)} answers")
    case_id = str(record.get("id", ""))
    subset = str(texts["subset"])
    if subset == TIES and case_id.partition(":")[0] not in ("tied", "ref"):
        raise UserError(f"{origin}: `id` is {case_id!r}; in Ties it is 'tied:N' or 'ref:N'")
    return Case(case_id, subset, str(texts["prompt"]), [*chosen, *rejected], len(chosen))


def _answers(origin: str, record: dict[str, Any], key: str) -> list[str]:
    answers = record.get(key)
    if not isinstance(answers, list) or not all(isinstance(a, str) for a in answers) or not answers:
        raise UserError(f"{origin}: `{key}` is to be a list of at least one answer")
    return answers
