"""A chat endpoint's statuses, against a real HTTP server."""

import json
import math
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from threading import Thread

import pytest
from judge_endpoint import KEY

from contracts.errors import UserError
from runtime.chat_api.completion import Completion, Lost, NoCompletion, Refusal, read_completion
from runtime.chat_api.config import ChatModel, ChatResources
from runtime.chat_api.endpoint import ChatEndpoint, Unanswered, has_key

WITH_KEY, WITHOUT = ChatResources(api_key_env="JUDGE_KEY"), ChatResources(api_key_env=None)
BODY = {"messages": [{"role": "user", "content": "Hello?"}]}


def endpoint_at(url: str, resources: ChatResources = WITH_KEY) -> ChatEndpoint:
    config = ChatModel(model="judge-1", base_url=url, resources=resources)
    return ChatEndpoint("judge 'judge-1'", config, timeout=5.0)


def test_an_answer_is_its_text(serve: Callable) -> None:
    endpoint = serve(lambda _: "Hello.")
    assert endpoint_at(endpoint.url).complete(BODY) == Completion("Hello.")
    assert endpoint.bodies[0]["model"] == "judge-1"


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("Wed, 21 Oct 2026", None)])
def test_a_429_says_how_long_to_wait(serve: Callable, header: str, seconds: float | None) -> None:
    endpoint = serve(lambda _: 429)
    endpoint.headers = {"Retry-After": header}
    with pytest.raises(Unanswered) as raised:
        endpoint_at(endpoint.url).complete(BODY)
    assert (raised.value.is_throttled, raised.value.retry_after) == (True, seconds)
    assert len(endpoint.bodies) == 1


def test_an_account_without_credit_is_no_429_to_wait_for(serve: Callable) -> None:
    endpoint = serve(lambda _: 429)
    endpoint.error = {"error": {"message": "pay", "code": "insufficient_quota"}}
    with pytest.raises(UserError, match="wants to be paid first; check the environment variable J"):
        endpoint_at(endpoint.url).complete(BODY)


@pytest.mark.parametrize("status", [401, 402, 403])
def test_a_refused_key_names_its_variable_and_never_the_key(serve: Callable, status: int) -> None:
    with pytest.raises(UserError, match="variable JUDGE_KEY") as raised:
        endpoint_at(serve(lambda _: status).url).complete(BODY)
    assert KEY not in str(raised.value)


def test_an_endpoint_that_was_sent_no_key_is_not_said_to_refuse_one(serve: Callable) -> None:
    asked = endpoint_at(serve(lambda _: 401).url, WITHOUT)
    with pytest.raises(UserError, match=r"asks for a key; .* is null: name the"):
        asked.complete(BODY)


def test_whether_there_is_a_key_can_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    assert not has_key(ChatModel(model="x", resources=WITH_KEY))
    assert has_key(ChatModel(model="x", resources=WITHOUT))


def test_the_first_tokens_alternatives_and_the_counts_are_read() -> None:
    top = [{"token": "m", "logprob": math.log(0.9)}, {"token": "M", "logprob": None}, "x"]
    body = {
        "choices": [
            {"message": {"content": "m"}, "logprobs": {"content": [{"top_logprobs": top}]}}
        ],
        "usage": {"prompt_tokens": 12, "completion_tokens": 1},
    }
    found = read_completion(json.dumps(body).encode())
    assert found == Completion("m", {"m": math.log(0.9), "M": math.nan}, 12, 1)


@pytest.mark.parametrize(("sent", "read"), [
    ("-0.5", -0.5), ("-Infinity", -math.inf), ("NaN", math.nan), ("Infinity", math.nan),
    ('"-0.5"', math.nan), ("-1" + "0" * 400, math.nan),
])  # fmt: skip
def test_a_log_prob_that_is_no_number_is_read_as_none(sent: str, read: float) -> None:
    top = {"token": "m", "logprob": "SENT"}
    choice = {"message": {"content": "m"}, "logprobs": {"content": [{"top_logprobs": [top]}]}}
    body = json.dumps({"choices": [choice]}).replace('"SENT"', sent)
    found = read_completion(body.encode())
    assert isinstance(found, Completion)
    assert str(found.top_logprobs) == str({"m": read})


@pytest.mark.parametrize("half", [rb"\ud83d", b"\xed\xa0\xbd", b"\xff"])
def test_what_utf_8_cannot_hold_is_replaced_wherever_a_reply_has_it(half: bytes) -> None:
    body = b'{"choices": [{"message": {"content": "M HALF \\ud83d\\ude00"}}]}'
    found = read_completion(body.replace(b"HALF", half))
    assert isinstance(found, Completion)
    assert found.text.startswith("M \N{REPLACEMENT CHARACTER}") and found.text.endswith(" 😀")
    refused = read_completion(
        b'{"choices": [{"message": {"refusal": "HALF"}}]}'.replace(b"HALF", half)
    )
    assert isinstance(refused, Refusal) and refused.message.encode()
    with pytest.raises(NoCompletion) as error:
        read_completion(b'{"error": {"message": "HALF"}}'.replace(b"HALF", half))
    assert str(error.value).encode()


def test_half_a_surrogate_pair_in_an_error_is_replaced(serve: Callable) -> None:
    endpoint = serve(lambda _: 400)
    endpoint.error = {"error": {"message": "no \ud83d"}}
    refused = endpoint_at(endpoint.url).complete(BODY)
    assert refused == Refusal(400, "no \N{REPLACEMENT CHARACTER}")


