"""What every store promises of claim, settle and prune."""

from __future__ import annotations

from collections.abc import Callable
from math import floor

import pytest
from tests.ports.ledger_world import NOON, command, entry, outcome, pass_once, report, runner, schedule

from offbeat.core.model import Key, Kind, Lane, Policy, Reason, State
from offbeat.core.plan import Gap, PlannedRow, Window
from offbeat.core.transitions import KEPT_BEHIND, RETENTION
from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger import Ledger
from offbeat.ports.ledger_values import LEASE, Outcome

A, B = runner("a"), runner("b")

SETTLED = (State.DISPATCHED, State.SKIPPED, State.UNDELIVERED)


def waiting(ledger: Ledger, clock: FakeClock, *rows: PlannedRow) -> None:
    """Record rows (all of entries of one group) as they are, at the minute after NOON."""
    clock.advance(60)
    group, _ = ledger.take(1).groups[0]
    ledger.record(
        A,
        [
            Window(
                gid=group.gid,
                version=group.version,
                after=group.cursor,
                until=NOON + 60,
                next_due=NOON + 86_400,
                rows=rows,
                gaps=(),
            )
        ],
        1,
    )


def row(due_at: int, lane: Lane = Lane.CATCH_UP, eno: int = 1) -> PlannedRow:
    return PlannedRow(eno=eno, due_at=due_at, send_at=due_at, lane=lane)


@pytest.mark.parametrize("words", ["half a character: \ud800", "nothing: \0"])
def test_whatever_a_broker_or_a_task_says_is_kept_as_well_as_the_store_can(
    ledger: Ledger, clock: FakeClock, words: str
) -> None:
    ledger.activate(schedule(entry("a"), entry("b")), "stamp")
    clock.advance(60)
    one, other = pass_once(ledger, A)
    back = outcome(one, State.PENDING, error=words, next_try_at=clock.now())
    assert ledger.settle(A, [back, outcome(other, State.UNDELIVERED, error=words)]) == [one.key, other.key]
    (again,) = ledger.claim(A, 10)
    assert ledger.report(A, [report(again, State.FAILED, note=words)]) == [again.key]

    told = [again.last_error, *(row.note for row in ledger.history())]
    assert [text[:-1] for text in told] == [words[:-1]] * 3


def test_claim_hands_out_what_has_come_with_a_new_attempt_and_lease(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry()), "s")
    waiting(ledger, clock, PlannedRow(eno=1, due_at=NOON + 60, send_at=NOON + 65))
    assert ledger.claim(A, 10) == []

    clock.advance(5)
    (claim,) = ledger.claim(B, 10)

    assert (claim.key, claim.attempt, claim.lease_until) == (Key(eno=1, due_at=NOON + 60), 1, NOON + 65 + LEASE)
    assert ledger.claim(A, 10) == []


def test_a_lease_that_has_ended_is_taken_over_with_the_next_attempt(handles: Callable[[], Ledger], clock: FakeClock) -> None:
    one, other = handles(), handles()
    one.activate(schedule(entry(expires=100)), "s")
    clock.advance(60)
    (first,) = pass_once(one, A)
    clock.advance(LEASE - 0.5)
    assert other.claim(B, 10) == []
    clock.advance(0.5)

    (second,) = other.claim(B, 10)

    assert (second.key, second.attempt) == (first.key, 2)
    assert second.expires_at == first.expires_at == NOON + 160  # counted from the first claim
    assert one.settle(A, [outcome(first)]) == []
    assert other.settle(B, [outcome(second)]) == [second.key]


def test_an_ended_lease_that_nobody_took_over_may_still_be_settled(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry()), "s")
    clock.advance(60)
    (claim,) = pass_once(ledger, A)
    clock.advance(1000)

    assert ledger.settle(A, [outcome(claim)]) == [claim.key]


