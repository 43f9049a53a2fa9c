"""Anything in any order, in memory and in PostgreSQL at once: both answer alike, and the invariants hold after every step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hypothesis.stateful import rule, run_state_machine_as_test
from tests.ports.ledger_world import any_order
from tests.ports.postgres_place import emptied
from tests.ports.test_ledger_machine import Both

from offbeat.ports.ledger import Ledger
from offbeat.ports.ledger_postgres import LedgerPostgres
from offbeat.ports.ledger_values import LedgerStatus


class Beside(Both):
    """The machine of the other stores, with PostgreSQL in the place of SQLite. It prunes by days: other rows than they."""

    address = ""  # of the server

    def __init__(self) -> None:
        super().__init__()
        self.sqlite.close()
        self.schema = emptied(self.address, "machine")
        self.sqlite = LedgerPostgres(self.schema, horizon=self.clock)

    def ask(self, question: Callable[[Ledger], Any]) -> Any:
        def plain(ledger: Ledger) -> Any:
            answer = question(ledger)
            if isinstance(answer, LedgerStatus):
                return replace(answer, looked_at=None)  # written once a second at most
            if not isinstance(answer, tuple):
                return answer
            return answer[0], [replace(claim, lease_until=0.0) for claim in answer[1]]  # peek's; a lease that is over

        return super().ask(plain)

    @rule()
    def prune(self) -> None:
        """Leave it out."""

    @rule()
    def the_runner_dies(self) -> None:
        self.claims = []
        self.portions = []
        self.sqlite.close()
        self.sqlite = LedgerPostgres(self.schema, horizon=self.clock)


def test_postgres_and_memory_answer_alike(postgres_address: str) -> None:
    class Here(Beside):
        address = postgres_address

    run_state_machine_as_test(Here, settings=any_order(10))
