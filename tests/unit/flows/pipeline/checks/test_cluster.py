"""What is asked of a run's cluster before anything is sampled."""

import json
from pathlib import Path

from flows.pipeline.checks.cluster import _mark_in, request_of
from flows.pipeline.config import FlowResources
from flows.pipeline.load_run import load_run
from flows.pipeline.planning.plan import plan
from runtime.cluster.config import RayCluster
from runtime.cluster.needs import needs_of, unmet
from runtime.cluster.seating import Request

DEMO = Path(__file__).parents[5] / "configs" / "demo.yaml"


def test_workers_fit_one_by_one_and_trainings_processes_together() -> None:
    config = load_run(DEMO, ["name=spread", "training.resources.processes=3"])
    ray = FlowResources.model_validate({"cluster": "ray"})
    asked = {request_of(step) for step in plan(config.model_copy(update={"resources": ray}))}
    together = {one for one in asked if one and one[1].together}
    assert together == {(RayCluster(), Request(3, 1, 3, together=True))}
    assert {request_of(step) for step in plan(config)} == {None}
    assert asked > together | {None}


def test_nodes_that_do_not_share_the_folder_lack_what_is_marked_there(tmp_path: Path) -> None:
    with _mark_in(tmp_path) as marks:
        asked = json.dumps(needs_of([], marks))
        assert json.loads(unmet(asked))["faults"] == []
    (lacking,) = json.loads(unmet(asked))["faults"]  # as a node that has a folder of its own
    assert lacking.startswith(f"lacks {tmp_path}/.seen-by-all-nodes-")
    assert [*tmp_path.iterdir()] == []
    with _mark_in(tmp_path / "not yet made") as marks:
        assert marks == []
