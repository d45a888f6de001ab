"""A judge's endpoint on loopback, and a judge that asks it."""

import json
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from annotation.annotators.judge import JudgeConfig
from annotation.scorers.judge.answers import JudgeAnswers
from annotation.scorers.judge.scorer import JudgeScorer, open_judge
from annotation.scorers.protocol import Conversation

KEY = "sk-never-to-be-seen"
QUESTION = [{"role": "user", "content": "Which word is longest?"}]


class Endpoint:
    """Answers with what `answer` says: a text, a status, or a whole body with status 200."""

    def __init__(self, answer: Callable[[str], str | int | bytes]) -> None:
        self.bodies: list[dict] = []
        self.keys: set[str | None] = set()
        self.error: dict = {"error": {"message": f"Not with {KEY}: see your account"}}
        self.headers: dict[str, str] = {}
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                endpoint.bodies.append(body)
                endpoint.keys.add(self.headers["Authorization"])
                said = answer(body["messages"][-1]["content"])
                found = self.path == "/v1/chat/completions"
                status = said if isinstance(said, int) else 200 if found else 404
                reply = {"choices": [{"message": {"role": "assistant", "content": said}}]}
                whole = reply if isinstance(said, str) and found else endpoint.error
                data = said if isinstance(said, bytes) else json.dumps(whole).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                for name, value in endpoint.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/v1"


def judge(url: str, answers: JudgeAnswers | None = None, **config: Any) -> JudgeScorer:
    resources = {"attempts": 2, "concurrency": 4, "api_key_env": "JUDGE_KEY"}
    resources |= config.pop("resources", {})
    return open_judge(
        JudgeConfig.model_validate(
            {"name": "j", "model": "judge-1", "base_url": url} | {"resources": resources} | config
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


def grades(url: str, folder: Path, texts: list[str], part: int = 0) -> list[float | None]:
    """Each text's grade by a judge that keeps its answers, one question after another."""
    answers = JudgeAnswers(folder)
    one = judge(url, answers, compare="pointwise", resources={"concurrency": 1, "attempts": 1})
    with answers.part(part):
        return [score.score for score in one.score([Conversation(QUESTION, texts)])]
