"""What is too old, too many or too large goes in small steps, and never what is near to anything undecided."""

from __future__ import annotations

import pytest
from tests.ports.ledger_world import NOON, command, entry, outcome, pass_once, report, runner, schedule, states

from offbeat.core.model import CatchUp, Kind, LedgerSettings, State
from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger import Ledger

A, SUPERVISOR = runner("a"), runner("s", "supervisor")
DAY = 86_400


def sent(ledger: Ledger, clock: FakeClock, days: int) -> None:
    """Send one occurrence a day, and let what was sent ten days pass after the last."""
    for _ in range(days):
        clock.advance(DAY)
        ledger.look(A)
        clock.advance(5)
        ledger.look(A)
        for claim in pass_once(ledger, A):
            ledger.settle(A, [outcome(claim)])
        clock.advance(-5)


@pytest.fixture
def daily(ledger: Ledger, clock: FakeClock) -> Ledger:
    ledger.look(A)
    ledger.activate(schedule(entry("e", f"every {DAY} {NOON % DAY}")), "stamp")
    sent(ledger, clock, 20)
    clock.advance(5)
    return ledger


def days(ledger: Ledger) -> list[int]:
    return [(due_at - NOON) // DAY for _, due_at, _, _ in states(ledger)][::-1]


def test_rows_older_than_what_is_kept_go(daily: Ledger) -> None:
    assert daily.prune(1000) == 0
    assert daily.prune(1000, LedgerSettings(keep_seconds=10 * DAY)) == 10

    assert days(daily) == list(range(11, 21))


def test_the_last_week_before_anything_undecided_stays_whatever_is_kept(daily: Ledger) -> None:
    for keep in (LedgerSettings(keep_seconds=1), LedgerSettings(keep_rows=1), LedgerSettings(keep_bytes=1)):
        daily.prune(1000, keep)
        assert days(daily) == list(range(14, 21))


def test_a_group_with_a_backlog_keeps_what_is_before_it(ledger: Ledger, clock: FakeClock) -> None:
    ledger.look(A)
    ledger.activate(
        schedule(entry("e", f"every {DAY} {NOON % DAY}"), entry("late", f"every {10 * DAY} {(NOON + DAY) % (10 * DAY)}")), "s"
    )
    clock.advance(DAY)
    ledger.look(A)
    clock.advance(5)
    ledger.look(A)
    for claim in pass_once(ledger, A):
        ledger.settle(A, [outcome(claim)])
    clock.advance(29 * DAY)
    ledger.look(A)
    clock.advance(5)
    ledger.look(A)

    assert ledger.prune(1000, LedgerSettings(keep_seconds=1)) == 0


def test_the_oldest_of_too_many_rows_go(daily: Ledger) -> None:
    assert daily.prune(1000, LedgerSettings(keep_rows=15)) == 5
    assert days(daily) == list(range(6, 21))
    assert daily.prune(1000, LedgerSettings(keep_rows=15)) == 0


def test_the_steps_are_small(daily: Ledger) -> None:
    keep = LedgerSettings(keep_rows=12)

    assert [daily.prune(3, keep) for _ in range(4)] == [3, 3, 2, 0]
    assert days(daily) == list(range(9, 21))


def test_what_is_not_settled_is_not_counted_and_does_not_go(ledger: Ledger, clock: FakeClock) -> None:
    ledger.look(A)
    ledger.activate(schedule(entry(catch_up=CatchUp.ALL)), "stamp")
    clock.advance(180)
    pass_once(ledger, A)
    ledger.backfill("e", "token", [(NOON - 30 * DAY, NOON + 30 * DAY)])
    before = states(ledger)

    assert ledger.prune(1000, LedgerSettings(keep_seconds=1, keep_rows=1, keep_bytes=1)) == 0
    assert states(ledger) == before


@pytest.fixture
def filled(daily: Ledger, clock: FakeClock) -> Ledger:
    """Return a ledger of whose last day two backfills are, of long ago and of the day before; all is sent."""
    span = [(NOON - n * DAY, int(clock.now())) for n in (400, 399)]
    assert daily.backfill("e", "token", [*span, (NOON + 19 * DAY, int(clock.now()))]) == 3
    for claim in daily.claim(A, 10):
        daily.settle(A, [outcome(claim)])
    return daily


def backfilled(ledger: Ledger) -> list[int]:
    return [(row.due_at - NOON) // DAY for row in ledger.history() if row.kind is Kind.BACKFILL]


def test_what_is_backfilled_is_kept_from_its_record_on(filled: Ledger, clock: FakeClock) -> None:
    keep = LedgerSettings(keep_seconds=10 * DAY)
    assert filled.prune(1000, keep) == 10
    assert backfilled(filled) == [19, -399, -400]
    assert filled.backfill("e", "token", [(NOON - 400 * DAY, NOON)]) == 0  # the same said again sends nothing again

    sent(filled, clock, 9)
    assert filled.prune(1000, keep) == 9
    assert len(backfilled(filled)) == 3
    sent(filled, clock, 1)
    assert filled.prune(1000, keep) == 1 + 3
    assert backfilled(filled) == []


def test_of_too_many_rows_those_that_were_backfilled_are_young(filled: Ledger, clock: FakeClock) -> None:
    sent(filled, clock, 20)

    assert filled.prune(1000, LedgerSettings(keep_rows=24)) == 43 - 24
    assert backfilled(filled) == [19, -399, -400]
    assert filled.prune(1000, LedgerSettings(keep_rows=20)) == 4
    assert backfilled(filled) == []
    assert days(filled) == list(range(21, 41))


def test_the_oldest_go_while_the_ledger_is_too_large(ledger: Ledger, clock: FakeClock) -> None:
    ledger.look(A)
    ledger.activate(schedule(command("c", f"every {DAY} {NOON % DAY}")), "stamp")
    for _ in range(20):
        clock.advance(DAY)
        ledger.look(A)
        clock.advance(5)
        ledger.look(A)
        for claim in pass_once(ledger, A):
            ledger.report(SUPERVISOR, [report(claim, State.SUCCEEDED, output=b"x" * 100_000)])
        clock.advance(-5)
    keep = LedgerSettings(keep_bytes=1_700_000)

    while ledger.prune(2, keep):
        pass

    left = days(ledger)
    assert left[-1] == 20 and 8 <= len(left) < 20
    assert left == list(range(21 - len(left), 21))  # the oldest went, and no more than was needed
    assert ledger.output(ledger.history()[0].key or pytest.fail("a row")) == b"x" * 100_000


def test_a_ledger_that_is_small_enough_keeps_its_rows(daily: Ledger) -> None:
    assert daily.prune(1000, LedgerSettings(keep_bytes=10**9)) == 0


def test_last_due_outlives_its_row(daily: Ledger, clock: FakeClock) -> None:
    daily.prune(1000, LedgerSettings(keep_rows=7))

    assert daily.slot(A, "e", NOON + DAY).state is State.DISPATCHED


def test_a_rewind_does_not_go_behind_what_was_pruned(daily: Ledger) -> None:
    assert daily.prune(1000, LedgerSettings(keep_seconds=10 * DAY)) == 10

    daily.rewind(NOON + 2 * DAY, "ann")

    assert pass_once(daily, A) == []
    assert days(daily) == list(range(11, 21))
    rewound = daily.status().rewound
    assert rewound is not None
    assert NOON + 10 * DAY <= rewound.to < NOON + 11 * DAY
