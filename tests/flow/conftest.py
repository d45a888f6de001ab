"""Real parts for the flow tests: the demo's models, a Prefect server, a browser."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import filelock
import psutil
import pytest
from checkout import CHECKOUT
from made_facts import made_facts
from process_tree import started_by

from runtime.free_port import free_port


@pytest.fixture(scope="session", autouse=True)
def fork_server() -> None:
    """One process from which the stages and workers of all tests here are forked, as a run has
    one for its own; it ends with this process."""
    from flows.pipeline.load_run import load_run
    from flows.pipeline.planning.plan import plan
    from flows.pipeline.preload import preload

    preload(plan(load_run(CHECKOUT / "configs" / "demo.yaml", [])))


@pytest.fixture(scope="session")
def demo_models() -> Path:
    """The demo's tiny policy and reward model, built once and cached like `make demo` does."""
    # Two test processes may want them at once, and a stage's folder has one writer.
    (CHECKOUT / ".cache").mkdir(exist_ok=True)
    with filelock.FileLock(CHECKOUT / ".cache" / "demo-tests.lock"):
        subprocess.run([sys.executable, "-m", "demo.build"], cwd=CHECKOUT, check=True)
    return CHECKOUT / ".cache" / "demo"


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A real `onpolicy server`, as users start it; the environment that makes the flow use it."""
    port = free_port()
    environment = {
        "PREFECT_HOME": str(tmp_path_factory.mktemp("prefect")),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "DO_NOT_TRACK": "1",
    }
    command = [sys.executable, "-m", "flows.cli.main", "server", "--port", str(port)]
    with (tmp_path_factory.getbasetemp() / "server.log").open("w") as log:
        server = subprocess.Popen(
            command, env={**os.environ, **environment}, cwd=CHECKOUT, stdout=log, stderr=log
        )  # fmt: skip
        try:
            _wait_for(f"{environment['PREFECT_API_URL']}/health", server)
            yield environment
        finally:
            server.terminate()
            server.wait(30)


@pytest.fixture(scope="session")
def chromium() -> str:
    """A real headless browser."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if not path:
        pytest.skip("no chromium on this machine")
    return path


def _is_worker(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return "-m runtime.pool.worker_main" in " ".join(process.cmdline())
    return False


def _wait_for(url: str, server: subprocess.Popen, seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if server.poll() is not None:
            pytest.fail(f"the Prefect server ended with code {server.returncode}")
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.3)
    pytest.fail(f"{url} did not answer in {seconds} s")


@pytest.fixture(scope="session")
def small() -> list[str]:
    """Overrides that make one quick round out of the demo: one vLLM start, not three."""
    return [
        "rounds=1",
        "prompts.limit=48",
        "prompts.test_size=16",
        "training.global_batch=8",
        "evaluation.sampling.engine.kind=transformers",
    ]


@pytest.fixture(scope="session")
def token_inputs(tmp_path_factory: pytest.TempPathFactory, tiny_gemma: Path) -> dict[str, str]:
    """22 pairs of uneven lengths: tokens and policy as training takes them."""
    import pyarrow as pa

    from contracts.steps.fingerprint import of_input
    from contracts.steps.manifest import Result, write_manifest
    from contracts.tables.parts import write_part
    from contracts.tables.schemas import TOKENS

    folder = tmp_path_factory.mktemp("tokens")
    rows = [
        {
            "prompt_id": f"p{number}",
            "prompt_ids": [2, *range(10, 12 + number % 7)],
            "chosen_ids": [20 + (3 * number + place) % 60 for place in range(1 + number % 6)],
            "rejected_ids": [90 + (5 * number + place) % 60 for place in range(1 + number % 4)],
            "chosen_loss_start": 0,
            "rejected_loss_start": 0,
        }
        for number in range(22)
    ]
    write_part(folder, 0, pa.Table.from_pylist(rows, schema=TOKENS), TOKENS)
    facts = {"formatted_for": of_input(str(tiny_gemma))}
    write_manifest(folder, "training.format", Result(len(rows), facts=made_facts(facts)), 0.0)
    return {"tokens": str(folder), "policy": str(tiny_gemma)}


@pytest.fixture(scope="session")
def workers_of() -> Callable[[int], list[int]]:
    """From a stage's process to its workers."""

    def find(stage: int) -> list[int]:
        return sorted(one.pid for one in started_by(stage) if _is_worker(one))

    return find


@pytest.fixture(scope="session")
def poisoned_armorm(tmp_path_factory: pytest.TempPathFactory, tiny_llama_tokenizer: Any) -> Path:
    """A small random ArmoRM whose tokenizer has a word, `zzpoison`, without an embedding."""
    from tiny_armorm import write_armorm

    path = tmp_path_factory.mktemp("armorm")
    write_armorm(path, tiny_llama_tokenizer)
    vocabulary = json.loads((path / "tokenizer.json").read_text())
    special = dict(vocabulary["added_tokens"][-1])
    special |= {"id": len(tiny_llama_tokenizer), "content": "zzpoison", "special": False}
    vocabulary["added_tokens"].append(special)
    (path / "tokenizer.json").write_text(json.dumps(vocabulary))
    return path


@pytest.fixture(scope="session")
def write_run() -> Callable[..., dict[str, str]]:
    """Writes prompts with `n` responses each as a run's tables; gives the stages' inputs."""
    import pyarrow as pa

    from contracts.steps.manifest import Manifest, Result, write_manifest
    from contracts.tables.parts import write_part
    from contracts.tables.schemas import PROMPTS, RESPONSES

    def write(root: Path, texts: list[str], per_part: int, n: int = 3) -> dict[str, str]:
        prompts, responses = [], []
        for i, text in enumerate(texts):
            name = f"p{i:04}"
            messages = [{"role": "user", "content": text}]
            prompts.append(
                {"prompt_id": name, "messages": messages, "source": "x", "split": "train"}
            )
            for sample in range(n):
                answer = {"text": f"fish {sample} " + "red " * ((7 * i + sample) % 11)}
                row = dict.fromkeys(RESPONSES.names, None) | answer
                row |= {"prompt_id": name, "response_id": f"{name}-{sample}", "sample": sample}
                row |= {"seed": sample, "token_ids": [1], "n_tokens": 1}
                responses.append(row | {"finish_reason": "stop", "policy": "some policy"})
        tables = [("prompts", prompts, PROMPTS, 1), ("responses", responses, RESPONSES, n)]
        for name, rows, schema, each in tables:
            (root / name).mkdir(parents=True)
            size = per_part * each
            for part, first in enumerate(range(0, len(rows), size)):
                table = pa.Table.from_pylist(rows[first : first + size], schema)
                write_part(root / name, part, table, schema)
            finished = Result(rows=len(rows), facts=made_facts({"policy": "some policy"}))
            write_manifest(root / name, "test", finished, Manifest.clock())
        return {"prompts": str(root / "prompts"), "responses": str(root / "responses")}

    return write
