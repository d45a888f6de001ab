"""One cluster for all tests here."""

from collections.abc import Iterator

import pytest
from two_nodes import TwoNodes


@pytest.fixture(scope="package")
def cluster(fork_server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoNodes]:
    """Its workers fork from this session's server, which they inherit by the environment."""
    import ray

    settings = {
        "OMP_NUM_THREADS": "1",  # as the workers here
        "XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache")),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_raylet_start_wait_time_s": "120",
        # Other tests' engines fill the memory as well.
        "RAY_memory_monitor_refresh_ms": "0",
        "RAY_worker_niceness": "0",
        # A killed node is gone after 3 s instead of 15; one that is slow has its 10 s each time.
        "RAY_health_check_period_ms": "1000",
        "RAY_health_check_failure_threshold": "3",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        made = TwoNodes()
        ray.init(address=made.address, log_to_driver=False, configure_logging=False)
        yield made
        made.close()
