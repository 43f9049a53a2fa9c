"""The stores, one after the other, behind one fixture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TypeAlias, cast

import pytest
from tests.ports.ledger_world import NOON, Twice

from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger import Ledger
from offbeat.ports.ledger_memory import LedgerMemory
from offbeat.ports.ledger_sqlite import LedgerSqlite, Place

Handles: TypeAlias = Callable[[], Ledger]  # opens one more handle on one store


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(float(NOON))


def _memory(request: pytest.FixtureRequest, clock: FakeClock, stack: ExitStack) -> Handles:
    ledger = LedgerMemory(clock=clock, project="shop", owner="host:/tree")
    return lambda: ledger


def _sqlite(request: pytest.FixtureRequest, clock: FakeClock, stack: ExitStack) -> Handles:
    folder: Path = request.getfixturevalue("tmp_path")
    place = Place(path=str(folder / "state" / "ledger.sqlite3"), project="shop", owner="host:/tree")
    return lambda: stack.enter_context(closing(LedgerSqlite(place, clock=clock)))


def _redis(request: pytest.FixtureRequest, clock: FakeClock, stack: ExitStack) -> Handles:
    from tests.ports.redis_place import own_place

    from offbeat.ports.ledger_redis import LedgerRedis

    place = stack.enter_context(own_place(request.getfixturevalue("durable_redis_address")))
    return lambda: stack.enter_context(closing(LedgerRedis(place, horizon=clock)))


def _postgres(request: pytest.FixtureRequest, clock: FakeClock, stack: ExitStack) -> Handles:
    from tests.ports.postgres_place import emptied

    from offbeat.ports.ledger_postgres import LedgerPostgres

    place = emptied(request.getfixturevalue("postgres_address"), "contract")
    return lambda: stack.enter_context(closing(LedgerPostgres(place, horizon=clock)))


# Each makes a new, empty store. What it opens is closed by the stack; a server's fixture is asked for by its name.
STORES: dict[str, Callable[[pytest.FixtureRequest, FakeClock, ExitStack], Handles]] = {
    "memory": _memory,
    "sqlite": _sqlite,
    "redis": _redis,
    "postgres": _postgres,
}


@pytest.fixture(params=[*STORES, *(f"{store}, each message twice" for store in STORES)])
def handles(request: pytest.FixtureRequest, clock: FakeClock) -> Iterator[Handles]:
    """Return a function that opens one more handle on one store."""
    store, _, twice = str(request.param).partition(",")
    with ExitStack() as stack:
        one_more = STORES[store](request, clock, stack)
        yield lambda: cast("Ledger", Twice(one_more())) if twice else one_more()


@pytest.fixture
def ledger(handles: Handles) -> Ledger:
    """Return a new, empty ledger."""
    return handles()
