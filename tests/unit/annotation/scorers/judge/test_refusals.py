"""What a judge's endpoint refuses, or sends in place of a chat completion."""

import json
import logging
from collections.abc import Iterator

import pyarrow as pa
import pytest
from judge_endpoint import KEY, QUESTION, grades, judge, prefer_longer

from annotation.scorers.judge.answers import answers_of
from annotation.scorers.protocol import Conversation
from contracts.errors import OnPolicyError, UserError
from contracts.tables.parts import write_part
from contracts.tables.schemas import SCORES


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
def test_a_judge_that_refuses_a_harmless_question_too_stops_the_stage_with_its_words(serve, status):
    endpoint = serve(lambda _: status)
    with pytest.raises(UserError, match=rf"status {status}\): Not with \[key\]: see your acc"):
        judge(endpoint.url).score([Conversation(QUESTION, ["a", "b", "c"])])
    assert len(endpoint.bodies) == (1 if status in (402, 403) else 2)


@pytest.mark.parametrize("texts", [["bad"], ["bad", "bad 2", "bad 3", "good"]])
def test_a_prompt_that_the_judge_will_not_read_stops_no_stage(serve, texts):
    """Its responses are refused one and all, however few or many there are in the part."""
    endpoint = serve(lambda question: 400 if "bad" in question else "Score: 9")
    scores = judge(endpoint.url, compare="pointwise").score([Conversation(QUESTION, texts)])
    assert [score.score for score in scores] == [None if "bad" in t else 9.0 for t in texts]
    assert len(endpoint.bodies) == len(texts) + 1  # one was the harmless question


def test_what_the_judge_answered_in_another_process_or_part_counts(serve, tmp_path):
    """So that a worker that begins anew with a refused question asks nothing harmless."""
    said: Iterator[str | int] = iter(["Score: 3", 400, 400, 400])
    endpoint = serve(lambda _: next(said))
    assert grades(endpoint.url, tmp_path, ["a"], part=0) == [3.0]
    assert grades(endpoint.url, tmp_path, ["bad"], part=1) == [None]
    answers_of(tmp_path, 0).remove()
    write_part(tmp_path, 0, scores_of("j", 3.0), SCORES)
    assert grades(endpoint.url, tmp_path, ["bad"], part=1) == [None]
    assert len(endpoint.bodies) == 3
    write_part(tmp_path, 0, scores_of("another judge", 3.0), SCORES)
    with pytest.raises(UserError, match="and a harmless one"):
        said = iter([400, 400])
        grades(endpoint.url, tmp_path, ["bad"], part=1)


def scores_of(annotator: str, score: float) -> pa.Table:
    row = {"response_id": "r", "prompt_id": "p", "annotator": annotator, "score": score}
    return pa.Table.from_pylist([row], SCORES)


@pytest.mark.parametrize("status", [402, 403])
def test_an_account_that_is_closed_later_stops_the_stage_as_well(serve, tmp_path, status):
    said: Iterator[str | int] = iter(["Score: 3", status, "Score: 4"])
    endpoint = serve(lambda _: next(said))
    with pytest.raises(UserError, match=f"status {status}"):
        grades(endpoint.url, tmp_path, ["a", "bb"])
    assert grades(endpoint.url, tmp_path, ["a", "bb"]) == [3.0, 4.0]


def test_what_is_no_chat_completion_is_no_answer(serve):
    endpoint = serve(lambda _: 200)
    endpoint.error = {"choices": []}
    with pytest.raises(OnPolicyError, match="no chat completion"):
        judge(endpoint.url, compare="pointwise").score([Conversation(QUESTION, ["a"])])


@pytest.mark.parametrize(
    ("status", "message"), [(401, "refuses the key"), (404, "knows no such model")]
)
def test_a_wrong_key_or_model_is_the_users_mistake(serve, status, message, caplog):
    caplog.set_level(logging.DEBUG)
    with pytest.raises(UserError, match=message) as caught:
        judge(serve(lambda _: status).url).score([Conversation(QUESTION, ["a", "b"])])
    assert KEY not in str(caught.value) and KEY not in caplog.text


def choice(**message: object) -> bytes:
    return json.dumps({"choices": [message]}).encode()


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (choice(finish_reason="content_filter"), "no content (finish_reason content_filter)"),
        (choice(message=None), "no content (finish_reason None)"),
        (choice(message={"content": None}), "no content"),
        (choice(message={"content": [{"type": "thinking"}]}), "no content"),
        (choice(message={"content": None, "refusal": "I will not."}), "I will not."),
    ],
)
def test_a_choice_without_content_is_an_error_row(serve, body, error):
    endpoint = serve(lambda question: body if "bad" in question else "Score: 9")
    talk = Conversation(QUESTION, ["good", "bad"])
    good, bad = judge(endpoint.url, compare="pointwise").score([talk])
    assert good.score == 9.0
    assert bad.error.startswith("refused: status 200: ") and error in bad.error
    assert len(endpoint.bodies) == 2


def test_the_text_of_an_answer_in_parts_is_put_together(serve):
    parts = [{"type": "thinking", "thinking": []}, {"type": "text", "text": "Fine.\nSco"}]
    body = choice(message={"content": [*parts, {"type": "text", "text": "re: 7"}]})
    (score,) = judge(serve(lambda _: body).url, compare="pointwise").score(
        [Conversation(QUESTION, ["a"])]
    )
    assert score.score == 7.0


ODD = [
    (b'{"choices": [{"message": {"con', r'\{"choices": \[\{"message"'),
    (b"<html><body>Back soon</body></html>", "Back soon"),
    (json.dumps({"error": {"message": f"no room for {KEY}"}}).encode(), r"no room for \[key\]"),
    (b'{"error": "overloaded"}', "overloaded"),
    (b"[]", "no chat completion"),
    (b'{"choices": [null]}', "no chat completion"),
]


@pytest.mark.parametrize(("body", "said"), ODD)
def test_what_is_no_completion_is_asked_again_and_then_ends_the_stage(serve, body, said):
    endpoint = serve(lambda _: body)
    with pytest.raises(OnPolicyError, match=rf"after 2 attempts .*{said}"):
        judge(endpoint.url, compare="pointwise").score([Conversation(QUESTION, ["a"])])
    assert len(endpoint.bodies) == 2


def test_a_page_in_place_of_a_completion_costs_a_second_question_and_nothing_else(serve):
    bodies: Iterator[str | bytes] = iter([b"<html>", "Score: 5"])
    again = judge(serve(lambda _: next(bodies)).url, compare="pointwise")
    assert again.score([Conversation(QUESTION, ["a"])])[0].score == 5.0
