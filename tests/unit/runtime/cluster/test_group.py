"""What becomes of Ray's own errors where processes run together, without a cluster."""

import pytest
import ray
from ray.exceptions import ActorUnavailableError, NodeDiedError, RayTaskError

from contracts.errors import OnPolicyError, UserError
from runtime.cluster.group import Lost, _get
from runtime.cluster.ranks import Place

PLACE = Place("id", "10.0.0.2", "host", [], 4)


def raised(error: Exception) -> BaseException:
    return RayTaskError("Host", "Traceback", error, ip="10.0.0.2").as_instanceof_cause()


@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        (raised(UserError("owner/name: no such model")), UserError, "^owner/name: no such model$"),
        (raised(OSError("no space")), OnPolicyError, "^no space$"),
        (ActorUnavailableError("no route", None), Lost, "^node 10.0.0.2 was lost"),
        (NodeDiedError("gone"), Lost, "^node 10.0.0.2 was lost"),
    ],
)
def test_what_a_node_raises_is_told_and_a_node_that_is_gone_is_lost(
    monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[Exception], told: str
) -> None:
    def get(_answers: list[object]) -> None:
        raise error

    monkeypatch.setattr(ray, "get", get)
    with pytest.raises(OnPolicyError, match=told) as caught:
        _get(["an answer"], PLACE)
    assert type(caught.value) is kind
