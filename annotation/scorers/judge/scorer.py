"""Scoring with a language model behind an OpenAI-compatible chat endpoint."""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, permutations
from typing import Any

from annotation.annotators.judge import JudgeConfig
from annotation.scorers.judge.answers import JudgeAnswers
from annotation.scorers.judge.judgement import PAIRWISE, POINTWISE, grade, winner
from annotation.scorers.protocol import Conversation, Score, by_comparison, transcript
from contracts.errors import OnPolicyError
from runtime.chat_api.completion import Refusal
from runtime.chat_api.endpoint import ChatEndpoint, Unanswered

_HARMLESS = POINTWISE.format(
    criteria="correctness", conversation="user: What is 2 + 2?", first="2 + 2 is 4."
)
"""Asked if the first question is refused: a judge that refuses this one will answer none."""


class JudgeScorer:
    """A judge, asked over HTTP; answers come back in the order of the questions."""

    def __init__(
        self, config: JudgeConfig, endpoint: ChatEndpoint, answers: JudgeAnswers | None = None
    ) -> None:
        self.config = config
        self._endpoint = endpoint
        self._answers = answers
        self._has_answered = False
        self._judge = f"{config.name}: {config.model} at {config.service}"

    @property
    def facts(self) -> dict[str, Any]:
        """The judge's model, and how it compares."""
        return {"model": self.config.model, "compare": self.config.compare}

    def score(self, conversations: Sequence[Conversation]) -> list[Score]:
        """A score or an error for each response, in order.

        Raises:
            UserError: the endpoint refuses the key, the account or the model at any time; or it
                refuses both the first question and a harmless one, for any reason.
            OnPolicyError: after all attempts it could not be reached, or sent no chat completion.
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
            # The whole request, so that an answer to other words, or at another temperature, is not
            # taken.
            identity = json.dumps([self._judge, self._body(question), seen[question]])
            keys.append(hashlib.sha256(identity.encode()).hexdigest())
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
                told = "refused the first question and a harmless one"
                raise self._endpoint.refused(harmless, told)
        self._has_answered = True
        return [first]

    def _answered_before(self) -> bool:
        """Whether another process, or this one's predecessor, got an answer from this judge."""
        return self._answers is not None and self._answers.any_of(self.config.name, self._judge)

    def _answer(self, key: str, question: str) -> str | Refusal:
        """An answer that was paid for before, or a new one."""
        if self._answers is None:
            return self._ask(question)
        if (known := self._answers.get(key)) is not None:
            return known
        answer = self._ask(question)
        self._answers.put(self._judge, key, answer)
        return answer

    def _body(self, question: str) -> dict[str, Any]:
        return {
            "messages": [{"role": "user", "content": question}],
            "temperature": self.config.temperature,
            "max_tokens": self.config.max_tokens,
        }

    def _ask(self, question: str) -> str | Refusal:
        said = ""
        for attempt in range(self.config.resources.attempts):
            if attempt:
                time.sleep(min(0.5 * 2 ** (attempt - 1), 8))  # as the client waits, in seconds
            try:
                answer = self._endpoint.complete(self._body(question))
            except Unanswered as error:
                said = str(error)
                if error.status != 200:  # the client has tried again
                    raise self._unanswered(said) from None
            else:
                return answer if isinstance(answer, Refusal) else answer.text
        raise self._unanswered(said)

    def _unanswered(self, reason: str) -> OnPolicyError:
        return OnPolicyError(
            f"annotator {self.config.name!r}: {self.config.base_url} did not answer after "
            f"{self.config.resources.attempts} attempts ({reason}); run the same command again "
            "later: every answer that came is kept"
        )


def open_judge(config: JudgeConfig, answers: JudgeAnswers | None = None) -> JudgeScorer:
    """The judge.

    Raises:
        UserError: the environment variable that should hold the key is not set.
    """
    resources = config.resources
    who = f"annotator {config.name!r}"
    endpoint = ChatEndpoint(
        who, config, resources.timeout, resources.attempts, resources.concurrency
    )
    return JudgeScorer(config, endpoint, answers)
