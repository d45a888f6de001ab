"""What a person wants to be told at once, posted to a webhook: a failure, a gate.

Its address is a secret: it comes from ONPOLICY_WEBHOOK alone, and no message holds it. The body is
`{"text": ..., "event": ..., "run": ...}`; Slack, Mattermost and Discord's `/slack` show the text.
"""

import json
import os
import urllib.request
from http.client import HTTPException
from typing import Any

from prefect import Flow, State
from prefect.client.schemas.objects import FlowRun

from flows.pipeline.console import print_warning

VARIABLE = "ONPOLICY_WEBHOOK"
_SECONDS = 10.0


def post(event: str, run: str, text: str) -> None:
    """Post, where there is an address; a warning where nobody takes it.

    Args:
        event: `failed`, `crashed` or `gate`.
    """
    if not (url := os.environ.get(VARIABLE)):
        return
    body = json.dumps({"text": f"{run}: {text}", "event": event, "run": run}).encode()
    try:
        if not url.startswith(("https://", "http://")):
            raise ValueError("no http(s) address")
        request = urllib.request.Request(url, body, {"content-type": "application/json"})  # noqa: S310
        urllib.request.urlopen(request, timeout=_SECONDS).close()  # noqa: S310
    except (OSError, ValueError, HTTPException) as error:  # the last of an address with a blank
        # Not the error's text, which may hold the address.
        print_warning(f"{VARIABLE}: not told of `{event}` ({type(error).__name__})")


def tell_failed(flow: Flow[Any, Any], flow_run: FlowRun, state: State[Any]) -> None:
    """A hook of a flow, which Prefect calls by these names."""
    post("failed", flow_run.name, state.message or "failed")


def tell_crashed(flow: Flow[Any, Any], flow_run: FlowRun, state: State[Any]) -> None:
    """The same of a process that died."""
    post("crashed", flow_run.name, state.message or "crashed")
