"""Asks a judge for every game, pays for none twice, and stops where going on is no use."""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from contracts.chat import Message
from contracts.errors import OnPolicyError
from evaluation.judging.config import LLMJudge
from evaluation.judging.cost import Budget, estimate, read_price, size_of
from evaluation.judging.referees.game import Game, Judged, NoScore, Verdict
from evaluation.judging.referees.referee import Referee
from evaluation.judging.reply_journal import ReplyJournal
from runtime.chat_api.adaptive_limit import AdaptiveLimit
from runtime.chat_api.completion import Completion, Refusal
from runtime.chat_api.dispatcher import Dispatcher
from runtime.chat_api.endpoint import ChatEndpoint, Unanswered
from runtime.progress import Progress

log = logging.getLogger(__name__)

_GONE_AFTER = 20
"""Judgements in a row without an answer, each after all its attempts: the endpoint is gone."""

JOURNAL = ".replies.jsonl"


class Asking:
    """One judge over one benchmark's games."""

    def __init__(self, referee: Referee, judge: LLMJudge, folder: Path) -> None:
        """
        Args:
            folder: where replies are kept.

        Raises:
            UserError: there is no key in the environment, or no price where one is needed.
        """
        resources = judge.resources
        self._referee = referee
        self._judge = judge
        self._request = referee.request(judge)
        self._endpoint = ChatEndpoint(
            f"judge {judge.model!r}", judge, resources.timeout, at_once=resources.most_concurrency
        )
        self._price = read_price(resources.prices, judge.model)
        max_tokens = int(self._request["max_tokens"])
        self.budget = Budget(resources.max_cost, self._price, max_tokens)
        self._limit = AdaptiveLimit(resources.concurrency, resources.most_concurrency)
        self.journal = ReplyJournal(folder / JOURNAL)
        self._replies = self.journal.replies()
        self._errors: dict[str, NoScore] = {}
        self._empty: Counter[str] = Counter()
        self._keys: dict[tuple[str, int, str, int], str] = {}
        self._unanswered = 0

    @property
    def episodes(self) -> int:
        """Times that the endpoint was found too busy."""
        return self._limit.episodes

    def judge_all(self, games: Sequence[Game]) -> list[Judged]:
        """Each game with its verdict, in order.

        Raises:
            UserError: the endpoint refuses the key, the account or the model.
            OnPolicyError: it answers no more, or left out too many, cannot be read at all, or the
                money is spent; every reply that came is kept.
        """
        for game in games:
            for reply in self._replies.get(self.key(game), ()):
                self.budget.paid(size_of(game.messages), reply)
        left = [game for game in games if game.messages and not self._is_settled(game)]
        total = sum(bool(game.messages) for game in games)
        self._progress = Progress(total, "judgements", total - len(left))
        known = sum(self.key(game) in self._replies for game in games)
        # Replies from before a kill were read already: they count as smoke tests.
        smoke = max(0, self._judge.resources.smoke - known)
        first, rest = left[:smoke], left[smoke:]
        with self.journal:
            if first and not known:
                self._tell("before the first", left, [])
            self._ask(first)
            self._refuse_unreadable(games)
            self._tell("left", rest, games)
            self._ask(rest)
        self._refuse_unanswered(total)
        return [self._judged(game) for game in games]

    def _ask(self, games: Sequence[Game]) -> None:
        attempts = self._judge.resources.attempts
        Dispatcher(self._one, self._done, self._limit, attempts).run(games)

    def _one(self, game: Game) -> Completion | Refusal:
        messages = self._messages(game)
        size = size_of(messages)
        promised = self.budget.promise(size)
        reply = None
        try:
            reply = self._endpoint.complete({**self._request, "messages": list(messages)})
            return reply
        finally:
            self.budget.settle(promised, size, reply)

    def _messages(self, game: Game) -> tuple[Message, ...]:
        replies = self._replies.get(self.key(game))
        return self._referee.follow_up(game, replies) if replies else game.messages

    def _done(self, game: Game, answer: Completion | Refusal | Unanswered) -> list[Game]:
        key = self.key(game)
        if isinstance(answer, Completion):
            self.journal.append(key, answer)
            self._replies.setdefault(key, []).append(answer)
            self._unanswered = 0
            if not self._is_settled(game):
                return [game]
        elif isinstance(answer, Refusal):
            self._unanswered = 0
            self._empty[key] += 1
            # Empty, not refused: it is asked again, as after a reply that can't be read.
            if answer.status == 200 and self._empty[key] < self._judge.readings:
                return [game]  # a choice without a text
            self._errors[key] = NoScore("refused", f"status {answer.status}: {answer.message}")
        else:
            says = f"{self._judge.resources.attempts} attempts: {answer}"
            self._errors[key] = NoScore("unanswered", says)
            self._unanswered += 1
            self._refuse_gone(answer)
        self._progress.advance()
        return []

    def _is_settled(self, game: Game) -> bool:
        """Whether its replies can be read, or are as many as are asked for."""
        replies = self._replies.get(self.key(game), [])
        if not replies:
            return False
        error = self._referee.read(game, replies, self._judge).error
        can_be_read = error is None or error.reason != "unparsed"
        return can_be_read or len(replies) >= self._judge.readings

    def _judged(self, game: Game) -> Judged:
        if game.error:
            return Judged(game, Verdict(error=game.error))
        if game.settled is not None:
            return Judged(game, Verdict(game.settled))
        key = self.key(game)
        replies = self._replies.get(key, [])
        if key in self._errors:
            return Judged(game, Verdict(error=self._errors[key]), replies)
        return Judged(game, self._referee.read(game, replies, self._judge), replies)

    def _refuse_unreadable(self, games: Sequence[Game]) -> None:
        """The smoke test: a judge that can't be read at all is not paid for more."""
        known = [game for game in games if game.messages]
        tried = [g for g in known if self.key(g) in self._replies or self.key(g) in self._errors]
        smoke = min(self._judge.resources.smoke, len(known))
        if not smoke or len(tried) < smoke:
            return
        errors = [error for game in tried if (error := self._judged(game).verdict.error)]
        if len(errors) == len(tried):
            raise OnPolicyError(
                f"judge {self._judge.model!r}: not one of its first {len(tried)} judgements can be "
                f"used, so no more are asked for; the first error: {errors[0]} "
                "(`resources.smoke=0` asks for all regardless)"
            )

    def _refuse_gone(self, answer: Unanswered) -> None:
        if self._unanswered >= _GONE_AFTER:
            raise OnPolicyError(
                f"judge {self._judge.model!r}: {self._judge.base_url} left {self._unanswered} "
                f"judgements in a row unanswered ({answer}); run the same command again later: "
                "every judgement that came is kept"
            )

    def _refuse_unanswered(self, asked: int) -> None:
        """An outage is no result: the same command asks for what it left out."""
        errors = [error for error in self._errors.values() if error.reason == "unanswered"]
        if len(errors) > self._judge.resources.max_unanswered_share * asked:
            raise OnPolicyError(
                f"judge {self._judge.model!r}: {self._judge.base_url} left {len(errors):,} of "
                f"{asked:,} judgements unanswered ({errors[0].says}), more than `resources."
                "max_unanswered_share` admits; run the same command again later: every judgement "
                "that came is kept"
            )

    def _tell(self, when: str, left: Sequence[Game], games: Sequence[Game]) -> None:
        """Log what is to come; stop where it costs too much."""
        seen = [
            (game, reply) for game in games for reply in self._replies.get(self.key(game), [])[:1]
        ]
        expected = estimate(left, seen, int(self._request["max_tokens"]), self._price)
        log.info("judge %s, %s: %s", self._judge.model, when, expected.told())
        if seen or not self._judge.resources.smoke:
            self.budget.refuse_beyond(expected)

    def key(self, game: Game) -> str:
        """What a reply is kept under: the very request, whose it is, and which time it is."""
        place = (game.question_id, game.turn, game.order, game.repeat)
        if place not in self._keys:
            request = json.dumps([self._judge.model, self._request, place, list(game.messages)])
            self._keys[place] = hashlib.sha256(request.encode()).hexdigest()
        return self._keys[place]
