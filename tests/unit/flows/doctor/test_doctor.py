"""`onpolicy doctor`: each line says what is so, and the way out."""

import datetime
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from huggingface_hub import constants
from loopback import serving
from minimal_run import MINIMAL, config
from typer.testing import CliRunner

from flows.cli.app import app
from flows.doctor.diagnosis import diagnose
from flows.doctor.finding import Finding
from flows.doctor.machine import machine
from flows.doctor.tokenizers import tokenizers
from flows.pipeline.config import RunConfig


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No hub and no Prefect server beside the tests."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)


@pytest.fixture
def settings(tmp_path: Path, tiny_gemma: Path) -> Callable[..., RunConfig]:
    """Configs whose policy is a real tiny Gemma, scored by a function."""
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "Name two fruits."}')
    scored = {"kind": "function", "name": "truth", "function": "demo.rubric:score"}
    own = {
        "runs_dir": str(tmp_path / "runs"), "policy": {"path": str(tiny_gemma)},
        "prompts": MINIMAL["prompts"] | {"path": str(tmp_path / "prompts.jsonl")},
        "annotation": {"annotators": [scored]},
    }  # fmt: skip
    return lambda **changes: config(**(own | changes))


def looked(**changes: object) -> dict[str, Finding]:
    given = {"needs": frozenset[str](), "runs": Path("runs"), "hub": list[str]()} | changes
    return {one.what: one for one in machine(**given)}  # type: ignore[arg-type]


@contextmanager
def answering(path: str, code: int) -> Iterator[str]:
    """A server's address, which answers with `code` at `path`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(code if self.path == path else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as address:
        yield address


def test_every_part_of_the_machine_has_a_line_and_each_fault_a_way_out() -> None:
    found = looked()
    parts = {"Python", "vllm", "deepspeed", "flash-attn", "disk", "hub", "Prefect API"}
    assert parts <= found.keys() and {"GPU", "GPUs"} & found.keys()
    assert all(one.way_out for one in found.values() if one.state != "ok")


def test_packages_that_are_compiled_at_each_start_are_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.dont_write_bytecode", False)
    assert looked()["Python"].state == "ok"
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    monkeypatch.setattr("sys.pycache_prefix", str(tmp_path))
    assert "compiles the packages' sources" in looked()["Python"].says


def test_a_package_that_the_config_needs_stops_a_run_and_else_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("flows.doctor.machine._version", lambda _: None)
    assert looked()["vllm"].state == "note"
    missing = looked(needs=frozenset({"vllm"}))["vllm"]
    assert missing.state == "stop" and "make install" in missing.way_out


def test_a_model_to_fetch_without_a_hub_stops_a_run() -> None:
    found = looked(hub=["owner/model"])["hub"]
    assert found.state == "stop" and "owner/model" in found.says and "unset" in found.way_out


@pytest.mark.parametrize(("code", "state"), [(200, "ok"), (500, "stop")])
def test_prefects_api_is_asked(monkeypatch: pytest.MonkeyPatch, code: int, state: str) -> None:
    with answering("/api/health", code) as address:
        monkeypatch.setenv("PREFECT_API_URL", f"{address}/api")
        assert looked()["Prefect API"].state == state
    if state == "stop":
        assert "onpolicy server" in looked()["Prefect API"].way_out


def test_a_server_that_a_profile_names_is_asked_as_a_run_asks_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.delenv("PREFECT_PROFILES_PATH", raising=False)
    profile = 'active = "own"\n[profiles.own]\nPREFECT_API_URL = "http://127.0.0.1:9/api"\n'
    (tmp_path / "profiles.toml").write_text(profile)
    assert looked()["Prefect API"].state == "stop"


@pytest.mark.parametrize("url", ["http://user:SECRET@127.0.0.1:9/api", "http://127.0.0.1:x/api"])
def test_an_address_is_told_without_its_password_also_one_that_is_none(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", url)
    found = looked()
    assert found["Prefect API"].state == "stop" and found["hub"].state == "note"
    assert not any("SECRET" in one.says for one in found.values())


@pytest.mark.parametrize(("code", "state"), [(200, "ok"), (403, "note"), (502, "note")])
def test_a_hub_or_proxy_that_refuses_does_not_count_as_answering(
    monkeypatch: pytest.MonkeyPatch, code: int, state: str
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with answering("/api/models?limit=1", code) as address:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        found = looked()["hub"]
        assert found.state == state and (state == "ok" or f"({code})" in found.says)
        assert state == "ok" or looked(hub=["owner/model"])["hub"].state == "stop"


def test_a_token_that_hf_auth_login_has_stored_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    with answering("/api/models?limit=1", 200) as address:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        assert looked()["hub"].says.endswith("without a token")
        (tmp_path / "token").write_text("hf_of_the_login")
        assert looked()["hub"].says.endswith("with a token")


def test_a_dataset_to_fetch_without_a_hub_stops_a_run(
    settings: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    commit = "a" * 40
    away = settings(prompts=MINIMAL["prompts"] | {"path": f"owner/prompts@{commit}"})
    (found,) = (one for one in diagnose(away) if one.what == "hub")
    assert found.state == "stop" and "owner/prompts" in found.says
    (tmp_path / "datasets--owner--prompts" / "snapshots" / commit).mkdir(parents=True)
    assert not any("owner/prompts" in one.says for one in diagnose(away) if one.what == "hub")


def test_a_tokenizer_is_tried_for_one_bos_and_the_clock(
    settings: Callable[..., RunConfig], tiny_gemma: Path, tmp_path: Path
) -> None:
    (found,) = tokenizers(settings())
    assert found.state == "ok" and "1 BOS" in found.says and "same tokens on any day" in found.says
    (twice,) = tokenizers(settings(policy={"path": str(tiny_gemma), "bos": "prepend"}))
    assert twice.state == "stop" and "2 BOS" in twice.says


def test_a_template_that_reads_the_clock_is_told_with_its_date(
    settings: Callable[..., RunConfig], tiny_gemma: Path, tmp_path: Path
) -> None:
    import shutil

    model = shutil.copytree(tiny_gemma, tmp_path / "clock")
    template = model / "chat_template.jinja"
    template.write_text(template.read_text().replace("{{ bos_token }}",
                        "{{ bos_token }}{{ strftime_now('%d %b %Y') }}"))  # fmt: skip
    (found,) = tokenizers(settings(policy={"path": str(model)}, date=datetime.date(2026, 1, 2)))
    assert found.state == "ok" and "reads the clock: told 2026-01-02" in found.says


def test_a_fault_of_the_config_is_a_line_and_the_exit_code_is_1(
    settings: Callable[..., RunConfig], tmp_path: Path
) -> None:
    missing = settings(policy={"path": str(tmp_path / "nowhere")})
    assert any(one.state == "stop" and "nowhere" in one.says for one in diagnose(missing))
    path = tmp_path / "run.yaml"
    from contracts.config.yaml import dump_yaml

    path.write_text(dump_yaml(missing.model_dump(mode="json")))
    ended = CliRunner().invoke(app, ["doctor", str(path)])
    assert ended.exit_code == 1 and "would stop a run" in ended.stdout
    assert CliRunner().invoke(app, ["doctor"]).exit_code == 0
