"""docs/scale.md's ways to start a cluster, against the installed Ray and our own configs.

What starts and stops Ray for a whole machine is not run here: its parts are looked up.
"""

import json
import re
import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from checkout import CHECKOUT

from flows.pipeline.load_run import load_run
from runtime.cluster.config import RayCluster

PAGE = (CHECKOUT / "docs" / "scale.md").read_text()
SECTION = PAGE.partition("\n## A Ray cluster\n")[2].partition("\n## ")[0]
SHELL = re.findall(r"```bash\n(.*?)```", SECTION, re.DOTALL)
(JOB,) = (
    one for one in re.findall(r"```yaml\n(.*?)```", SECTION, re.DOTALL) if "kind: RayJob" in one
)
COMMANDS = re.findall(r"\bray (start|stop|symmetric-run)\b([^'\"\n]*)", "\n".join(SHELL))


def test_ssh_slurm_and_kubernetes_are_shown_in_about_ten_lines_each() -> None:
    assert [text.splitlines()[0][:4] for text in SHELL] == ["ssh ", "#!/b"]
    assert all(text.count("\n") <= 13 for text in [*SHELL, JOB])


@pytest.mark.parametrize(("command", "rest"), COMMANDS)
def test_the_installed_ray_has_each_documented_command_with_its_options(
    command: str, rest: str
) -> None:
    found = find_spec("ray")
    assert found and found.origin
    scripts = Path(found.origin).parent / "scripts"
    source = "".join(path.read_text() for path in scripts.glob("*.py"))
    own = source if command == "symmetric-run" else source.partition(f"def {command}(")[0]
    assert f"add_command({command.replace('-', '_')}" in source
    for option in re.findall(r"--[a-z-]+[a-z]", rest):
        assert f'"{option}"' in own, f"ray {command} has no {option}"


def test_every_documented_run_is_one_on_a_cluster() -> None:
    runs = re.findall(r"onpolicy run \S+ (.*?)['\n]", "\n".join([*SHELL, JOB]) + "\n")
    assert len(runs) == 3
    for overrides in runs:
        config = load_run(CHECKOUT / "configs" / "demo.yaml", shlex.split(overrides))
        assert config.resources.cluster == RayCluster()


def test_the_job_for_kuberay_has_a_head_and_workers_with_the_installed_rays_dashboard() -> None:
    job: dict[str, Any] = yaml.safe_load(JOB)
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for group in groups:
        assert group["rayStartParams"] is not None
        assert group["template"]["spec"]["containers"][0]["image"] == "IMAGE"
    pinned = (CHECKOUT / "requirements" / "dev.in").read_text()
    (version,) = re.findall(r"^ray==(\S+)", pinned, re.MULTILINE)
    assert f"ray[default]=={version}" in SECTION


SHOWN = [block for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) if block != JOB]
OTHERS = [re.sub(r"^.*\n# or: ", "resources: ", block) for block in SHOWN if "# or: " in block]


@pytest.mark.parametrize("block", SHOWN + OTHERS)
def test_every_setting_that_is_shown_is_one_of_a_run(block: str) -> None:
    shown: dict[str, dict[str, Any]] = yaml.safe_load(block)
    given = [
        (f"{section}.{key}", value) for section in shown for key, value in shown[section].items()
    ]
    config = load_run(
        CHECKOUT / "configs" / "demo.yaml", [f"{key}={json.dumps(value)}" for key, value in given]
    ).model_dump(mode="json")
    for key, value in given:
        section, _, name = key.partition(".")
        held = config[section][name]
        assert {**held, **value} == held if isinstance(value, dict) else held["kind"] == value
