"""A schedule's runs start in a process of their own, to which Prefect pickles the flow by value."""

import cloudpickle

from flows.on_policy import on_policy


def test_a_served_flow_can_be_sent_to_the_process_that_runs_it() -> None:
    again = cloudpickle.loads(cloudpickle.dumps(on_policy))
    assert again.name == "on-policy"
    assert again.fn is not on_policy.fn  # by value indeed: else this test shows nothing
