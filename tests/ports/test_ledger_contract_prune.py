"""What is too old, too many or too large goes in small steps, and never what is near to anything undecided."""

from __future__ import annotations

import pytest
from tests.ports.ledger_world import NOON, command, entry, outcome, pass_once, report, runner, schedule, states

from offbeat.core.model import CatchUp, LedgerSettings, State
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
