"""The stores, one after the other, for tests that hold all of them to the same: each line makes a new, empty one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pytest

from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger import Ledger
from offbeat.ports.ledger_memory import LedgerMemory
from offbeat.ports.ledger_sqlite import LedgerSqlite, Place

Handles: TypeAlias = Callable[[], Ledger]  # opens one more handle on one store


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What a store is made on. request: for the fixtures of servers. stack: closes what was opened. schema: in PostgreSQL."""

    request: pytest.FixtureRequest
    clock: FakeClock
    stack: ExitStack
    folder: Path
    schema: str = "contract"


def memory(ground: Ground) -> Handles:
    ledger = LedgerMemory(clock=ground.clock, project="shop", owner="host:/tree")
    return lambda: ledger


def sqlite(ground: Ground) -> Handles:
    place = Place(path=str(ground.folder / "state" / "ledger.sqlite3"), project="shop", owner="host:/tree")
    return lambda: ground.stack.enter_context(closing(LedgerSqlite(place, clock=ground.clock)))


def redis(ground: Ground) -> Handles:
    from tests.ports.redis_place import own_place

    from offbeat.ports.ledger_redis import LedgerRedis

    place = ground.stack.enter_context(own_place(ground.request.getfixturevalue("durable_redis_address")))
    return lambda: ground.stack.enter_context(closing(LedgerRedis(place, horizon=ground.clock)))


def postgres(ground: Ground) -> Handles:
    from tests.ports.postgres_place import emptied

    from offbeat.ports.ledger_postgres import LedgerPostgres

    place = emptied(ground.request.getfixturevalue("postgres_address"), ground.schema)
    return lambda: ground.stack.enter_context(closing(LedgerPostgres(place, horizon=ground.clock)))


# A server's fixture is asked for by its name only where it is needed.
STORES: dict[str, Callable[[Ground], Handles]] = {"memory": memory, "sqlite": sqlite, "redis": redis, "postgres": postgres}
