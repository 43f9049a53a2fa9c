"""The ways home: from a wrong future that was believed, and from an older state that was restored."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.ports.ledger_world import NOON, ahead_of, entry, outcome, pass_once, report, runner, schedule, states

from offbeat.core.marks import lost
from offbeat.core.model import CatchUp, Overlap, Reason, State
from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger import Ledger
from offbeat.ports.ledger_values import Rewound, Told

A, B = runner("a"), runner("b")
YEAR = 365 * 86_400


def into_the_future(ledger: Ledger, clock: FakeClock) -> None:
    """Let a clock that is a year ahead be believed."""
    clock.advance(YEAR)
    ledger.look(A)
    clock.advance(5)
    assert ledger.look(A).believed


@pytest.fixture
def minutely(ledger: Ledger, clock: FakeClock) -> Ledger:
    ledger.look(A)
    ledger.activate(schedule(entry(catch_up=CatchUp.ALL)), "stamp")
    clock.advance(60)
    for claim in pass_once(ledger, A):
        ledger.settle(A, [outcome(claim)])
    return ledger


def test_what_was_decided_in_a_wrong_future_is_decided_again(ledger: Ledger, clock: FakeClock) -> None:
    ledger.look(A)
    ledger.activate(schedule(entry()), "stamp")
    clock.advance(60)
    pass_once(ledger, A)
    into_the_future(ledger, clock)
    pass_once(ledger, A)
    clock.advance(-YEAR + 55)  # 12:02 again
    assert pass_once(ledger, A) == []

    assert ledger.rewind(NOON + 60, "ann") == 1

    assert ledger.look(A).ahead == 0.0
    assert [claim.key.due_at for claim in pass_once(ledger, A)] == [NOON + 120]
    known = [(due_at, reason) for _, due_at, _, reason in states(ledger) if due_at < NOON + YEAR / 2]
    assert known == [(NOON + 120, ""), (NOON + 60, "")]
    assert ledger.entries()[0][1] == NOON + 120
    assert ledger.status().next_due == NOON + 180


def test_what_was_planned_before_a_rewind_is_recorded_no_more(minutely: Ledger, clock: FakeClock) -> None:
    from offbeat.core.plan import plan

    clock.advance(60)
    portion = minutely.take(9)
    clock.advance(60)
    pass_once(minutely, A)
    minutely.rewind(NOON + 60, "ann")

    assert minutely.record(B, plan(portion), portion.revision) == []


def test_what_nobody_claimed_goes_and_all_else_stays_as_it_is(minutely: Ledger, clock: FakeClock) -> None:
    clock.advance(60)
    (sent,) = pass_once(minutely, A)
    minutely.settle(A, [outcome(sent)])
    clock.advance(60)
    pass_once(minutely, A)  # held
    clock.advance(60)
    (back,) = pass_once(minutely, A)
    minutely.settle(A, [outcome(back, State.PENDING, next_try_at=clock.now() + 60)])
    clock.advance(60)
    (late,) = pass_once(minutely, A)
    minutely.settle(A, [outcome(late, State.SKIPPED, reason=Reason.TOO_LATE)])
    minutely.skip("e", NOON + 360, "ann", "")
    clock.advance(600)
    (newest, _) = pass_once(minutely, A)[:2]  # those before them wait, as they are late

    minutely.rewind(NOON + 60, "ann")

    before = [(due_at, state) for _, due_at, state, _ in states(minutely) if due_at < newest.key.due_at]
    assert before == [
        (NOON + 300, State.SKIPPED),
        (NOON + 240, State.PENDING),
        (NOON + 180, State.CLAIMED),
        (NOON + 120, State.DISPATCHED),
        (NOON + 60, State.DISPATCHED),
    ]
    assert minutely.entries()[0][1] == NOON + 60
    assert newest not in pass_once(minutely, B)  # nothing is sent again
    assert minutely.entries()[0][1] == NOON + 900


def test_an_attempt_is_never_counted_anew(minutely: Ledger, clock: FakeClock) -> None:
    clock.advance(60)
    (first,) = pass_once(minutely, A)
    minutely.settle(A, [outcome(first, State.PENDING, next_try_at=clock.now())])  # its message may be out
    minutely.rewind(NOON + 60, "ann")

    assert pass_once(minutely, B) == []
    (second,) = minutely.claim(B, 9)
    assert (second.key, second.attempt) == (first.key, 2)
    assert minutely.settle(A, [outcome(first)]) == []
    assert minutely.report(runner("w", "worker"), [report(first, State.STARTED)]) == []


def test_the_newest_rewind_is_told_with_who_it_was(minutely: Ledger, clock: FakeClock) -> None:
    assert minutely.status().rewound is None
    minutely.rewind(NOON + 10, "bob")
    clock.advance(5)
    minutely.rewind(NOON + 30, 'ann\'s "hand"')

    assert minutely.status().rewound == Rewound(at=NOON + 65, to=NOON + 30, who='ann\'s "hand"')


def test_what_waits_goes_and_what_is_no_due_time_stays(ledger: Ledger, clock: FakeClock) -> None:
    ledger.look(A)
    ledger.activate(schedule(entry(overlap=Overlap.WAIT, max_runtime=999)), "stamp")
    clock.advance(60)
    for claim in pass_once(ledger, A):
        ledger.settle(A, [outcome(claim)])
    clock.advance(60)
    pass_once(ledger, A)
    ledger.backfill("e", "token", [(NOON + 90, NOON + 100)])
    ledger.fire(A, "e", "token")

    ledger.rewind(NOON + 60, "ann")

    assert sorted(row.kind for row in ledger.history()) == ["backfill", "manual", "schedule"]


def test_a_gap_is_cut(ledger: Ledger, clock: FakeClock) -> None:
    ledger.look(A)
    ledger.activate(schedule(entry()), "stamp")
    clock.advance(3000)
    pass_once(ledger, A)
    (gap,) = [row for row in ledger.history() if row.until is not None]

    ledger.rewind(NOON + 600, "ann")

    (cut,) = [row for row in ledger.history() if row.until is not None]
    assert (cut.due_at, cut.until, cut.count) == (gap.due_at, NOON + 600, 10)
    ledger.rewind(NOON + 10, "ann")
    assert [row for row in ledger.history() if row.until is not None] == []


def test_an_entry_that_began_in_the_wrong_future_begins_now(minutely: Ledger, clock: FakeClock) -> None:
    into_the_future(minutely, clock)
    minutely.activate(schedule(entry(catch_up=CatchUp.ALL), entry("new", "every 60 30")), "stamp 2")
    clock.advance(-YEAR)  # 12:01:05
    assert minutely.status().next_due == NOON + 120
    minutely.rewind(NOON + 60, "ann")

    clock.advance(60)  # 12:02:05
    assert [(claim.name, claim.key.due_at) for claim in pass_once(minutely, A)] == [
        ("new", NOON + 90),
        ("e", NOON + 120),
    ]


def test_an_entry_that_changed_in_the_wrong_future_has_one_version_at_each_instant(minutely: Ledger, clock: FakeClock) -> None:
    into_the_future(minutely, clock)
    minutely.activate(schedule(entry("e", "every 60 20", catch_up=CatchUp.ALL)), "stamp 2")
    clock.advance(100)
    minutely.activate(schedule(entry("e", "every 60 40", catch_up=CatchUp.ALL)), "stamp 3")
    clock.advance(-YEAR - 100)  # 12:01:05
    minutely.rewind(NOON + 60, "ann")

    clock.advance(60)  # 12:02:05
    assert [claim.key.due_at for claim in pass_once(minutely, A)] == [NOON + 100]
    assert minutely.take(9).groups == ()


def test_an_entry_that_was_removed_in_the_wrong_future_ends_now(minutely: Ledger, clock: FakeClock) -> None:
    into_the_future(minutely, clock)
    minutely.activate(schedule(entry("other", "every 60 0", catch_up=CatchUp.ALL)), "stamp 2")
    clock.advance(-YEAR)
    minutely.rewind(NOON + 60, "ann")

    clock.advance(60)
    assert [claim.name for claim in pass_once(minutely, A)] == ["other"]


def test_a_slot_after_a_rewind_is_not_taken_for_known(ledger: Ledger, clock: FakeClock) -> None:
    ledger.look(A)
    ledger.activate(schedule(entry()), "stamp")
    into_the_future(ledger, clock)
    ledger.settle(A, [outcome(claim) for claim in pass_once(ledger, A)])
    assert (ledger.entries()[0][1] or 0) == NOON + YEAR  # sent, and it stays
    clock.advance(-YEAR)
    ledger.rewind(NOON, "ann")

    assert ledger.slot(A, "e", NOON + 120).claim is not None


def test_a_rewind_to_what_is_still_to_come_sets_nothing_back(minutely: Ledger, clock: FakeClock) -> None:
    before = states(minutely)

    assert minutely.rewind(NOON + 3600, "ann") == 0
    assert states(minutely) == before


def test_a_ledger_that_was_restored_says_so_once(minutely: Ledger, clock: FakeClock) -> None:
    marks = minutely.look(A).marks
    higher = Told(marks={slot: count + 100 for slot, count in marks.items()}, heard_at=NOON + 60)

    assert not minutely.restored(A, Told(marks=marks, heard_at=NOON + 60), skip=True)
    assert minutely.status().restored_at is None
    assert minutely.restored(A, higher, skip=False)
    assert not minutely.restored(B, higher, skip=False)
    assert lost(higher.marks, minutely.look(A).marks) == 0
    assert minutely.status().restored_at == NOON + 60


def test_what_a_restored_ledger_forgot_is_skipped(ledger: Ledger, clock: FakeClock) -> None:
    ledger.look(A)
    ledger.activate(schedule(entry(catch_up=CatchUp.ALL), entry("hourly", "every 3600 0")), "stamp")
    clock.advance(60)
    (held,) = pass_once(ledger, A)
    ledger.backfill("e", "token", [(NOON, NOON + 9999)])
    clock.advance(600.5)

    assert ledger.restored(A, ahead_of(ledger), skip=True)

    assert pass_once(ledger, A) == [] and ledger.claim(A, 9) == []
    assert ledger.settle(A, [outcome(held)]) == []
    assert [(due_at, state, reason) for _, due_at, state, reason in states(ledger)] == [
        (NOON + 120, "skipped x10", "restored"),
        (NOON + 60, State.SKIPPED, "restored"),
        (NOON, State.PENDING, ""),  # of a backfill, and not to be sent before long: nobody can have sent it
    ]
    assert ledger.status().next_due == NOON + 720
    clock.advance(60)
    assert [claim.key.due_at for claim in pass_once(ledger, A)] == [NOON + 720]


def test_what_a_restored_ledger_forgot_is_planned_like_any_downtime_when_told(minutely: Ledger, clock: FakeClock) -> None:
    clock.advance(120)

    assert minutely.restored(A, ahead_of(minutely), skip=False)

    pass_once(minutely, A)
    assert [due_at for _, due_at, _, _ in states(minutely)] == [NOON + 180, NOON + 120, NOON + 60]


def test_a_slot_that_a_restored_ledger_held_is_free(ledger: Ledger, clock: FakeClock) -> None:
    ledger.look(A)
    ledger.activate(schedule(entry(overlap=Overlap.SKIP, max_runtime=999)), "stamp")
    clock.advance(60)
    pass_once(ledger, A)
    ledger.restored(A, ahead_of(ledger), skip=True)
    clock.advance(60)

    assert len(pass_once(ledger, A)) == 1


def test_of_two_who_find_a_restored_ledger_one_tells_it(handles: Callable[[], Ledger], clock: FakeClock) -> None:
    one, other = handles(), handles()
    one.look(A)
    one.activate(schedule(entry()), "stamp")
    told = ahead_of(one)

    assert [one.restored(A, told, skip=True), other.restored(B, told, skip=True)] == [True, False]


def test_nothing_is_due_before_it_was_in_force_however_far_a_rewind_goes(minutely: Ledger, clock: FakeClock) -> None:
    clock.advance(600)
    minutely.look(A)
    pass_once(minutely, A)
    clock.advance(1)
    minutely.activate(schedule(entry(catch_up=CatchUp.ALL), entry("new", "every 60 30", catch_up=CatchUp.ALL)), "stamp 2")
    clock.advance(100)
    minutely.look(A)
    minutely.rewind(NOON - YEAR, "ann")

    pass_once(minutely, A)
    assert min(row.due_at for row in minutely.history("e")) > NOON
    assert min(row.due_at for row in minutely.history("new")) > NOON + 600


def test_the_instant_to_which_a_rewind_really_goes_is_told(minutely: Ledger, clock: FakeClock) -> None:
    clock.advance(600)
    minutely.look(A)
    pass_once(minutely, A)
    told = []
    for to in (NOON - YEAR, NOON + 120):
        minutely.rewind(to, "ann")
        rewound = minutely.status().rewound
        assert rewound is not None
        told.append(rewound.to)

    assert told == [NOON, NOON + 120]


def test_of_a_ledger_that_began_in_a_wrong_future_a_rewind_makes_nothing_due_in_the_past(
    ledger: Ledger, clock: FakeClock
) -> None:
    clock.advance(YEAR)
    ledger.look(A)
    clock.advance(6)
    ledger.look(A)
    ledger.activate(schedule(entry(catch_up=CatchUp.ALL)), "stamp")
    clock.advance(-YEAR)
    ledger.rewind(NOON - YEAR, "ann")
    clock.advance(60)
    ledger.look(A)
    pass_once(ledger, A)

    assert [row.due_at for row in ledger.history()] == [NOON + 60]
