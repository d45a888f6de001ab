"""`make install`: from the locks alone, by uv or by pip, from no host but PyTorch's own."""

import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from checkout import CHECKOUT

MAKEFILE = CHECKOUT / "Makefile"

# setuptools, which builds the real one, is itself in a lock.
BACKEND = """
import shutil
def build_editable(folder, *_):
    shutil.copy("mine-1.0-py3-none-any.whl", folder)
    return "mine-1.0-py3-none-any.whl"
"""

pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")


def make(folder: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))
    }
    return subprocess.run(
        ["make", "--file", MAKEFILE, *arguments],
        cwd=folder, env={**kept, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose locks hold one package, which lies in `wheels` beside it; uv does not."""
    folder, wheels = tmp_path / "checkout", tmp_path / "wheels"
    (folder / "requirements").mkdir(parents=True)
    wheels.mkdir()
    (folder / "requirements" / "cpu.txt").write_text("tiny==1.0\n")
    (folder / "requirements" / "dev.txt").touch()
    shutil.copy(CHECKOUT / "requirements" / "uv.txt", folder / "requirements")
    write_wheel(wheels, "tiny")
    write_wheel(folder, "mine")
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    (folder / "backend.py").write_text(BACKEND)
    return folder


def write_wheel(folder: Path, name: str) -> None:
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", "VALUE = 1\n")
        about = f"{name}-1.0.dist-info"
        wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")


def test_where_uv_cannot_be_had_pip_installs_the_locks(checkout: Path) -> None:
    wheels = checkout.parent / "wheels"
    ended = make(checkout, "install", PIP_FIND_LINKS=str(wheels), PIP_NO_INDEX="1")
    assert ended.returncode == 0, ended.stderr
    assert "uv can't be had here" in ended.stdout
    python = checkout / ".venv" / "bin" / "python"
    assert subprocess.check_output([python, "-c", "import tiny; print(tiny.VALUE)"]) == b"1\n"


def test_uv_is_told_what_pip_would_read_from_its_environment(checkout: Path) -> None:
    (checkout / "show.mk").write_text(f"include {MAKEFILE}\nshow:\n\t@env\n")
    told = {"PIP_FIND_LINKS": "/a /b", "PIP_INDEX_URL": "file:///mirror"}
    shown = make(checkout, "--file", "show.mk", "show", **told).stdout.splitlines()
    assert {"UV_FIND_LINKS=/a,/b", "UV_DEFAULT_INDEX=file:///mirror"} <= set(shown)
    kept = make(checkout, "--file", "show.mk", "show", **told, UV_DEFAULT_INDEX="file:///own")
    assert "UV_DEFAULT_INDEX=file:///own" in kept.stdout.splitlines()


@pytest.mark.parametrize("target", ["install", "install-gpu"])
def test_locks_are_installed_without_resolution_from_no_host_but_pytorchs(
    checkout: Path, target: str
) -> None:
    commands = make(checkout, "--dry-run", target).stdout
    installs = [line for line in commands.splitlines() if " install " in line]
    assert any(line.startswith(".venv/bin/uv pip install") for line in installs)
    assert all("--no-deps" in line for line in installs)
    assert set(re.findall(r"https?://[^/\s]+", commands)) <= {"https://download.pytorch.org"}
