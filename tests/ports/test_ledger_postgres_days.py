"""A day of history goes as a whole only without what was backfilled into it lately."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing

import pytest
from tests.ports.ledger_world import NOON, entry, outcome, pass_once, runner, schedule
from tests.ports.postgres_place import drop

from offbeat.core.model import Kind, LedgerSettings
from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger_postgres import LedgerPostgres, place_of, pruning
from offbeat.ports.ledger_postgres.days import days_present

A = runner("a")
DAY = 86_400
TODAY = NOON // DAY
DAYS = f"days_{os.getpid()}"  # test processes share the server
OLD = LedgerSettings(keep_seconds=8 * DAY)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(float(NOON))


@pytest.fixture
def ledger(postgres_address: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[LedgerPostgres]:
    """Return a ledger of three days, each of which is much, ten days later; of the first an hour was backfilled just now."""
    monkeypatch.setattr(pruning, "IS_MUCH", pruning.IS_MUCH.replace("10000", "5"))
    drop(postgres_address, DAYS)
    with closing(LedgerPostgres(place_of(f"{postgres_address}?schema={DAYS}", project="shop"), horizon=clock)) as opened:
        opened.look(A)
        opened.activate(schedule(entry("e", "every 3600 0")), "stamp")
        for _ in range(3 * 24):
            pass_time(opened, clock, 3600)
        pass_time(opened, clock, 10 * DAY)
        opened.backfill("e", "token", [(NOON + 3600, NOON)])
        while claims := opened.claim(A, 100):
            opened.settle(A, [outcome(claim) for claim in claims])
        yield opened
    drop(postgres_address, DAYS)


def pass_time(ledger: LedgerPostgres, clock: FakeClock, seconds: float) -> None:
    clock.advance(seconds)
    ledger.look(A)
    clock.advance(5)
    ledger.look(A)
    while claims := pass_once(ledger, A):
        ledger.settle(A, [outcome(claim) for claim in claims])
    clock.advance(-5)


def partitions(ledger: LedgerPostgres) -> set[int]:
    return ledger.read(lambda tx: days_present(tx, ledger.texts.schema))


def test_a_day_with_a_young_row_stays_and_those_after_it_go(ledger: LedgerPostgres, clock: FakeClock) -> None:
    clock.advance(5)
    while ledger.prune(5, OLD):
        pass

    assert TODAY in partitions(ledger)
    assert not {TODAY + 1, TODAY + 2} & partitions(ledger)
    old = [(row.due_at, row.kind) for row in ledger.history(limit=1000) if row.due_at < NOON + 3 * DAY and row.until is None]
    assert old == [(NOON + 3600, Kind.BACKFILL)]

    pass_time(ledger, clock, 9 * DAY)
    clock.advance(5)
    while ledger.prune(5, OLD):
        pass
    assert TODAY not in partitions(ledger)


def test_a_row_that_comes_just_before_its_day_is_dropped_keeps_the_day(ledger: LedgerPostgres) -> None:
    assert not ledger.drop_day(TODAY, "kind = {backfill}")
    assert not ledger.drop_day(TODAY + 1, "true")
    assert ledger.drop_day(TODAY + 1, "kind = {backfill}")
    assert {TODAY, TODAY + 1} & partitions(ledger) == {TODAY}
