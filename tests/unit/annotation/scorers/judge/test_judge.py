"""The judge, against a real HTTP server on loopback that speaks the chat protocol."""

from collections.abc import Iterator

import pytest
from judge_endpoint import KEY, QUESTION, grades, judge, prefer_longer, responses_in

from annotation.scorers.judge.answers import JudgeAnswers, answers_of
from annotation.scorers.judge.judgement import grade, winner
from annotation.scorers.protocol import Conversation
from contracts.errors import OnPolicyError, UserError


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


def test_an_endpoint_without_a_key_is_sent_none_of_the_environments(serve, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_ORG_ID", "org")
    endpoint = serve(lambda _: "Score: 5")
    one = judge(endpoint.url, resources={"api_key_env": None}, compare="pointwise")
    assert one.score([Conversation(QUESTION, ["a"])])[0].score == 5.0
    assert endpoint.keys == {None}


def test_answers_that_came_before_a_failure_are_not_bought_again(serve, tmp_path):
    said: Iterator[str | int] = iter(["Score: 3", "Score: 3", 503, "Score: 7", "Score: 7"])
    endpoint = serve(lambda _: next(said))
    texts = ["a", "bb", "ccc", "dddd"]
    with pytest.raises(OnPolicyError, match="every answer that came is kept"):
        grades(endpoint.url, tmp_path, texts)
    assert grades(endpoint.url, tmp_path, texts) == [3.0, 3.0, 7.0, 7.0]
    asked = [responses_in(body["messages"][0]["content"])[0] for body in endpoint.bodies]
    assert sorted(asked) == ["a", "bb", "ccc", "ccc", "dddd"]


def test_an_answer_without_a_text_was_paid_for_and_is_not_bought_again(serve, tmp_path):
    empty = b'{"choices": [{"message": {"content": null}, "finish_reason": "length"}]}'
    endpoint = serve(lambda question: empty if "bb" in question else "Score: 3")
    for _ in range(2):
        assert grades(endpoint.url, tmp_path, ["a", "bb"]) == [3.0, None]
    assert len(endpoint.bodies) == 2
    assert JudgeAnswers(tmp_path).any_of("j", "j: judge-1 at 127.0.0.1")
    assert not JudgeAnswers(tmp_path).any_of("j", "j: judge-2 at 127.0.0.1")


def test_half_a_surrogate_pair_in_an_answer_is_kept_like_any_other(serve, tmp_path):
    half = b'{"choices": [{"message": {"content": "\\ud83d\\nScore: 3"}}]}'
    endpoint = serve(lambda _: half)
    for _ in range(2):
        assert grades(endpoint.url, tmp_path, ["a"]) == [3.0]
    assert len(endpoint.bodies) == 1


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


def test_without_a_key_the_environment_variable_is_named(monkeypatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(UserError, match="set the environment variable NO_SUCH_KEY"):
        judge("http://127.0.0.1:1", resources={"api_key_env": "NO_SUCH_KEY"})


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
