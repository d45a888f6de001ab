"""The images and the compose file: what they promise, held by a linter and by reading them."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from checkout import CHECKOUT

DOCKERFILES = sorted((CHECKOUT / "docker").glob("*.Dockerfile"))
COMPOSE = CHECKOUT / "docker" / "compose.yaml"
PINNED = re.compile(r"[\w./-]+:\d[\w.-]*")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return dict(yaml.safe_load(COMPOSE.read_text())["services"])


def instructions(dockerfile: Path, name: str) -> list[str]:
    """The arguments of each such instruction, its continued lines joined."""
    joined = dockerfile.read_text().replace("\\\n", " ")
    return [line.partition(" ")[2].strip() for line in joined.splitlines() if line.startswith(name)]


def test_there_is_a_cpu_and_a_cuda_image_and_nothing_that_shadows_dockers_sdk() -> None:
    assert [path.name for path in DOCKERFILES] == ["cpu.Dockerfile", "cuda.Dockerfile"]
    assert not (CHECKOUT / "docker" / "__init__.py").exists()


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_the_linter_has_nothing_to_say(dockerfile: Path) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("hadolint is not installed (requirements/dev.txt)")
    said = subprocess.run([hadolint, dockerfile], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout + said.stderr) == (0, "")


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_images_are_pinned_and_run_as_no_root(dockerfile: Path) -> None:
    assert all(PINNED.fullmatch(image) for image in instructions(dockerfile, "FROM"))
    assert instructions(dockerfile, "USER") == ["10001:10001"]
    assert dockerfile.read_text().index("\nUSER ") > dockerfile.read_text().rindex("\nRUN ")


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_images_install_complete_locks_and_name_no_index_but_pytorchs(dockerfile: Path) -> None:
    installs = [run for run in instructions(dockerfile, "RUN") if "pip install" in run]
    assert all("--no-deps" in run for run in installs)
    indexes = re.findall(r"--(?:extra-)?index-url\s+(\S+)", " ".join(installs))
    expected = ["https://download.pytorch.org/whl/cpu"] if "cpu" in dockerfile.name else []
    assert indexes == expected
    for lock in re.findall(r"requirements/[\w.-]+\.txt", " ".join(installs)):
        assert (CHECKOUT / lock).is_file()


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_nothing_in_an_image_phones_home(dockerfile: Path) -> None:
    environment = " ".join(instructions(dockerfile, "ENV")).split()
    assert "PREFECT_SERVER_ANALYTICS_ENABLED=false" in environment
    assert "DO_NOT_TRACK=1" in environment


def test_secrets_runs_and_the_environment_stay_out_of_the_images() -> None:
    ignored = (CHECKOUT / ".dockerignore").read_text().split()
    assert {".git", ".venv", ".cache", "runs", ".env"} <= set(ignored)


def test_services_publish_ports_on_loopback_alone(services: dict[str, Any]) -> None:
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert published == {"server": ["127.0.0.1:4200:4200"]}
    assert not [name for name, service in services.items() if service.get("network_mode") == "host"]


def test_every_service_is_hardened(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["user"] == "10001:10001", name
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert not service.get("privileged"), name
        assert PINNED.fullmatch(service["image"]), name


def test_every_lasting_service_has_a_health_check_and_waits_for_the_server(
    services: dict[str, Any],
) -> None:
    lasting = {name for name, service in services.items() if service.get("restart")}
    assert lasting == {"server", "worker", "worker-gpu"}
    for name in lasting:
        assert services[name]["healthcheck"]["test"][0] == "CMD", name
        assert services[name]["environment"]["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false", name
        assert services[name]["environment"]["DO_NOT_TRACK"] == "1", name
    for name in lasting - {"server"}:
        assert services[name]["depends_on"]["server"]["condition"] == "service_healthy"


def test_what_must_outlive_a_container_lies_on_named_volumes(services: dict[str, Any]) -> None:
    volumes = set(yaml.safe_load(COMPOSE.read_text())["volumes"])
    mounted = {mount for service in services.values() for mount in service["volumes"]}
    assert mounted == {"runs:/app/runs", "cache:/cache", "prefect:/prefect"}
    assert {mount.partition(":")[0] for mount in mounted} == volumes


def test_services_build_from_files_and_run_commands_that_exist(services: dict[str, Any]) -> None:
    for name, service in services.items():
        build = service["build"]
        assert (COMPOSE.parent / build["context"] / build["dockerfile"]).is_file(), name
        for word in service["command"]:
            for config in re.findall(r"configs/[\w.-]+\.yaml", word):
                assert (CHECKOUT / config).is_file(), config
    assert services["demo-models"]["command"] == ["python", "-m", "demo.build"]
    assert (CHECKOUT / "demo" / "build.py").is_file()


def test_compose_itself_accepts_the_file() -> None:
    docker = shutil.which("docker")
    found = (
        docker and subprocess.run([docker, "compose", "version"], capture_output=True).returncode
    )
    if not docker or found != 0:
        pytest.skip("docker's compose plugin is not installed")
    said = subprocess.run(
        [docker, "compose", "--file", COMPOSE, "config", "--quiet"], capture_output=True, text=True
    )
    assert (said.returncode, said.stderr) == (0, "")


def test_pre_commit_runs_the_checks_of_make_lint_from_the_projects_environment() -> None:
    (local,) = yaml.safe_load((CHECKOUT / ".pre-commit-config.yaml").read_text())["repos"]
    assert local["repo"] == "local"
    assert all(hook["language"] == "system" for hook in local["hooks"])
    entries = {hook["entry"].removeprefix(".venv/bin/") for hook in local["hooks"]}
    assert entries >= {"ruff check", "ruff format --check", "mypy", "lint-imports"}
