"""Scoring with a language model behind an OpenAI-compatible chat endpoint."""

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations
from typing import Any

import httpx
import tenacity

from annotation.answers import Answers
from annotation.config import JudgeConfig
from annotation.scorer import Conversation, Score, by_comparison, checked, transcript
from contracts.errors import OnPolicyError, UserError
from contracts.pipe import alive

_POINTWISE = """Judge the response to the conversation below by its {criteria}.

<conversation>
{conversation}
</conversation>
<response>
{first}
</response>

Give your reasons in a few sentences. End with a line of its own: Score: N
where N is a number from 1 (useless) to 10 (could not be better)."""

_PAIRWISE = """Judge which response to the conversation below is better by its {criteria}.
The order of the two means nothing; a longer one is not better for its length.

<conversation>
{conversation}
</conversation>
<response A>
{first}
</response A>
<response B>
{second}
</response B>

Give your reasons in a few sentences. End with a line of its own: Winner: A
or Winner: B, or Winner: tie where neither is better."""

_SCORE = re.compile(r"^\W*score\W+(\d+(?:\.\d+)?)(?:\s*/\s*10)?\W*$", re.IGNORECASE | re.MULTILINE)
_WINNER = re.compile(r"^\W*winner\W+(a|b|tie)\W*$", re.IGNORECASE | re.MULTILINE)
_RESULTS = {"a": 1.0, "b": -1.0, "tie": 0.0}


class _TryAgain(Exception):
    """The endpoint did not answer, or said that it may later."""


class _Refused(Exception):
    """The endpoint will not answer this question."""