def test_lane_0_comes_first_but_a_tenth_is_for_the_others(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry()), "s")
    rows = [row(NOON + second, Lane.BACKFILL) for second in range(1, 11)]
    rows += [row(NOON + second, Lane.CATCH_UP) for second in range(11, 21)]
    waiting(ledger, clock, *rows)
    for second in range(30):
        slot = ledger.slot(A, "e", NOON + 100 + second)
        assert slot.claim is not None
        ledger.settle(A, [outcome(slot.claim, State.PENDING, next_try_at=NOON + 60, lane=Lane.LIVE, error="x")])

    lanes = [claim.lane for claim in ledger.claim(A, 20)]

    assert lanes == [Lane.LIVE] * 16 + [Lane.CATCH_UP] * 2 + [Lane.BACKFILL] * 2
    assert [claim.lane for claim in ledger.claim(A, 30)] == [Lane.LIVE] * 14 + [Lane.CATCH_UP] * 8 + [Lane.BACKFILL] * 8


def test_within_a_lane_the_oldest_try_comes_first(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry()), "s")
    waiting(ledger, clock, row(NOON + 30), row(NOON + 10), row(NOON + 20))

    assert [claim.key.due_at - NOON for claim in ledger.claim(A, 2)] == [10, 20]


def test_rows_of_closed_queues_stay_by_the_present_definition(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry("x", queue="slow"), entry("y", queue="fast"), command("c")), "s")
    waiting(ledger, clock, row(NOON + 1, eno=1), row(NOON + 1, eno=2), row(NOON + 1, eno=3))

    assert {claim.name for claim in ledger.claim(A, 10, {"slow"})} == {"y", "c"}
    assert ledger.claim(A, 10, {"slow"}) == []
    ledger.activate(schedule(entry("x", queue="fast"), entry("y", queue="fast"), command("c")), "s")
    assert [claim.name for claim in ledger.claim(A, 10, {"slow"})] == ["x"]


def test_what_was_fired_with_another_queue_is_held_back_by_that(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry("x", queue="open")), "s")
    slot = ledger.fire(A, "x", "token", entry("x", queue="closed").call)
    assert slot.claim is not None
    ledger.settle(A, [outcome(slot.claim, State.PENDING, next_try_at=NOON)])

    assert ledger.claim(A, 10, {"closed"}) == []
    assert [claim.key.kind for claim in ledger.claim(A, 10, {"open"})] == [Kind.MANUAL]


def test_the_definition_at_the_claim_applies(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry(kwargs={"n": 1})), "s")
    waiting(ledger, clock, row(NOON + 60))
    changed = entry(kwargs={"n": 2}, grace=50, recurrence="every 60 30")
    ledger.activate(schedule(changed), "s")
    ledger.pause("e", "ann", "")

    (claim,) = ledger.claim(A, 10)

    assert (claim.call, claim.timing, claim.policy) == (changed.call, changed.timing, changed.policy)
    assert (claim.revision, claim.paused) == (2, True)


def test_next_due_at_the_claim_follows_the_versions_and_leaves_pauses_out(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry()), "s")
    waiting(ledger, clock, row(NOON + 60))
    clock.advance(70)
    ledger.activate(schedule(entry(recurrence="every 60 30")), "s")
    retry = {"next_try_at": clock.now(), "error": "x"}

    (claim,) = ledger.claim(A, 10)
    assert claim.next_due == NOON + 120  # by the version that was in force then
    ledger.settle(A, [outcome(claim, State.PENDING, **retry)])

    (claim,) = ledger.claim(A, 10)
    assert claim.last_error == "x"
    clock.advance(-20)
    ledger.pause("", "ann", "", NOON + 155)
    clock.advance(40)
    (claim,) = ledger.claim(A, 10)
    assert claim.next_due == NOON + 210


@pytest.mark.parametrize(("coming", "enabled"), [((), None), ((entry(enabled=False),), False)], ids=["removed", "disabled"])
def test_a_row_whose_entry_is_gone_is_handed_out_so_that_it_can_be_skipped(
    ledger: Ledger, clock: FakeClock, coming: tuple[object, ...], enabled: bool | None
) -> None:
    ledger.activate(schedule(entry()), "s")
    waiting(ledger, clock, row(NOON + 60))
    ledger.activate(schedule(*coming), "s")  # type: ignore[arg-type]

    (claim,) = ledger.claim(A, 10)

    assert (claim.timing.enabled if claim.timing else None) is enabled
    assert (claim.call is None) is (enabled is None)
    assert claim.name == "e" and (enabled is not None or claim.policy == Policy())


