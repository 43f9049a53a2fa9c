"""Skipping exactly one occurrence, and sending what was due in the past."""

from __future__ import annotations

import pytest
from tests.ports.ledger_world import NOON, entry, outcome, pass_once, runner, schedule, states

from offbeat.core.model import CatchUp, Cause, Key, Kind, Lane, LedgerSettings, Overlap, Reason, State
from offbeat.errors import ConfigError
from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger import Ledger
from offbeat.ports.ledger_values import MOST_BACKFILLED, Paused

A = runner("a")
DAY = 86_400


@pytest.fixture
def minutely(ledger: Ledger) -> Ledger:
    ledger.look(A)
    ledger.activate(schedule(entry(catch_up=CatchUp.ALL)), "stamp")
    return ledger


def test_one_occurrence_to_come_is_skipped_and_no_other(minutely: Ledger, clock: FakeClock) -> None:
    found = minutely.skip("e", NOON + 120, "ann", "too much to do")

    assert (found.claim, found.state, found.reason, found.key.due_at) == (None, State.SKIPPED, Reason.BY_HAND, NOON + 120)
    clock.advance(180)
    assert [claim.key.due_at for claim in pass_once(minutely, A)] == [NOON + 180]
    assert [claim.key.due_at for claim in minutely.claim(A, 9)] == [NOON + 60]
    assert [state[1:] for state in states(minutely)] == [
        (NOON + 180, State.CLAIMED, ""),
        (NOON + 120, State.SKIPPED, "by_hand"),
        (NOON + 60, State.CLAIMED, ""),
    ]


def test_who_skips_and_why_is_the_rows_note(minutely: Ledger) -> None:
    minutely.skip("e", NOON + 120, "ann", "too much to do")
    minutely.skip("e", NOON + 60, "bob", "")

    assert [row.note for row in minutely.history()] == ["ann: too much to do", "bob"]


def test_no_other_occurrence_is_coalesced_into_a_skipped_one(ledger: Ledger, clock: FakeClock) -> None:
    ledger.look(A)
    ledger.activate(schedule(entry("e", "every 600 0")), "stamp")
    ledger.skip("e", NOON + 1200, "ann", "")
    clock.advance(1205)

    assert pass_once(ledger, A) == []
    (claim,) = ledger.claim(A, 9)
    assert (claim.key.due_at, claim.next_due, claim.cause) == (NOON + 600, NOON + 1800, Cause.CATCH_UP)


def test_a_skip_pauses_no_row_that_is_claimed_in_that_second(minutely: Ledger, clock: FakeClock) -> None:
    minutely.skip("e", NOON + 120, "ann", "")
    clock.advance(60)
    (claim,) = pass_once(minutely, A)
    minutely.settle(A, [outcome(claim, State.PENDING, next_try_at=NOON + 120.0)])
    clock.advance(60)

    (again,) = minutely.claim(A, 9)
    assert not again.paused


@pytest.mark.parametrize("overlap", [Overlap.ALLOW, Overlap.WAIT], ids=["pending", "waiting"])
def test_what_is_pending_or_waiting_is_skipped(ledger: Ledger, clock: FakeClock, overlap: Overlap) -> None:
    ledger.look(A)
    ledger.activate(schedule(entry(overlap=overlap, max_runtime=500)), "stamp")
    clock.advance(60)
    (first,) = pass_once(ledger, A)
    ledger.settle(A, [outcome(first)])
    clock.advance(60)
    for claim in pass_once(ledger, A):
        ledger.settle(A, [outcome(claim, State.PENDING, next_try_at=clock.now() + 30)])

    assert ledger.skip("e", NOON + 120, "ann", "").state is State.SKIPPED
    assert states(ledger)[0] == ("e", NOON + 120, State.SKIPPED, "by_hand")
    clock.advance(50)
    assert ledger.claim(A, 9) == []


def test_what_is_claimed_or_more_stays_as_it_is(minutely: Ledger, clock: FakeClock) -> None:
    clock.advance(60)
    (claim,) = pass_once(minutely, A)
    assert minutely.skip("e", NOON + 60, "ann", "").state is State.CLAIMED
    minutely.settle(A, [outcome(claim)])

    found = minutely.skip("e", NOON + 60, "ann", "")
    assert (found.state, found.dispatched_at, found.reason) == (State.DISPATCHED, NOON + 60, Reason.NONE)
    assert minutely.pauses() == []


def test_a_due_time_in_a_gap_is_known(ledger: Ledger, clock: FakeClock) -> None:
    ledger.look(A)
    ledger.activate(schedule(entry()), "stamp")
    clock.advance(3000)
    pass_once(ledger, A)

    found = ledger.skip("e", NOON + 600, "ann", "")
    assert (found.state, found.reason) == (State.SKIPPED, Reason.COALESCED)


def test_a_due_time_whose_row_was_pruned_is_known(ledger: Ledger, clock: FakeClock) -> None:
    ledger.look(A)
    ledger.activate(schedule(entry("e", f"every {DAY} {NOON % DAY}")), "stamp")
    for _ in range(10):
        clock.advance(DAY - 5)
        ledger.look(A)
        clock.advance(5)
        ledger.look(A)
        ledger.settle(A, [outcome(claim) for claim in pass_once(ledger, A)])
    assert ledger.prune(1000, LedgerSettings(keep_seconds=8 * DAY)) == 2

    assert ledger.skip("e", NOON + DAY, "ann", "").state is State.DISPATCHED
    assert ledger.slot(A, "e", NOON + DAY).state is State.DISPATCHED


