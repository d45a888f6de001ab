"""Scoring with a language model behind an OpenAI-compatible chat endpoint."""

import hashlib
import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, permutations
from typing import TYPE_CHECKING, Any

from annotation.config import JudgeConfig
from annotation.scorers.completion import NoCompletion, read_completion
from annotation.scorers.judge_answers import JudgeAnswers
from annotation.scorers.judgement import PAIRWISE, POINTWISE, Refusal, grade, winner
from annotation.scorers.protocol import Conversation, Score, by_comparison, transcript
from contracts.errors import OnPolicyError, UserError
from runtime.pool.messages import heartbeat

if TYPE_CHECKING:
    from openai import APIStatusError, OpenAI

_HARMLESS = POINTWISE.format(
    criteria="correctness", conversation="user: What is 2 + 2?", first="2 + 2 is 4."
)
"""Asked where the first question is refused: a judge that refuses this one will answer none."""
_ACCOUNT = {
    401: "refuses the key; check the environment variable that `api_key_env` names",
    402: "wants to be paid first",
    403: "does not let the key in",
    404: "knows no such model, or is no chat endpoint; check `model` and `base_url`",
}
"""Refusals that the next question would meet as well."""
_LATER = (408, 409, 429)
"""Refusals that the client has tried again; so it has those from 500 on."""


class JudgeScorer:
    """A judge, asked over HTTP; answers come back in the order of the questions."""

    def __init__(
        self, config: JudgeConfig, client: "OpenAI", answers: JudgeAnswers | None = None
    ) -> None:
        self.config = config
        self._client = client
        self._answers = answers
        self._has_answered = False
        self._headers = _headers(config)

    @property
    def facts(self) -> dict[str, Any]:
        """As `Scorer.facts`."""
        return {"model": self.config.model, "compare": self.config.compare}

    def score(self, conversations: Sequence[Conversation]) -> list[Score]:
        """As `Scorer.score`.

        Raises:
            UserError: the endpoint refuses the key, the account or the model, at any time, or
                its first question and a harmless one for whatever reason.
            OnPolicyError: it could not be reached, or sent no chat completion, however often it
                was tried.
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
            self._question(POINTWISE, conversation, text)
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
                    self._question(PAIRWISE, conversation, texts[first], texts[second])
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

    def _ask_all(
        self, questions: Sequence[str], pool: ThreadPoolExecutor
    ) -> Iterator[str | Refusal]:
        """The answers in order. A question that is asked twice has two answers, two keys."""
        seen: Counter[str] = Counter()
        keys = []
        for question in questions:
            seen[question] += 1
            asked = json.dumps([self.config.name, self._body(question), seen[question]])
            keys.append(hashlib.sha256(asked.encode()).hexdigest())
        asking = list(zip(keys, questions, strict=True))
        first = self._ask_first(asking)
        return chain(first, pool.map(lambda one: self._answer(*one), asking[len(first) :]))

    def _ask_first(self, asking: Sequence[tuple[str, str]]) -> list[str | Refusal]:
        """The first question alone, so that a judge that will answer none has refused few."""
        if self._has_answered or not asking:
            return []
        first = self._answer(*asking[0])
        if isinstance(first, Refusal) and not self._answered_before():
            harmless = self._ask(_HARMLESS)
            if isinstance(harmless, Refusal):
                raise self._stop(harmless, "refused the first question and a harmless one")
        self._has_answered = True
        return [first]

    def _answered_before(self) -> bool:
        """Whether another process, or this one's predecessor, got an answer from this judge."""
        return self._answers is not None and self._answers.any_of(self.config.name)

    def _answer(self, key: str, question: str) -> str | Refusal:
        """An answer that was paid for before, or a new one."""
        if self._answers is None:
            return self._ask(question)
        if (known := self._answers.get(key)) is not None:
            return known
        answer = self._ask(question)
        if isinstance(answer, str):
            self._answers.put(self.config.name, key, answer)
        return answer

    def _body(self, question: str) -> dict[str, Any]:
        return {
            "model": self.config.model,
            "messages": [{"role": "user", "content": question}],
            "temperature": self.config.temperature,
            "max_tokens": self.config.max_tokens,
        }

    def _ask(self, question: str) -> str | Refusal:
        said = ""
        for attempt in range(self.config.resources.attempts):
            if attempt:
                time.sleep(min(0.5 * 2 ** (attempt - 1), 8))  # as the client waits, in seconds
            sent = self._send(question)
            if isinstance(sent, Refusal):
                return sent
            try:
                return read_completion(sent)
            except NoCompletion as error:
                said = self._without_key(str(error))
        raise self._unanswered(f"what came is no chat completion: {said}")

    def _send(self, question: str) -> bytes | Refusal:
        """The body that came with status 200."""
        import openai

        try:
            return self._client.chat.completions.with_raw_response.create(
                **self._body(question), extra_headers=self._headers
            ).content
        except openai.APIStatusError as error:
            refusal = Refusal(error.status_code, self._told(error))
            if refusal.status in _LATER or refusal.status >= 500:
                raise self._unanswered(f"status {refusal.status}: {refusal.message}") from None
            if refusal.status in _ACCOUNT:
                raise self._stop(refusal, _ACCOUNT[refusal.status]) from None
            return refusal
        except openai.APIError as error:
            raise self._unanswered(type(error).__name__) from None

    def _told(self, error: "APIStatusError") -> str:
        """What the endpoint says."""
        said = error.body if isinstance(error.body, dict) else {}
        return self._without_key(str(said.get("message") or error.response.text or "no message"))

    def _without_key(self, text: str) -> str:
        """At most 500 characters, without the key: some endpoints repeat it, or a part of it."""
        text = text[:500]
        key = self._client.api_key
        parts = {word for word in re.findall(r"[\w-]{6,}", text) if word in key or key in word}
        for part in sorted(parts, key=len, reverse=True):
            text = text.replace(part, "[key]")
        return " ".join(text.split())

    def _stop(self, refusal: Refusal, what: str) -> UserError:
        return UserError(
            f"annotator {self.config.name!r}: {self.config.base_url} {what} (model "
            f"{self.config.model!r}, status {refusal.status}): {refusal.message}"
        )

    def _unanswered(self, reason: str) -> OnPolicyError:
        return OnPolicyError(
            f"annotator {self.config.name!r}: {self.config.base_url} did not answer after "
            f"{self.config.resources.attempts} attempts ({reason}); run the same command again "
            "later: every answer that came is kept"
        )