@pytest.mark.parametrize("state", [State.DISPATCHED, State.SKIPPED, State.UNDELIVERED])
def test_a_claim_is_settled_once_and_its_outcome_repeated(ledger: Ledger, clock: FakeClock, state: State) -> None:
    ledger.activate(schedule(entry()), "s")
    clock.advance(60)
    (claim,) = pass_once(ledger, A)
    told = outcome(claim, state, reason=Reason.NONE if state is State.DISPATCHED else Reason.TOO_LATE, error="down")

    assert ledger.settle(A, [told]) == [claim.key]
    clock.advance(1)
    assert ledger.settle(A, [told]) == [claim.key]

    (line,) = ledger.history()
    assert (line.state, line.reason, line.note, line.attempt) == (state, told.reason, "down", 1)
    assert line.dispatched_at == (NOON + 60 if state is State.DISPATCHED else None)
    assert ledger.claim(A, 10) == [] and ledger.status().claimed == 0


@pytest.mark.parametrize(
    ("first", "second"),
    [(first, second) for first in SETTLED for second in (*SETTLED, State.PENDING) if first is not second],
)
def test_a_settled_row_takes_no_other_outcome(ledger: Ledger, clock: FakeClock, first: State, second: State) -> None:
    ledger.activate(schedule(entry()), "s")
    clock.advance(60)
    (claim,) = pass_once(ledger, A)
    ledger.settle(A, [outcome(claim, first)])

    assert ledger.settle(A, [outcome(claim, second)]) == []
    assert ledger.history()[0].state is first


def test_the_supervisor_may_skip_a_command_that_was_dispatched_to_it(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(command()), "s")
    clock.advance(60)
    (claim,) = pass_once(ledger, A)
    ledger.settle(A, [outcome(claim)])

    assert ledger.settle(B, [outcome(claim, State.SKIPPED, reason=Reason.OVERLAP)]) == [claim.key]
    assert ledger.settle(A, [outcome(claim)]) == []
    line = ledger.history()[0]
    assert (line.state, line.reason, line.dispatched_at) == (State.SKIPPED, Reason.OVERLAP, None)
    clock.advance(1000)
    ledger.look(A)
    assert ledger.history()[0].state is State.SKIPPED


def test_a_row_that_is_handed_back_is_claimed_again_at_its_time(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry()), "s")
    clock.advance(60)
    (claim,) = pass_once(ledger, A)
    back = outcome(claim, State.PENDING, next_try_at=NOON + 75, lane=Lane.CATCH_UP, error="no route")

    assert ledger.settle(A, [back]) == [claim.key]
    assert ledger.settle(A, [back]) == [claim.key]
    assert ledger.claim(A, 10) == []
    assert (ledger.history()[0].note, ledger.history()[0].next_try_at) == ("no route", NOON + 75)

    clock.advance(15)
    (again,) = ledger.claim(B, 10)
    assert (again.attempt, again.lane, again.last_error) == (2, Lane.CATCH_UP, "no route")
    assert ledger.settle(A, [back]) == []


def test_what_was_published_after_all_is_settled_though_it_was_handed_back(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry()), "s")
    clock.advance(60)
    (claim,) = pass_once(ledger, A)
    ledger.settle(A, [outcome(claim, State.PENDING, next_try_at=NOON + 75)])

    assert ledger.settle(A, [outcome(claim, task_id="id")]) == [claim.key]
    clock.advance(60)
    assert ledger.claim(A, 10) == []


def test_a_row_that_has_started_gets_its_dispatch_written_beside(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry()), "s")
    clock.advance(60)
    (claim,) = pass_once(ledger, A)
    ledger.report(B, [report(claim, State.STARTED)])
    clock.advance(1)

    assert ledger.settle(A, [outcome(claim, task_id="id")]) == [claim.key]
    line = ledger.history()[0]
    assert (line.state, line.task_id, line.dispatched_at, line.started_at) == (State.STARTED, "id", NOON + 61, NOON + 60)
    assert ledger.settle(A, [outcome(claim, State.UNDELIVERED)]) == []


