"""A stage whose judge is asked over HTTP is killed: no answer that came is paid for again."""

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pytest
from checkout import CHECKOUT

from annotation import score
from annotation.config import ScoreConfig
from contracts.steps.manifest import Manifest, Result, read_manifest, write_manifest
from contracts.steps.step import claim, run_once
from contracts.tables.parts import write_part
from contracts.tables.schemas import PROMPTS, RESPONSES

pytestmark = pytest.mark.engine

CONCURRENCY = 4


class Endpoint(ThreadingHTTPServer):
    """A judge that takes 20 ms to grade an answer by its length, and counts what it sells."""

    def __init__(self) -> None:
        self.sold: Counter[str] = Counter()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                question = body["messages"][0]["content"]
                time.sleep(0.02)
                grade = 1 + len(question) % 10
                message = {"role": "assistant", "content": f"Score: {grade}"}
                data = json.dumps({"choices": [{"message": message}]}).encode()
                endpoint.sold[question] += 1
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    server = Endpoint()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, str]:
    """Two parts of 60 responses, each of its own length."""
    names = [f"p{i}" for i in range(40)]
    fixed = {"source": "x", "split": "train"}
    prompts = [
        {"prompt_id": name, "messages": [{"role": "user", "content": f"question {name}"}]} | fixed
        for name in names
    ]
    fixed = {"seed": 0, "token_ids": [1], "n_tokens": 1, "finish_reason": "stop", "logprob": None}
    responses = [
        {"prompt_id": name, "response_id": f"{name}-{i}", "sample": i, "policy": "x"}
        | {"text": "word " * (3 * place + i + 1)}
        | fixed
        for place, name in enumerate(names)
        for i in range(3)
    ]
    for name, rows, schema in (("prompts", prompts, PROMPTS), ("responses", responses, RESPONSES)):
        (tmp_path / name).mkdir()
        half = len(rows) // 2
        for part in range(2):
            table = pa.Table.from_pylist(rows[part * half : (part + 1) * half], schema)
            write_part(tmp_path / name, part, table, schema)
        write_manifest(tmp_path / name, "test", Result(rows=len(rows)), Manifest.clock())
    return {name: str(tmp_path / name) for name in ("prompts", "responses")}


def config_of(endpoint: Endpoint, workers: int) -> ScoreConfig:
    judge = {"kind": "judge", "name": "j", "model": "judge-1", "compare": "pointwise"}
    judge |= {"base_url": f"http://127.0.0.1:{endpoint.server_port}/v1"}
    judge |= {"resources": {"concurrency": CONCURRENCY, "api_key_env": None}}
    return ScoreConfig.model_validate({"annotators": [judge], "resources": {"workers": workers}})


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_killed_stage_asks_only_what_was_not_answered(
    endpoint: Endpoint, inputs: dict[str, str], tmp_path: Path, workers: int
) -> None:
    config = config_of(endpoint, workers)
    whole = run_once(score.STAGE, config, inputs, tmp_path / "whole")
    assert sum(endpoint.sold.values()) == 120
    endpoint.sold.clear()
    out = tmp_path / "killed"
    claim(score.STAGE, config, inputs, out)
    command = [sys.executable, "-m", "annotation.score", str(out / "_step.json")]
    for wanted in (25, 90):
        stage = subprocess.Popen(command, cwd=CHECKOUT, stderr=subprocess.PIPE)
        while sum(endpoint.sold.values()) < wanted:
            assert stage.poll() is None, stage.communicate()[1]
            time.sleep(0.002)
        stage.kill()
        stage.communicate()
    assert list(out.glob(".answers-*.jsonl"))
    subprocess.run(command, cwd=CHECKOUT, check=True)
    killed = read_manifest(out)
    assert killed is not None
    assert (killed.files, killed.facts) == (whole.files, whole.facts)
    assert len(endpoint.sold) == 120
    # What was in flight at a kill was asked again, and nothing else.
    assert sum(endpoint.sold.values()) <= 120 + 2 * CONCURRENCY
    for part in out.glob("part-*.parquet"):  # made anew, by the answers that were paid for
        part.unlink()
    (out / "_manifest.json").unlink()
    endpoint.sold.clear()
    assert run_once(score.STAGE, config, inputs, out).files == whole.files
    assert not endpoint.sold
