"""The judge, against a real HTTP server on loopback that speaks the chat protocol."""

import json
import logging
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from annotation.config import JudgeConfig
from annotation.scorers.judge import open_judge
from annotation.scorers.judge_answers import JudgeAnswers, answers_of
from annotation.scorers.judgement import grade, winner
from annotation.scorers.protocol import Conversation
from contracts.errors import OnPolicyError, UserError

KEY = "sk-never-to-be-seen"
QUESTION = [{"role": "user", "content": "Which word is longest?"}]


class Endpoint:
    """JudgeAnswers with what `answer` says: a text, or a status."""

    def __init__(self, answer: Callable[[str], str | int]) -> None:
        self.bodies: list[dict] = []
        self.keys: set[str | None] = set()
        self.error: dict = {"error": {"message": f"Not with {KEY}: see your account"}}
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                endpoint.bodies.append(body)
                endpoint.keys.add(self.headers["Authorization"])
                said = answer(body["messages"][0]["content"])
                found = self.path == "/v1/chat/completions"
                status = (200 if found else 404) if isinstance(said, str) else said
                reply = {"choices": [{"message": {"role": "assistant", "content": said}}]}
                data = json.dumps(
                    reply if isinstance(said, str) and found else endpoint.error
                ).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/v1"


@pytest.fixture
def serve(monkeypatch) -> Iterator[Callable]:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    running: list[Endpoint] = []

    def start(answer: Callable[[str], str | int]) -> Endpoint:
        running.append(Endpoint(answer))
        return running[-1]

    yield start
    for endpoint in running:
        endpoint.server.shutdown()
        endpoint.server.server_close()


def judge(url: str, answers: JudgeAnswers | None = None, **config: object):
    resources = {"attempts": 2, "concurrency": 4}
    return open_judge(
        JudgeConfig.model_validate(
            {"name": "j", "model": "judge-1", "base_url": url, "api_key_env": "JUDGE_KEY"}
            | {"resources": resources}
            | config
        ),
        answers,
    )


def responses_in(question: str) -> list[str]:
    return re.findall(r"<response.*?>\n(.*)\n</response", question)


def prefer_longer(question: str) -> str:
    first, second = responses_in(question)
    if len(first) == len(second):
        return "Both will do.\nWinner: tie"
    return f"It is longer.\n**Winner: {'A' if len(first) > len(second) else 'B'}**"


def test_every_two_responses_play_in_both_orders(serve):
    endpoint = serve(prefer_longer)
    words = ["aaaa", "a", "bbbb"]
    scores = judge(endpoint.url).score([Conversation(QUESTION, words)])
    assert [score.score for score in scores] == [0.5, -1.0, 0.5]
    assert len(endpoint.bodies) == 6
    asked = {tuple(responses_in(body["messages"][0]["content"])) for body in endpoint.bodies}
    assert ("aaaa", "a") in asked and ("a", "aaaa") in asked
    assert endpoint.bodies[0]["model"] == "judge-1"
    assert endpoint.keys == {f"Bearer {KEY}"}


def test_a_judge_that_always_takes_the_first_one_decides_nothing(serve):
    scores = judge(serve(lambda _: "Winner: A").url).score([Conversation(QUESTION, ["x", "y"])])
    assert [score.score for score in scores] == [0.0, 0.0]


def test_an_unreadable_comparison_is_an_error_of_both_its_responses(serve):
    def answer(question: str) -> str:
        return "I cannot say." if "bad" in question else prefer_longer(question)

    talk = Conversation(QUESTION, ["aaaa", "bad"])
    other = Conversation(QUESTION, ["cc", "c"])
    scores = judge(serve(answer).url).score([talk, other])
    assert [score.score for score in scores] == [None, None, 1.0, -1.0]
    assert all(score.error.startswith("unparsed:") for score in scores[:2])


def test_one_response_alone_cannot_be_compared(serve):
    (score,) = judge(serve(prefer_longer).url).score([Conversation(QUESTION, ["alone"])])
    assert score.error.startswith("one_response:")


