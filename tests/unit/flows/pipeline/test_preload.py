"""What a run's processes share."""

from importlib.util import find_spec

import pytest
from checkout import CHECKOUT

from flows.pipeline import preload
from flows.pipeline.load_run import load_run
from flows.pipeline.planning.plan import plan


@pytest.mark.parametrize(("overrides", "also", "not_these"), [
    (
        [], ["generation.engines.preload", "annotation.armorm.scorer", "training.engines.preload"],
        [],
    ),
    (
        ["sampling.engine.kind=transformers", "evaluation.sampling.engine.kind=transformers"],
        ["training.loop.worker"], ["generation.engines.preload"],
    ),
])  # fmt: skip
def test_a_run_imports_what_its_stages_need_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, overrides: list[str], also: list[str], not_these: list[str]
) -> None:
    begun = list[list[str]]()
    monkeypatch.setattr(preload, "ensure_server", begun.append)
    steps = plan(load_run(CHECKOUT / "configs" / "demo.yaml", overrides))
    preload.preload(steps)
    preload.preload([])
    (modules,) = begun
    assert modules[0] == "flows.pipeline.checks.look_inside"
    assert modules[-1] == "flows.report.plots", "drawn late, and waited for by nobody"
    assert {step.stage.module for step in steps} | {*also} <= {*modules}
    assert not {*not_these} & {*modules}
    assert all(find_spec(module) for module in modules)
