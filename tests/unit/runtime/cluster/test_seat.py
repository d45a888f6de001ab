"""A seat on its node, without Ray around it."""

from typing import Any

from runtime.cluster.seat import Seat


class Life:
    killed = False

    def kill(self) -> None:
        self.killed = True


def test_a_kill_that_comes_late_does_not_end_the_next_worker() -> None:
    seat, present = Seat(), Life()
    lives: Any = {2: present}
    seat._lives = lives
    seat.kill(1)
    assert not present.killed
    seat.kill(2)
    assert present.killed
