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
from runtime.chat_api.completion import Completion, Lost, Paid, Refusal
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
        self._paid_before = self.journal.replies()
        self._replies: dict[str, list[Completion | Refusal]] = {
            key: [one for one in paid if not isinstance(one, Lost)]
            for key, paid in self._paid_before.items()
        }
        self._errors: dict[str, NoScore] = {}
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
        self._tell_unplayable(games)
        playable = [game for game in games if game.messages]
        for game in playable if self._paid_before else ():
            self._count_paid_before(game)
        # Replies from before a kill were read already: they count as smoke tests.
        settled: list[Game] = []
        left: list[Game] = []
        for game in playable:
            (settled if self._is_settled(game) else left).append(game)
        smoke = max(0, self._judge.resources.smoke - len(settled))
        first, rest = left[:smoke], left[smoke:]
        self._progress = Progress(len(playable), "judgements", len(settled))
        with self.journal:
            if first and not settled:
                self._tell("before the first", left, [])
            self._ask(first)
            self._refuse_unreadable([*settled, *first])
            self._tell("left", rest, [*settled, *first])
            self._ask(rest)
        self._refuse_unanswered(len(playable))
        return [self._judged(game) for game in games]

    def _ask(self, games: Sequence[Game]) -> None:
        attempts = self._judge.resources.attempts
        Dispatcher(self._one, self._done, self._limit, attempts).run(games)

    def _count_paid_before(self, game: Game) -> None:
        """Each by the size of what was asked: a follow-up is longer than its game."""
        replies: list[Completion | Refusal] = []
        for paid in self._paid_before.get(self.key(game), ()):
            self.budget.paid(size_of(self._messages(game, replies)), paid)
            if not isinstance(paid, Lost):
                replies.append(paid)

    def _one(self, game: Game) -> Completion | Refusal:
        messages = self._messages(game, self._replies.get(self.key(game), []))
        size = size_of(messages)
        promised = self.budget.promise(size)
        paid: Paid | None = None
        try:
            answer = self._endpoint.complete({**self._request, "messages": list(messages)})
            paid = self._kept(game, answer)
            return answer
        except Unanswered as unanswered:
            paid = self._kept(game, unanswered.lost)
            raise
        finally:
            self.budget.settle(promised, size, paid)

    def _kept(self, game: Game, brought: Paid | None) -> Paid | None:
        """What a request brought, in the journal if it is paid for, before anything else."""
        if brought is None or (isinstance(brought, Refusal) and not brought.is_paid):
            return None
        self.journal.append(self.key(game), brought)
        return brought

    def _messages(self, game: Game, replies: Sequence[Completion | Refusal]) -> tuple[Message, ...]:
        said = _completions(replies)
        return self._referee.follow_up(game, said) if said else game.messages

    def _done(self, game: Game, answer: Completion | Refusal | Unanswered) -> list[Game]:
        key = self.key(game)
        if isinstance(answer, Unanswered):
            says = f"{self._judge.resources.attempts} attempts: {answer}"
            self._errors[key] = NoScore("unanswered", says)
            self._unanswered += 1
            self._refuse_gone(answer)
        else:
            self._unanswered = 0
            self._replies.setdefault(key, []).append(answer)
            if not self._is_settled(game):
                return [game]
        self._progress.advance()
        return []

    def _is_settled(self, game: Game) -> bool:
        """Whether its replies can be read, or are as many as are asked for."""
        return self._settled_by(game) is not None

    def _settled_by(self, game: Game) -> Sequence[Completion | Refusal] | None:
        """The first replies that end the asking: a judging with more `readings`, before this one,
        may have left more of them. None where another is to be asked for."""
        # Before the first reply no game has any, and 805 keys take 25 ms of an idle endpoint.
        replies = self._replies.get(self.key(game), []) if self._replies else []
        for count in range(1, len(replies) + 1):
            first = replies[:count]
            if count >= self._judge.readings or self._is_final(game, first):
                return first
        return None

    def _is_final(self, game: Game, replies: Sequence[Completion | Refusal]) -> bool:
        last = replies[-1]
        if isinstance(last, Refusal):
            return not last.is_paid  # a choice without a text may have one the next time
        error = self._verdict(game, replies).error
        return error is None or error.reason != "unparsed"

    def _verdict(self, game: Game, replies: Sequence[Completion | Refusal]) -> Verdict:
        last = replies[-1]
        if isinstance(last, Refusal):
            return Verdict(error=NoScore("refused", f"status {last.status}: {last.message}"))
        return self._referee.read(game, _completions(replies), self._judge)

    def _judged(self, game: Game) -> Judged:
        if game.error:
            return Judged(game, Verdict(error=game.error))
        if game.settled is not None:
            return Judged(game, Verdict(game.settled))
        key = self.key(game)
        if key in self._errors:
            return Judged(game, Verdict(error=self._errors[key]), self._replies.get(key, []))
        replies = self._settled_by(game) or []
        return Judged(game, self._verdict(game, replies), replies)

    def _refuse_unreadable(self, tried: Sequence[Game]) -> None:
        """The smoke test: a judge that can't be read at all is not paid for more."""
        if not tried or not self._judge.resources.smoke:
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

    def _tell_unplayable(self, games: Sequence[Game]) -> None:
        """What the files lack is known before anything is paid for the rest."""
        for says, count in Counter(game.error.says for game in games if game.error).items():
            log.warning(
                "judge %s: %s of %s judgements will have no score: %s",
                self._judge.model, f"{count:,}", f"{len(games):,}", says,
            )  # fmt: skip

    def _tell(self, when: str, left: Sequence[Game], games: Sequence[Game]) -> None:
        """Log what is to come; stop where it costs too much."""
        seen = [(game, replies) for game in games if (replies := self._settled_by(game))]
        expected = estimate(left, seen, int(self._request["max_tokens"]), self._price)
        log.info("judge %s, %s: %s", self._judge.model, when, expected.told())
        if seen or not self._judge.resources.smoke:
            self.budget.refuse_beyond(expected)

    def key(self, game: Game) -> str:
        """What a reply is kept under: the very request, whose it is, and which time it is."""
        place = (game.question_id, game.turn, game.order, game.repeat)
        if place not in self._keys:
            whose = [self._judge.service, self._judge.model]
            request = json.dumps([whose, self._request, place, list(game.messages)])
            self._keys[place] = hashlib.sha256(request.encode()).hexdigest()
        return self._keys[place]


def _completions(replies: Sequence[Completion | Refusal]) -> list[Completion]:
    return [reply for reply in replies if isinstance(reply, Completion)]
