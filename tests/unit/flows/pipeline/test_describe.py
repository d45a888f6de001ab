"""A run's steps as the README and the design show them, and the JSON Schemas of their manifests."""

import json
import re
import textwrap
from pathlib import Path

import jsonschema
import pytest
from annotation_steps import pair_in, score_in
from checkout import CHECKOUT

from annotation import pairs, score
from flows.pipeline.describe import manifest_schema, picture, steps, table

DRAW = "put in what `python -m flows.pipeline.describe` prints"


def shown(page: str, mark: str) -> str:
    return (CHECKOUT / page).read_text().split(f"<!-- {mark} -->\n")[1].split("<!-- /")[0].rstrip()


def test_the_readmes_pictures_are_drawn_from_the_stages() -> None:
    pictures = [textwrap.dedent(shown("README.md", mark)) for mark in ("pipeline", "folder")]
    assert "\n\n".join(pictures) == picture(), DRAW


def test_the_table_of_steps_in_the_design_is_drawn_from_the_stages() -> None:
    assert shown("docs/design.md", "steps") == table(), DRAW


def test_the_next_round_goes_on_where_the_new_policy_is_first_read() -> None:
    line, arrow, _ = picture().splitlines()[:3]
    assert line[: arrow.index("^")].endswith("resp")
    assert line[: arrow.index("|")].endswith("pol")


def test_what_a_config_need_not_ask_for_stands_in_brackets() -> None:
    in_brackets = re.findall(r"\[(.+?)/\]", picture())
    assert {"demonstrations", "reference", "answers", "win_rates"} < {*in_brackets}
    assert not {"pairs", "tokens", "policy", "comparison"} & {*in_brackets}


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