def open_judge(config: JudgeConfig, answers: JudgeAnswers | None = None) -> JudgeScorer:
    """The judge; its key is read from the environment and kept nowhere else.

    Raises:
        UserError: the environment variable that should hold the key is not set.
    """
    key = os.environ.get(config.api_key_env) if config.api_key_env else ""
    if config.api_key_env and not key:
        raise UserError(
            f"annotator {config.name!r}: set the environment variable {config.api_key_env} "
            "to the endpoint's key, or `api_key_env: null` where it needs none"
        )
    return JudgeScorer(config, _client(config, key or ""), answers)


def _client(config: JudgeConfig, key: str) -> "OpenAI":
    from openai import DefaultHttpxClient, OpenAI

    return OpenAI(
        api_key=key or "none",
        base_url=config.base_url,
        timeout=config.resources.timeout,
        max_retries=config.resources.attempts - 1,
        # Each attempt is a sign of life: a dozen of them may take longer than `hang_timeout`.
        http_client=DefaultHttpxClient(event_hooks={"request": [lambda _: heartbeat()]}),
    )


def _headers(config: JudgeConfig) -> dict[str, Any]:
    """What the client would read from the environment is not for any endpoint to see."""
    from openai import omit

    hidden = ["OpenAI-Organization", "OpenAI-Project"]
    if config.api_key_env is None:
        hidden.append("Authorization")
    return dict.fromkeys(hidden, omit)