class JudgeScorer:
    """A judge, asked over HTTP; answers come back in the order of the questions."""

    def __init__(
        self, config: JudgeConfig, client: httpx.Client, answers: Answers | None = None
    ) -> None:
        self.config = config
        self._client = client
        self._answers = answers
        self._retry = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_TryAgain),
            wait=tenacity.wait_random_exponential(max=config.resources.longest_wait),
            stop=tenacity.stop_after_attempt(config.resources.attempts),
            reraise=True,
        )

    @property
    def facts(self) -> dict[str, Any]:
        """As `Scorer.facts`."""
        return {"model": self.config.model, "compare": self.config.compare}

    def score(self, conversations: Sequence[Conversation]) -> list[Score]:
        """As `Scorer.score`.

        Raises:
            UserError: the endpoint refuses the key or does not know the model.
            OnPolicyError: it could not be reached, however often it was tried.
        """
        with ThreadPoolExecutor(self.config.resources.concurrency) as pool:
            try:
                if self.config.compare == "pointwise":
                    return self._pointwise(conversations, pool)
                return self._pairwise(conversations, pool)
            except OnPolicyError:
                pool.shutdown(cancel_futures=True)
                raise

    def _pointwise(
        self, conversations: Sequence[Conversation], pool: ThreadPoolExecutor
    ) -> list[Score]:
        questions = [
            self._question(_POINTWISE, conversation, text)
            for conversation in conversations
            for text in conversation.responses
        ]
        return list(map(grade, self._ask_all(questions, pool)))

    def _pairwise(
        self, conversations: Sequence[Conversation], pool: ThreadPoolExecutor
    ) -> list[Score]:
        games: list[tuple[int, int]] = []
        questions: list[str] = []
        start = 0
        for conversation in conversations:
            texts = conversation.responses
            for first, second in permutations(range(len(texts)), 2):
                games.append((start + first, start + second))
                questions.append(
                    self._question(_PAIRWISE, conversation, texts[first], texts[second])
                )
            start += len(texts)
        answers = self._ask_all(questions, pool)
        results = [(*game, winner(answer)) for game, answer in zip(games, answers, strict=True)]
        return by_comparison([Score()] * start, results)

    def _question(
        self, template: str, conversation: Conversation, first: str, second: str = ""
    ) -> str:
        return template.format(
            criteria=self.config.criteria,
            conversation=transcript(conversation.messages),
            first=first,
            second=second,
        )

    def _ask_all(self, questions: Sequence[str], pool: ThreadPoolExecutor) -> Iterator[str]:
        """The answers in order. A question that is asked twice has two answers, two keys."""
        seen: Counter[str] = Counter()
        keys = []
        for question in questions:
            seen[question] += 1
            asked = json.dumps([self.config.name, self._body(question), seen[question]])
            keys.append(hashlib.sha256(asked.encode()).hexdigest())
        return pool.map(self._answer, keys, questions)

    def _answer(self, key: str, question: str) -> str:
        """An answer that was paid for before, or a new one."""
        if self._answers is None:
            return self._ask(question)
        if (known := self._answers.get(key)) is not None:
            return known
        answer = self._ask(question)
        self._answers.put(key, answer)
        return answer

    def _body(self, question: str) -> dict[str, Any]:
        return {
            "model": self.config.model,
            "messages": [{"role": "user", "content": question}],
            "temperature": self.config.temperature,
            "max_tokens": self.config.max_tokens,
        }

    def _ask(self, question: str) -> str:
        """The judge's answer; empty where it will not judge this."""
        try:
            return self._retry(self._request, question)
        except _Refused:
            return ""
        except _TryAgain as error:
            raise OnPolicyError(
                f"annotator {self.config.name!r}: {self.config.base_url} did not answer after "
                f"{self.config.resources.attempts} attempts ({error}); run the same command "
                "again later: every answer that came is kept"
            ) from None

    def _request(self, question: str) -> str:
        alive()
        try:
            response = self._client.post("chat/completions", json=self._body(question))
        except httpx.TransportError as error:
            raise _TryAgain(type(error).__name__) from None
        self._check(response)
        try:
            return response.json()["choices"][0]["message"]["content"] or ""
        except (ValueError, KeyError, IndexError, TypeError):
            raise _TryAgain("an answer that is no chat completion") from None

    def _check(self, response: httpx.Response) -> None:
        """The body of a refusal is never shown: some endpoints repeat the key in it."""
        status = response.status_code
        if status in (401, 403):
            raise UserError(
                f"annotator {self.config.name!r}: {self.config.base_url} refuses the key "
                f"(status {status}); check the environment variable {self.config.api_key_env}"
            )
        if status == 404:
            raise UserError(
                f"annotator {self.config.name!r}: {self.config.base_url} knows no model "
                f"{self.config.model!r}, or is no chat endpoint (status 404)"
            )
        if status in (408, 409, 429) or status >= 500:
            raise _TryAgain(f"status {status}")
        if status != 200:
            raise _Refused


def grade(answer: str) -> Score:
    """The score that a pointwise judgement ends with."""
    found = _SCORE.findall(answer)
    if not found:
        return Score(error="unparsed: the judgement has no line `Score: N`")
    if not 1 <= float(found[-1]) <= 10:
        return Score(error=f"unparsed: the judgement's score is {found[-1]}, not 1 to 10")
    return checked(float(found[-1]))


def winner(answer: str) -> float | None:
    """1 where a comparison ends with A, -1 with B, 0 with a tie, None where it says none."""
    found = _WINNER.findall(answer)
    return _RESULTS[found[-1].lower()] if found else None


def open_judge(config: JudgeConfig, answers: Answers | None = None) -> JudgeScorer:
    """The judge; its key is read from the environment and kept nowhere else.

    Raises:
        UserError: the environment variable that should hold the key is not set.
    """
    headers = {}
    if config.api_key_env is not None:
        key = os.environ.get(config.api_key_env)
        if not key:
            raise UserError(
                f"annotator {config.name!r}: set the environment variable {config.api_key_env} "
                "to the endpoint's key, or `api_key_env: null` where it needs none"
            )
        headers["Authorization"] = f"Bearer {key}"
    limits = httpx.Limits(max_connections=config.resources.concurrency)
    client = httpx.Client(
        base_url=config.base_url.rstrip("/") + "/",
        headers=headers,
        timeout=config.resources.timeout,
        limits=limits,
    )
    return JudgeScorer(config, client, answers)