def test_pointwise_scores_keep_the_order_of_the_responses(serve):
    endpoint = serve(lambda question: f"Fine.\nScore: {len(responses_in(question)[0])}")
    talks = [Conversation(QUESTION, ["a" * n for n in (3, 1, 7)]), Conversation(QUESTION, ["aa"])]
    scores = judge(endpoint.url, compare="pointwise").score(talks)
    assert [score.score for score in scores] == [3.0, 1.0, 7.0, 2.0]


def test_a_busy_endpoint_is_asked_again(serve):
    statuses = iter([429, "Score: 5"])
    endpoint = serve(lambda _: next(statuses))
    (score,) = judge(endpoint.url, compare="pointwise").score([Conversation(QUESTION, ["a"])])
    assert score.score == 5.0 and len(endpoint.bodies) == 2


def test_an_endpoint_that_stays_away_ends_the_stage_and_gives_no_score(serve):
    endpoint = serve(lambda _: 503)
    with pytest.raises(OnPolicyError, match=r"did not answer after 2 attempts \(status 503: "):
        judge(endpoint.url, compare="pointwise").score([Conversation(QUESTION, ["a"] * 5)])
    url = endpoint.url
    endpoint.server.server_close()
    with pytest.raises(OnPolicyError, match="did not answer"):
        judge(url, compare="pointwise").score([Conversation(QUESTION, ["a"])])


def test_a_question_that_is_refused_is_an_error_row(serve):
    endpoint = serve(lambda question: 400 if "bad" in question else "Score: 9")
    talk = Conversation(QUESTION, ["good", "bad"])
    good, bad = judge(endpoint.url, compare="pointwise").score([talk])
    assert good.score == 9.0
    assert bad.score is None and bad.error.startswith("refused: status 400: Not with [key]")
    assert KEY not in bad.error


def test_a_comparison_that_is_refused_says_so_of_both_its_responses(serve):
    endpoint = serve(lambda question: 413 if "bad" in question else prefer_longer(question))
    talks = [Conversation(QUESTION, words) for words in (["cc", "c"], ["aaaa", "bad"])]
    scores = judge(endpoint.url).score(talks)
    assert [score.score for score in scores] == [1.0, -1.0, None, None]
    assert {score.error.partition(": N")[0] for score in scores[2:]} == {"refused: status 413"}


@pytest.mark.parametrize("status", [400, 402, 403, 413, 422])
def test_a_judge_that_refuses_its_first_questions_stops_the_stage_with_its_words(serve, status):
    endpoint = serve(lambda _: status)
    with pytest.raises(UserError, match=rf"status {status}\): Not with \[key\]: see your acc"):
        judge(endpoint.url).score([Conversation(QUESTION, ["a", "b", "c"])])
    assert len(endpoint.bodies) == (1 if status == 402 else 3)


def test_an_account_that_runs_dry_later_stops_the_stage_as_well(serve, tmp_path):
    said: Iterator[str | int] = iter(["Score: 3", 402, "Score: 4"])
    endpoint = serve(lambda _: next(said))
    with pytest.raises(UserError, match=r"wants to be paid first .*status 402"):
        grades(endpoint.url, tmp_path, ["a", "bb"])
    assert grades(endpoint.url, tmp_path, ["a", "bb"]) == [3.0, 4.0]


def test_a_first_question_that_alone_is_refused_is_a_row(serve):
    endpoint = serve(lambda question: 400 if "bad" in question else "Score: 9")
    talk = Conversation(QUESTION, ["bad", "good"])
    bad, good = judge(endpoint.url, compare="pointwise").score([talk])
    assert bad.error.startswith("refused: status 400") and good.score == 9.0


