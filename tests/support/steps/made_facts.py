"""Facts for manifests that tests write by hand."""

from typing import Any

from pydantic import ConfigDict

from contracts.steps.facts import Facts


class MadeFacts(Facts):
    """Whatever the test says."""

    model_config = ConfigDict(extra="allow")


def made_facts(facts: dict[str, Any]) -> MadeFacts:
    return MadeFacts(**facts)
