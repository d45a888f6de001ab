"""A machine without a cluster and a store needs neither Ray nor obstore, and imports none."""

import subprocess
import sys

from checkout import CHECKOUT

CODE = """
import sys
sys.modules |= dict.fromkeys(("ray", "obstore"))  # as where they are not installed
from pathlib import Path
from flows import on_policy
from flows.explore import stored
from flows.forecast import clusters, plan as forecast
from flows.pipeline.checks.cluster import cluster_checks
from flows.pipeline.load_run import load_run
from flows.pipeline.planning.plan import plan
from flows.pipeline.store.adopt import refuse_unusable
from flows.pipeline.store.run_store import storing
from annotation.workers import placement as scoring, pool
from generation.workers import placement as sampling, pool
from training.launch import accelerate, over_cluster

config = load_run(Path("configs/demo.yaml"), ["name=laptop"])
refuse_unusable(config)
assert not [*cluster_checks([], plan(config))]
assert scoring.placement_for(config.annotation).workers >= 0
assert sampling.placement_for(config.sampling.engine).workers >= 0
loaded = {name.partition(".")[0] for name, module in sys.modules.items() if module}
assert not loaded & {"ray", "obstore"}, loaded
"""


def test_a_laptop_imports_neither_ray_nor_obstore_and_runs_without_them() -> None:
    subprocess.run([sys.executable, "-c", CODE], cwd=CHECKOUT, check=True)
