"""What every store promises of report, occupy, vacate, admit, and of all that reads."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.ports.ledger_world import NOON, command, entry, outcome, pass_once, report, runner, schedule, states

from offbeat.core.model import BrokerSettings, Key, Lane, Reason, Schedule, State
from offbeat.core.plan import Gap, PlannedRow, Window
from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger import Ledger
from offbeat.ports.ledger_values import LEASE, Claim, Report

A, B = runner("a"), runner("b")
HAND = runner("s", "supervisor")


@pytest.fixture
def claim(ledger: Ledger, clock: FakeClock) -> Claim:
    """Return a claimed command, a minute after NOON."""
    ledger.activate(schedule(command()), "s")
    clock.advance(60)
    return pass_once(ledger, A)[0]


def test_started_and_ended_are_written_with_their_instants(ledger: Ledger, clock: FakeClock, claim: Claim) -> None:
    ledger.settle(A, [outcome(claim)])
    clock.advance(1)
    assert ledger.report(HAND, [report(claim, State.STARTED)]) == [claim.key]
    clock.advance(1)
    end = report(claim, State.FAILED, reason=Reason.EXIT_STATUS, note="exit status 3", exit_status=3, output=b"oh\xff")
    assert ledger.report(HAND, [end]) == [claim.key]

    (line,) = ledger.history()
    assert (line.dispatched_at, line.started_at, line.finished_at) == (NOON + 60, NOON + 61, NOON + 62)
    assert (line.state, line.reason, line.note, line.exit_status) == (State.FAILED, Reason.EXIT_STATUS, "exit status 3", 3)
    assert line.key == claim.key and ledger.output(claim.key) == b"oh\xff"
    assert ledger.output(Key(eno=1, due_at=5)) is None


def test_the_supervisor_may_be_faster_than_the_runner(ledger: Ledger, clock: FakeClock, claim: Claim) -> None:
    assert ledger.report(HAND, [report(claim, State.STARTED)]) == [claim.key]
    clock.advance(LEASE)

    assert ledger.claim(B, 10) == []


@pytest.mark.parametrize("state", [State.STARTED, State.SUCCEEDED])
def test_rank_only_rises(ledger: Ledger, claim: Claim, state: State) -> None:
    ledger.report(HAND, [report(claim, State.SUCCEEDED)])

    assert ledger.report(HAND, [report(claim, State.STARTED)]) == []
    assert ledger.report(HAND, [report(claim, State.DISPATCHED)]) == []
    assert ledger.report(HAND, [report(claim, State.FAILED)]) == []
    assert ledger.report(HAND, [report(claim, State.SUCCEEDED)]) == [claim.key]
    assert ledger.history()[0].state is State.SUCCEEDED


def test_a_report_of_another_attempt_is_ignored(ledger: Ledger, clock: FakeClock, claim: Claim) -> None:
    clock.advance(LEASE)
    (second,) = ledger.claim(B, 10)

    assert ledger.report(HAND, [report(claim, State.STARTED)]) == []
    assert ledger.report(HAND, [report(second, State.STARTED)]) == [second.key]


def test_of_two_supervisors_of_one_attempt_one_may_start(ledger: Ledger, claim: Claim) -> None:
    assert ledger.report(HAND, [report(claim, State.STARTED)]) == [claim.key]

    assert ledger.report(runner("t", "supervisor"), [report(claim, State.STARTED)]) == []
    assert ledger.report(HAND, [report(claim, State.STARTED)]) == [claim.key]


def test_started_and_retrying_may_follow_each_other(ledger: Ledger, clock: FakeClock, claim: Claim) -> None:
    for state in (State.STARTED, State.RETRYING, State.STARTED, State.REVOKED):
        clock.advance(1)
        assert ledger.report(HAND, [report(claim, state)]) == [claim.key]

    assert ledger.history()[0].started_at == NOON + 61


@pytest.mark.parametrize(
    ("held", "accepted"), [(State.UNDELIVERED, True), (State.DISPATCHED, True), (State.SKIPPED, False), (State.PENDING, True)]
)
def test_what_may_start(ledger: Ledger, claim: Claim, held: State, accepted: bool) -> None:
    ledger.settle(A, [outcome(claim, held, next_try_at=NOON + 100)])

    assert bool(ledger.report(HAND, [report(claim, State.STARTED)])) is accepted


def test_a_supervisor_that_was_given_up_may_still_tell_the_end(ledger: Ledger, clock: FakeClock, claim: Claim) -> None:
    ledger.report(HAND, [report(claim, State.STARTED)])
    clock.advance(61)
    ledger.look(A)
    assert ledger.history()[0].reason is Reason.RUNNER_DIED

    assert ledger.report(HAND, [report(claim, State.STARTED)]) == []
    assert ledger.report(HAND, [report(claim, State.SUCCEEDED, exit_status=0)]) == [claim.key]
    assert (ledger.history()[0].state, ledger.history()[0].reason) == (State.SUCCEEDED, Reason.NONE)


def test_a_supervisor_given_up_before_the_start_may_not_start(ledger: Ledger, clock: FakeClock, claim: Claim) -> None:
    ledger.report(HAND, [report(claim, State.DISPATCHED)])
    clock.advance(61)
    ledger.look(A)

    assert ledger.report(HAND, [report(claim, State.STARTED)]) == []


def test_reports_of_unknown_rows_are_left_out(ledger: Ledger, claim: Claim) -> None:
    stranger = Report(key=Key(eno=5, due_at=5), attempt=1, state=State.STARTED)

    assert ledger.report(HAND, [stranger, report(claim, State.STARTED)]) == [claim.key]


def test_a_slot_is_for_one_owner_at_a_time(ledger: Ledger, clock: FakeClock) -> None:
    assert ledger.occupy("hourly", "p1", 60)
    assert ledger.occupy("hourly", "p1", 30)
    assert ledger.occupy("daily", "p2", 60)
    clock.advance(29)
    assert not ledger.occupy("hourly", "p2", 60)
    clock.advance(1)
    assert ledger.occupy("hourly", "p2", 60)
    assert not ledger.occupy("hourly", "p1", 60)


def test_only_its_owner_frees_a_slot(ledger: Ledger) -> None:
    ledger.occupy("hourly", "p1", 60)
    ledger.vacate("hourly", "p2")
    assert not ledger.occupy("hourly", "p2", 60)

    ledger.vacate("hourly", "p1")
    assert ledger.occupy("hourly", "p2", 60)


def test_one_attempt_of_an_occurrence_is_admitted(handles: Callable[[], Ledger]) -> None:
    one, other = handles(), handles()
    assert one.admit("id", 2)

    assert not other.admit("id", 1) and not other.admit("id", 3)
    assert other.admit("id", 2) and other.admit("other id", 1)


def test_the_active_schedule_is_read_back_as_it_was(ledger: Ledger) -> None:
    assert ledger.schedule() is None and ledger.broker_settings() is None
    settings = BrokerSettings(broker_env="MQ", env_file=".env", transport_options={"global_keyprefix": "p"}, ssl=True)
    whole = Schedule(
        project="shop",
        timezone="Europe/Sofia",
        entries=(entry("b", args=(1, "x"), headers={"h": [1]}), command("a")),
        task_prefix="shop.",
        default_queue="main",
        routes=(("shop.*", "main"),),
        broker=settings,
        digest="d",
    )
    ledger.activate(whole, "s")

    assert ledger.schedule() == whole
    assert ledger.broker_settings() == settings
    assert [(e, due) for e, due in ledger.entries()] == [(whole.entries[1], None), (whole.entries[0], None)]


def test_history_is_newest_first_and_can_be_narrowed(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry("x"), entry("y")), "s")
    for _ in range(3):
        clock.advance(60)
        ledger.settle(A, [outcome(claim, task_id=claim.name) for claim in pass_once(ledger, A)])

    assert [(row.entry, row.due_at - NOON) for row in ledger.history(limit=3)] == [("x", 180), ("y", 180), ("x", 120)]
    assert [row.due_at - NOON for row in ledger.history("y")] == [180, 120, 60]
    assert [row.due_at - NOON for row in ledger.history("y", since=NOON + 120)] == [180, 120]
    assert ledger.history("z") == [] and ledger.history(limit=0) == []


def test_a_gap_is_one_line_for_each_entry_with_its_own_due_times(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry("x"), entry("y", starts_at=NOON + 301), entry("z", ends_at=NOON + 59)), "s")
    clock.advance(7200)
    gap = Gap(eno=None, after=NOON, until=NOON + 7199, reason=Reason.COALESCED)
    one = Gap(eno=1, after=NOON + 7199, until=NOON + 7200, reason=Reason.PAUSED)
    window = Window(gid=1, version=1, after=NOON, until=NOON + 7200, next_due=NOON + 7260, rows=(), gaps=(gap, one))
    ledger.record(A, [window], 1)

    assert [(row.entry, row.due_at - NOON, (row.until or 0) - NOON, row.count, row.key) for row in ledger.history()] == [
        ("x", 7200, 7200, 1, None),
        ("x", 60, 7140, 119, None),
        ("y", 360, 7140, 114, None),
    ]
    assert [row.entry for row in ledger.history(since=NOON + 7141)] == ["x"]
    assert [row.count for row in ledger.history("y")] == [114]


def test_the_newest_gaps_are_found_among_many(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry("x"), entry("y", ends_at=NOON + 5000)), "s")
    clock.advance(3600 * 3)
    gaps = tuple(Gap(eno=None, after=NOON + 600 * n, until=NOON + 600 * n + 599, reason=Reason.COALESCED) for n in range(17))
    window = Window(gid=1, version=1, after=NOON, until=NOON + 10_799, next_due=NOON + 10_800, rows=(), gaps=gaps)
    ledger.record(A, [window], 1)

    found = [(row.entry, (row.until or 0) - NOON, row.count) for row in ledger.history(limit=100)]
    assert found[:2] == [("x", 10_140, 9), ("x", 9540, 9)] and len(found) == 17 + 9
    for limit in range(27):
        assert [(row.entry, (row.until or 0) - NOON, row.count) for row in ledger.history(limit=limit)] == found[:limit]


def test_a_slot_that_was_sent_by_hand_is_not_counted_in_the_gap_around_it(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry()), "s")
    clock.advance(600)
    ledger.slot(A, "e", NOON + 300)
    gap = Gap(eno=None, after=NOON, until=NOON + 600, reason=Reason.COALESCED)
    window = Window(gid=1, version=1, after=NOON, until=NOON + 600, next_due=NOON + 660, rows=(), gaps=(gap,))
    ledger.record(A, [window], 1)

    assert [(row.state, row.count) for row in ledger.history()] == [(State.SKIPPED, 9), (State.CLAIMED, 1)]


def test_last_due_is_the_newest_due_time_that_was_recorded_or_skipped(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry()), "s")
    clock.advance(60)
    pass_once(ledger, A)
    assert ledger.entries()[0][1] == NOON + 60
    clock.advance(60)
    ledger.pause("e", "ann", "")
    skip = PlannedRow(eno=1, due_at=NOON + 120, send_at=NOON + 120, reason=Reason.PAUSED)
    window = Window(gid=1, version=1, after=NOON + 60, until=NOON + 120, next_due=NOON + 180, rows=(skip,), gaps=())
    ledger.record(A, [window], 1)

    assert ledger.entries()[0][1] == NOON + 120


def test_status_counts(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(*(entry(name) for name in "abcd")), "s", "[]")
    clock.advance(60)
    a, b, c, _ = pass_once(ledger, A)
    ledger.settle(A, [outcome(a), outcome(b, State.UNDELIVERED), outcome(c, State.PENDING, next_try_at=NOON + 99)])

    status = ledger.status()

    assert (status.pending, status.claimed, status.undelivered, status.revision) == (1, 1, 1, 1)
    assert (status.project, status.owner, status.now, status.next_due) == ("shop", "host:/tree", NOON + 60, NOON + 120)
    assert (status.refused, status.refused_whole, status.activated_at) == ("[]", False, NOON)


def test_peek_is_what_take_and_claim_would_hand_out_and_changes_nothing(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry("x"), entry("y", "every 60 1")), "s")
    clock.advance(60)
    claims = pass_once(ledger, A)
    ledger.settle(A, [outcome(claim, State.PENDING, next_try_at=NOON + 60) for claim in claims])
    clock.advance(1)
    before = states(ledger)

    portion, peeked = ledger.peek(10)

    assert portion == ledger.take(10)
    assert {(claim.key, claim.attempt, claim.lane) for claim in peeked} == {(c.key, 1, Lane.CATCH_UP) for c in claims}
    assert states(ledger) == before
    assert {(claim.key, claim.attempt) for claim in ledger.claim(A, 10)} == {(claim.key, 2) for claim in claims}


def test_closing_twice_is_fine(ledger: Ledger) -> None:
    ledger.close()
    ledger.close()


def test_what_failed_is_found_by_when_it_ended(ledger: Ledger, clock: FakeClock, claim: Claim) -> None:
    assert ledger.look(A).failed_at == 0.0
    clock.advance(3)
    ledger.report(HAND, [report(claim, State.FAILED, reason=Reason.EXIT_STATUS, note="exit status 3")])

    assert ledger.look(A).failed_at == NOON + 63
    assert [(row.entry, row.note) for row in ledger.failures(NOON + 62.0, 10)] == [(claim.name, "exit status 3")]
    assert ledger.failures(NOON + 63.0, 10) == ledger.failures(0.0, 0) == []
