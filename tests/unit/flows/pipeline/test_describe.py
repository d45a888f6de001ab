"""A run's steps as the README shows them, and the JSON Schemas of their manifests."""

import json
from pathlib import Path

import jsonschema
import pytest
from annotation_steps import pair_in, score_in
from checkout import CHECKOUT

from annotation import pairs, score
from flows.pipeline.describe import manifest_schema, steps, table


def test_the_readme_shows_the_steps_as_they_are() -> None:
    shown = (CHECKOUT / "README.md").read_text().split("<!-- steps -->\n")[1]
    now = "python -m flows.pipeline.describe prints what belongs into the README"
    assert shown.split("<!-- /steps -->")[0].strip() == table(), now


def test_every_step_of_a_run_says_what_it_reads_and_makes() -> None:
    for step in steps():
        assert step.reads and step.stage.output, step.path


def test_real_manifests_are_as_their_schemas_say(run_folder: Path) -> None:
    score_in(run_folder)
    pair_in(run_folder)
    for stage, name in ((score.STAGE, "scores"), (pairs.STAGE, "pairs")):
        manifest = json.loads((run_folder / name / "_manifest.json").read_text())
        jsonschema.validate(manifest, manifest_schema(stage))
        del manifest["facts"]["policy"]
        manifest["facts"]["unknown"] = 1
        with pytest.raises(jsonschema.ValidationError, match="unknown"):
            jsonschema.validate(manifest, manifest_schema(stage))