@pytest.mark.parametrize("is_old", [False, True])
def test_what_was_due_when_no_version_was_in_force_is_nothing_to_skip(ledger: Ledger, clock: FakeClock, is_old: bool) -> None:
    ledger.look(A)
    ledger.activate(schedule(entry(), entry("gone")), "stamp")
    clock.advance(60)
    pass_once(ledger, A)
    ledger.activate(schedule(entry()), "stamp 2")
    clock.advance(120)
    pass_once(ledger, A)
    ledger.activate(schedule(entry(), entry("gone"), entry("new")), "stamp 3")
    if is_old:
        clock.advance(60)
        pass_once(ledger, A)

    before = len(ledger.history())
    for name, due_at in (("e", NOON - 60), ("e", -86_400), ("gone", NOON + 120), ("new", NOON + 120)):
        found = ledger.skip(name, due_at, "ann", "")
        assert (found.state, found.reason, found.dispatched_at) == (State.SKIPPED, Reason.NONE, None)
    assert len(ledger.history()) == before
    assert ledger.pauses() == []


def test_what_was_sent_by_hand_before_the_schedule_began_is_known_to_a_skip(minutely: Ledger) -> None:
    claim = minutely.slot(A, "e", NOON - 60).claim
    assert claim is not None

    assert minutely.skip("e", NOON - 60, "ann", "").state is State.CLAIMED


def test_a_skip_of_what_is_far_away_makes_nothing_before_it_known(minutely: Ledger) -> None:
    minutely.skip("e", NOON + 86_400, "ann", "")

    assert minutely.slot(A, "e", NOON + 60).claim is not None
    assert minutely.slot(A, "e", NOON + 86_400).reason is Reason.BY_HAND


def test_skips_and_pauses_are_listed_until_they_are_over(minutely: Ledger, clock: FakeClock) -> None:
    minutely.skip("e", NOON + 120, "ann", "once")
    minutely.pause("e", "bob", "moving", NOON + 300.5)
    minutely.pause("", "carl", "")
    minutely.resume("e")
    clock.advance(1)
    minutely.pause("e", "dora", "", NOON + 60.0)

    everybody = Paused(name="", from_at=NOON, until_at=None, who="carl", note="")
    doras = Paused(name="e", from_at=NOON + 1, until_at=NOON + 60, who="dora", note="")
    skip = Paused(name="e", from_at=NOON + 120, until_at=NOON + 121, who="ann", note="once", once=True)
    assert list(minutely.pauses()) == [everybody, doras, skip]
    clock.advance(59)
    assert list(minutely.pauses()) == [everybody, skip]
    clock.advance(61)
    assert list(minutely.pauses()) == [everybody]


def test_resume_and_pause_leave_a_skip_as_it_is(minutely: Ledger, clock: FakeClock) -> None:
    minutely.skip("e", NOON + 60, "ann", "")
    clock.advance(60.5)
    minutely.pause("e", "bob", "", NOON + 500.0)
    minutely.resume("e")

    assert [(pause.who, pause.until_at) for pause in minutely.pauses()] == [("ann", NOON + 61)]


def test_only_entries_of_the_active_revision_are_skipped_or_backfilled(minutely: Ledger) -> None:
    minutely.activate(schedule(entry("other")), "stamp 2")
    for name in ("e", "nobody"):
        with pytest.raises(ConfigError):
            minutely.skip(name, NOON + 60, "ann", "")
        with pytest.raises(ConfigError):
            minutely.backfill(name, "token", [(NOON, NOON)])


def test_a_backfill_is_pending_in_its_lane_until_its_time(minutely: Ledger, clock: FakeClock) -> None:
    assert minutely.backfill("e", "token", [(NOON - 120, NOON + 1), (NOON - 60, NOON + 5)]) == 2

    assert minutely.claim(A, 9) == []
    assert minutely.look(A).wake_at == NOON + 1
    clock.advance(1)
    (claim,) = minutely.claim(A, 9)
    assert claim.key == Key(eno=1, due_at=NOON - 120, kind=Kind.BACKFILL, kind_id="token")
    assert (claim.lane, claim.cause, claim.send_at, claim.attempt) == (Lane.BACKFILL, Cause.BACKFILL, NOON + 1, 1)
    assert claim.next_due is None and claim.call == entry().call
    assert [row.kind for row in minutely.history("e")] == ["backfill", "backfill"]
    assert minutely.entries()[0][1] is None  # a backfill is no due time of the schedule


def test_a_backfill_that_was_cut_off_goes_on_by_being_said_again(minutely: Ledger, clock: FakeClock) -> None:
    rows = [(NOON - 60 * number, NOON) for number in range(4)]
    assert minutely.backfill("e", "token", rows[:2]) == 2
    (claim, _) = minutely.claim(A, 9)
    minutely.settle(A, [outcome(claim)])

    assert minutely.backfill("e", "token", rows) == 2
    assert [state for _, _, state, _ in states(minutely)].count(State.PENDING) == 2
    assert minutely.backfill("e", "another token", rows) == 4


def test_as_many_rows_as_are_allowed_are_backfilled_at_once(minutely: Ledger) -> None:
    assert minutely.backfill("e", "token", []) == 0
    assert minutely.backfill("e", "token", [(NOON - number, NOON) for number in range(MOST_BACKFILLED)]) == 5000
    assert minutely.status().pending == 5000


def test_a_live_occurrence_of_the_same_due_time_is_another_row(minutely: Ledger, clock: FakeClock) -> None:
    minutely.backfill("e", "token", [(NOON + 60, NOON + 60)])
    clock.advance(60)

    assert [claim.key.kind for claim in pass_once(minutely, A)] == [Kind.SCHEDULE]
    assert [claim.key.kind for claim in minutely.claim(A, 9)] == [Kind.BACKFILL]