def test_a_key_read_from_a_file_may_end_in_a_line_break(
    serve: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = serve(lambda _: "Hello.")
    monkeypatch.setenv("JUDGE_KEY", f"{KEY}\n")
    endpoint_at(endpoint.url).complete(BODY)
    assert endpoint.keys == {f"Bearer {KEY}"}


@pytest.mark.parametrize("key", ["sk-one\nsk-two", "sk one", "sk-é"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_shown(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_KEY", key)
    with pytest.raises(UserError, match="variable JUDGE_KEY holds a blank") as refused:
        endpoint_at("http://127.0.0.1:1/v1")
    assert "sk" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["http://user:SECRET@h/v1", "ftp://u:SECRET@h", "http://h?k=SECRET"]
)
def test_a_chat_models_address_holds_no_secret_however_it_is_made(url: str) -> None:
    with pytest.raises(UserError, match="'base_url': an address may hold no user name") as refused:
        ChatModel(model="m", base_url=url)
    assert "SECRET" not in str(refused.value)


@pytest.mark.parametrize("logprobs", [None, {}, {"content": None}, {"content": []}, "x"])
def test_an_answer_without_log_probs_has_none(logprobs: object) -> None:
    body = {"choices": [{"message": {"content": "m"}, "logprobs": logprobs}], "usage": None}
    assert read_completion(json.dumps(body).encode()) == Completion("m")


def test_a_choice_without_a_text_is_a_refusal() -> None:
    body = {"choices": [{"message": {"refusal": "No."}}]}
    assert read_completion(json.dumps(body).encode()) == Refusal(200, "No.")


def test_an_endpoint_without_a_key_is_told_word_for_word(serve: Callable) -> None:
    said = b'{"error": {"message": "The model \'nonexistent-8b\' does not exist; nonetheless try"}}'
    endpoint = serve(lambda _: said)
    one = ChatEndpoint("it", ChatModel(model="m", base_url=endpoint.url, resources=WITHOUT), 5.0)
    with pytest.raises(Unanswered, match="'nonexistent-8b' does not exist; nonetheless try"):
        one.complete(BODY)


def test_a_redirect_is_followed_but_another_host_gets_no_key(serve: Callable) -> None:
    moved, there = serve(lambda _: 307), serve(lambda _: "Hello.")
    moved.headers = {"Location": f"{there.url}/chat/completions"}
    assert endpoint_at(moved.url).complete(BODY) == Completion("Hello.")
    assert (there.bodies[0]["messages"], there.keys) == (BODY["messages"], {None})


def test_a_redirect_that_never_ends_is_no_answer(serve: Callable) -> None:
    endpoint = serve(lambda _: 307)
    endpoint.headers = {"Location": f"{endpoint.url}/chat/completions"}
    with pytest.raises(Unanswered, match="ResponseError"):
        endpoint_at(endpoint.url).complete(BODY)


def test_requests_go_through_the_environments_proxy(
    serve: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = serve(lambda _: 503)
    address = proxy.url.removesuffix("/v1").removeprefix("http://")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("http_proxy", f"user:pass@{address}")
    with pytest.raises(Unanswered, match="status 503"):
        endpoint_at("http://judge.invalid/v1").complete(BODY)
    assert len(proxy.bodies) == 1
    monkeypatch.setenv("http_proxy", f"socks5://{address}")
    with pytest.raises(UserError, match="judge 'judge-1': the environment names a socks5 proxy"):
        endpoint_at("http://judge.invalid/v1")


def test_an_endpoint_that_is_not_there_or_hangs_up_gives_no_answer(serve: Callable) -> None:
    endpoint = serve(lambda _: 1 / 0)  # it closes the connection without a word
    with pytest.raises(Unanswered, match="ProtocolError"):
        endpoint_at(endpoint.url).complete(BODY)
    with pytest.raises(Unanswered, match=r"NewConnectionError: .*[Rr]efused"):
        endpoint_at("http://127.0.0.1:9/v1").complete(BODY)


COUNTED = {"prompt_tokens": 7, "completion_tokens": 5}


@pytest.mark.parametrize(("said", "lost"), [
    (429, None), (500, None), (504, Lost()), (524, Lost()), (b"{cut", Lost()),
    (b'{"error": "overloaded"}', None),
    (json.dumps({"error": "cut", "usage": COUNTED}).encode(), Lost(7, 5)),
    (json.dumps({"choices": [], "usage": COUNTED}).encode(), Lost(7, 5)),
    (b'{"choices": []}', Lost()),
])  # fmt: skip
def test_what_is_no_answer_may_have_cost_all_the_same(
    serve: Callable, said: int | bytes, lost: Lost | None
) -> None:
    with pytest.raises(Unanswered) as raised:
        endpoint_at(serve(lambda _: said).url).complete(BODY)
    assert raised.value.lost == lost


def test_where_nobody_listens_nothing_is_paid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(Unanswered) as raised:
        endpoint_at(f"http://127.0.0.1:{port}/v1").complete(BODY)
    assert raised.value.lost is None


@pytest.mark.parametrize("pause", [0.01, 1.0])
def test_an_answer_that_trickles_or_stays_away_is_given_up_and_may_have_cost(
    monkeypatch: pytest.MonkeyPatch, pause: float
) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as server:

        def trickle() -> None:
            with suppress(OSError), server.accept()[0] as peer:
                peer.sendall(head)
                for _ in range(1000):
                    time.sleep(pause)
                    peer.sendall(b" ")

        Thread(target=trickle, daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        endpoint = ChatEndpoint("it", ChatModel(model="m", base_url=url, resources=WITHOUT), 0.05)
        with pytest.raises(Unanswered, match=r"no whole answer within|ReadTimeout") as raised:
            endpoint.complete(BODY)
        assert raised.value.lost == Lost()
