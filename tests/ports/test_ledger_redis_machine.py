"""Anything in any order, in memory and in Redis at once: both answer alike, and the invariants hold after every step."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis.stateful import rule, run_state_machine_as_test
from tests.ports.redis_place import own_place
from tests.ports.test_ledger_machine import Both

from offbeat.ports.ledger import Ledger
from offbeat.ports.ledger_redis import LedgerRedis, Place


def test_redis_and_memory_answer_alike(durable_redis_address: str) -> None:
    class Beside(Both):
        """The machine of the other stores, with Redis in the place of SQLite."""

        def __init__(self) -> None:
            super().__init__()
            self.sqlite.close()
            self.stack = ExitStack()
            place = self.stack.enter_context(own_place(durable_redis_address))
            self.redis_place = Place(address=place.address, project="shop")
            self.sqlite = LedgerRedis(self.redis_place, horizon=self.clock)

        def ask(self, question: Callable[[Ledger], Any]) -> Any:
            self.clock.wall = round(self.clock.wall, 6)  # Redis knows microseconds, a float now and then more

            def plain(ledger: Ledger) -> Any:
                answer = question(ledger)
                if not isinstance(answer, tuple):
                    return answer
                return answer[0], [replace(claim, lease_until=0.0) for claim in answer[1]]  # peek's; a lease that is over

            return super().ask(plain)

        def teardown(self) -> None:
            super().teardown()
            self.stack.close()

        @rule()
        def the_runner_dies(self) -> None:
            self.claims = []
            self.portions = []
            self.sqlite.close()
            self.sqlite = LedgerRedis(self.redis_place, horizon=self.clock)

    quick = settings(
        max_examples=20, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
    )
    run_state_machine_as_test(Beside, settings=quick)
