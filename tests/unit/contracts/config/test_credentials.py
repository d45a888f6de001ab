"""A secret in a config's address is refused before it is written anywhere."""

import pytest
from checkout import CHECKOUT

from contracts.config.base import apply_overrides, check, read_yaml
from contracts.errors import UserError
from flows.pipeline.config import RunConfig

CONFIG = CHECKOUT / "configs" / "demo.yaml"


def refusal(override: str) -> str:
    with pytest.raises(UserError) as refused:
        check(RunConfig, apply_overrides(read_yaml(CONFIG), [override]), origin="run.yaml")
    return str(refused.value)


@pytest.mark.parametrize(
    "address",
    [
        "https://user:SECRET@host/v1",
        "https://SECRET@host/v1",
        "HTTPS://user:SECRET@host",
        " https://user:SECRET@host/v1",
        "https:/user:SECRET@host/v1",
        "https://host/v1?api_key=SECRET",
    ],
)
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("annotation.annotators.0.base_url", "annotation.annotators=[{kind: judge, name: j, "
         "model: m, compare: pointwise, base_url: '%s'}]"),
        ("training.trackers.0.project", "training.trackers=[{kind: wandb, project: '%s'}]"),
        ("prompts.decontaminate.0", "prompts.decontaminate=['%s']"),
        ("policy.path", "policy.path='%s'"),
        ("unknown.deep", "unknown.deep='%s'"),
    ],
)  # fmt: skip
def test_an_address_with_a_secret_is_refused_by_its_key_and_never_shown(
    key: str, value: str, address: str
) -> None:
    said = refusal(value % address)
    assert said.startswith(f"run.yaml: key {key!r}: an address may hold no user name")
    assert "SECRET" not in said and "api_key_env" in said


@pytest.mark.parametrize("address", [
    "https://user:SEC/RET@host/v1", "https://user:SEC RET@host/v1", "https://host/v1#key=SECRET",
    "https://host/v1?api_key=SEC RET",
])  # fmt: skip
def test_an_address_alone_holds_nothing_that_a_secret_could_hide_in(address: str) -> None:
    said = refusal(
        "annotation.annotators=[{kind: judge, name: j, model: m, compare: pointwise, "
        f"base_url: '{address}'" + "}]"
    )
    assert said.startswith("run.yaml: key 'annotation.annotators.0.base_url': an address may hold")
    assert "SEC" not in said


@pytest.mark.parametrize("value", ["sk-abcdef123456", "hf_abcDEF", "$OPENAI_API_KEY", "''"])
def test_a_key_in_the_place_of_its_variables_name_is_refused_and_never_shown(value: str) -> None:
    said = refusal(
        "annotation.annotators=[{kind: judge, name: j, model: m, compare: pointwise, "
        f"resources: {{api_key_env: {value}}}" + "}]"
    )
    key = "annotation.annotators.0.resources.api_key_env"
    assert said.startswith(f"run.yaml: key {key!r}: is no environment variable's name")
    assert "abc" not in said


@pytest.mark.parametrize("override", [
    "policy.path=owner/name@main",
    "prompts.system='Write to me@example.org: is https://example.org/?a=1 up?'",
])  # fmt: skip
def test_revisions_and_texts_are_no_addresses(override: str) -> None:
    check(RunConfig, apply_overrides(read_yaml(CONFIG), [override]), origin="run.yaml")