def test_outcomes_of_unknown_rows_and_of_other_attempts_are_left_out(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry("x"), entry("y")), "s")
    clock.advance(60)
    x, y = pass_once(ledger, A)
    unknown = Outcome(key=Key(eno=9, due_at=1), attempt=1, state=State.DISPATCHED)
    wrong = Outcome(key=y.key, attempt=7, state=State.DISPATCHED)

    assert ledger.settle(A, [unknown, outcome(x), wrong]) == [x.key]
    assert ledger.settle(A, []) == []


def test_prune_removes_what_is_older_than_the_retention_and_says_how_much(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry("x"), command("c", "every 86400 0")), "s")
    clock.advance(60)
    ledger.settle(A, [outcome(claim) for claim in pass_once(ledger, A)])
    hand = ledger.slot(A, "c", NOON + 100).claim
    assert hand is not None
    ledger.report(B, [report(hand, State.SUCCEEDED, output=b"done")])
    assert ledger.prune(100) == 0

    for _ in range(2):
        clock.advance(RETENTION / 2 + 200)
        ledger.look(A)
        clock.advance(5)
        ledger.look(A)
        ledger.record(A, finished(ledger), 1)

    assert ledger.output(hand.key) == b"done"
    assert ledger.prune(1) == 1
    assert [row.due_at for row in ledger.history("c")] + [row.due_at for row in ledger.history("x")] == [NOON + 100]
    assert ledger.prune(100) == 1
    assert ledger.output(hand.key) is None and ledger.prune(100) == 0
    assert {e.name: due for e, due in ledger.entries()} == {"x": NOON + 60, "c": NOON + 100}
    known = ledger.slot(A, "c", NOON + 100)
    assert (known.claim, known.state) == (None, State.DISPATCHED)  # last_due is never pruned


def finished(ledger: Ledger) -> list[Window]:
    """Return windows that decide everything up to now without a row."""
    portion = ledger.take(10)
    until = floor(portion.now)
    return [
        Window(gid=group.gid, version=group.version, after=group.cursor, until=until, next_due=until + 60, rows=(), gaps=())
        for group, _ in portion.groups
    ]


def test_prune_never_goes_beyond_a_week_behind_what_is_undecided(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry("x"), entry("y", "every 31536000 0")), "s")
    clock.advance(60)
    ledger.settle(A, [outcome(claim) for claim in pass_once(ledger, A)])
    clock.advance(RETENTION + 3600)
    ledger.look(A)
    clock.advance(6)
    ledger.look(A)

    assert ledger.prune(100) == 0  # x has due times that nobody has decided since NOON + 60
    assert len(ledger.history()) == 1
    assert KEPT_BEHIND < RETENTION


def test_prune_removes_gaps_too_and_nothing_while_the_clock_is_not_believed(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry()), "s")
    ledger.look(A)
    clock.advance(600)
    gap = Gap(eno=1, after=NOON, until=NOON + 600, reason=Reason.PAUSED)
    far = NOON + RETENTION * 2
    ledger.record(A, [Window(gid=1, version=1, after=NOON, until=NOON + 600, next_due=far, rows=(), gaps=(gap,))], 1)
    clock.advance(RETENTION + 600)
    ledger.look(A)

    assert ledger.prune(10) == 0
    clock.advance(5)
    ledger.look(A)
    assert ledger.prune(10) == 1
    assert ledger.history() == []


@pytest.mark.parametrize("state", [State.PENDING, State.SKIPPED, State.UNDELIVERED, State.DISPATCHED])
def test_what_another_one_holds_under_the_same_number_may_be_dispatched_only(
    ledger: Ledger, clock: FakeClock, state: State
) -> None:
    ledger.look(A)
    ledger.activate(schedule(entry(), command("c")), "stamp")
    clock.advance(60)
    claims = {
        claim.name: claim for claim in pass_once(ledger, A)
    }  # of before the ledger was put back, say: B has attempt 1, too

    accepted = {name for name, claim in claims.items() if ledger.settle(B, [outcome(claim, state)])}

    assert accepted == {State.DISPATCHED: {"e", "c"}, State.SKIPPED: {"c"}}.get(state, set())
    assert ledger.settle(A, [outcome(claims["e"])]) == [claims["e"].key]