def test_an_endpoint_without_a_key_is_sent_none_of_the_environments(serve, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_ORG_ID", "org")
    endpoint = serve(lambda _: "Score: 5")
    one = judge(endpoint.url, api_key_env=None, compare="pointwise")
    assert one.score([Conversation(QUESTION, ["a"])])[0].score == 5.0
    assert endpoint.keys == {None}


def test_what_is_no_chat_completion_is_no_answer(serve):
    endpoint = serve(lambda _: 200)
    endpoint.error = {"choices": []}
    with pytest.raises(OnPolicyError, match="no chat completion"):
        judge(endpoint.url, compare="pointwise").score([Conversation(QUESTION, ["a"])])


def grades(url: str, folder: Path, texts: list[str], part: int = 0) -> list[float | None]:
    """Each text's grade by a judge that keeps its answers, one question after another."""
    answers = JudgeAnswers(folder)
    one = judge(url, answers, compare="pointwise", resources={"concurrency": 1, "attempts": 1})
    with answers.part(part):
        return [score.score for score in one.score([Conversation(QUESTION, texts)])]


def test_answers_that_came_before_a_failure_are_not_bought_again(serve, tmp_path):
    said: Iterator[str | int] = iter(["Score: 3", "Score: 3", 503, "Score: 7", "Score: 7"])
    endpoint = serve(lambda _: next(said))
    texts = ["a", "bb", "ccc", "dddd"]
    with pytest.raises(OnPolicyError, match="every answer that came is kept"):
        grades(endpoint.url, tmp_path, texts)
    assert grades(endpoint.url, tmp_path, texts) == [3.0, 3.0, 7.0, 7.0]
    asked = [responses_in(body["messages"][0]["content"])[0] for body in endpoint.bodies]
    assert sorted(asked) == ["a", "bb", "ccc", "ccc", "dddd"]


def test_a_question_that_is_asked_twice_keeps_both_its_answers(serve, tmp_path):
    numbers = iter(range(1, 9))
    endpoint = serve(lambda _: f"Score: {next(numbers)}")
    for _ in range(2):
        assert grades(endpoint.url, tmp_path, ["same", "same"]) == [1.0, 2.0]
    assert len(endpoint.bodies) == 2


def test_answers_belong_to_their_part_until_they_are_removed(serve, tmp_path):
    endpoint = serve(lambda _: "Score: 3")
    for part in (0, 1, 1):
        grades(endpoint.url, tmp_path, ["a"], part)
    assert len(endpoint.bodies) == 2
    answers_of(tmp_path, 0).remove()
    assert [path.name for path in tmp_path.iterdir()] == [".answers-00001.jsonl"]


@pytest.mark.parametrize(
    ("status", "message"), [(401, "refuses the key"), (404, "knows no such model")]
)
def test_a_wrong_key_or_model_is_the_users_mistake(serve, status, message, caplog):
    caplog.set_level(logging.DEBUG)
    with pytest.raises(UserError, match=message) as caught:
        judge(serve(lambda _: status).url).score([Conversation(QUESTION, ["a", "b"])])
    assert KEY not in str(caught.value) and KEY not in caplog.text


def test_without_a_key_the_environment_variable_is_named(monkeypatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(UserError, match="set the environment variable NO_SUCH_KEY"):
        judge("http://127.0.0.1:1", api_key_env="NO_SUCH_KEY")


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("Score: 7", 7.0), ("**Score: 8.5**", 8.5), ("score - 3/10.", 3.0),
        ("Score: 2\nNo, better.\nScore: 4", 4.0), ("Score: 11", None), ("Score: high", None),
        ("The score is 7 or so, I would say", None), ("", None),
    ],
)  # fmt: skip
def test_a_grade_is_read_or_is_an_error(answer, score):
    assert grade(answer).score == score
    assert (grade(answer).error is None) == (score is not None)


def test_a_winner_is_read_or_unknown():
    assert [winner(a) for a in ("Winner: A", "x\nWINNER: b.", "Winner: tie", "A")] == [
        1,
        -1,
        0,
        "unparsed: a comparison of this response has no readable result",
    ]
