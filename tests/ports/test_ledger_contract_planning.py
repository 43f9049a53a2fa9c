"""What every store promises of look, take and record."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import pytest
from tests.ports.ledger_world import NOON, command, entry, outcome, pass_once, report, runner, schedule, states

from offbeat.core.model import SHARD, CatchUp, Cause, Key, Lane, Reason, State
from offbeat.core.plan import Gap, PlannedRow, Window, plan
from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger import Ledger
from offbeat.ports.ledger_values import LEASE

A, B = runner("a"), runner("b")


def window(ledger: Ledger, *rows: PlannedRow, until: int, gaps: tuple[Gap, ...] = ()) -> Window:
    """Return a window of the first group, as it stands now."""
    group, _ = ledger.take(1).groups[0]
    return Window(
        gid=group.gid, version=group.version, after=group.cursor, until=until, next_due=until + 60, rows=rows, gaps=gaps
    )


def test_a_new_ledger_has_no_revision_nothing_due_and_nothing_to_wake_for(ledger: Ledger) -> None:
    outlook = ledger.look(A)

    assert (outlook.revision, outlook.stamp, outlook.wake_at, outlook.due) == (0, "", inf, False)
    assert outlook.believed and outlook.now == NOON
    assert ledger.take(10).groups == ()


def test_look_tells_the_revision_the_stamp_and_the_next_due_time(ledger: Ledger) -> None:
    ledger.activate(schedule(entry("m"), entry("h", "every 3600 0")), "stamp 1")

    outlook = ledger.look(A)

    assert (outlook.revision, outlook.stamp, outlook.wake_at, outlook.due) == (1, "stamp 1", NOON + 60, False)


def test_something_is_due_at_the_very_second(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry()), "s")
    clock.advance(59.9)
    assert not ledger.look(A).due
    assert ledger.take(10).groups == ()

    clock.advance(0.1)

    assert ledger.look(A).due
    assert len(ledger.take(10).groups) == 1


def test_wake_at_is_the_earliest_of_due_time_retry_and_lease_end(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry()), "s")
    clock.advance(60)
    (claim,) = pass_once(ledger, A)
    assert ledger.look(A).wake_at == NOON + 60 + LEASE

    ledger.settle(A, [outcome(claim, State.PENDING, next_try_at=NOON + 95.5, error="no route")])
    assert ledger.look(A).wake_at == NOON + 95.5

    clock.advance(40)
    (claim,) = ledger.claim(A, 10)
    ledger.settle(A, [outcome(claim)])
    assert ledger.look(A).wake_at == NOON + 120


def test_when_it_was_looked_at_last_is_known_however_long_ago(ledger: Ledger, clock: FakeClock) -> None:
    assert ledger.status().looked_at is None
    clock.advance(5)
    ledger.look(A)
    looked = clock.now()
    clock.advance(40 * 86_400)

    status = ledger.status()

    assert (status.looked_at, status.runners) == (looked, ())


def test_look_is_a_sign_of_life(ledger: Ledger, clock: FakeClock) -> None:
    ledger.look(A)
    clock.advance(5)
    ledger.look(B)

    assert [(seen.runner.id, seen.seen_at) for seen in ledger.status().runners] == [(B.id, NOON + 5), (A.id, NOON)]


def test_take_changes_nothing_and_hands_out_the_oldest_first(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry("slow", "every 3600 1800"), entry("fast", "every 60 0")), "s")
    ledger.look(A)
    clock.advance(3000)

    portion = ledger.take(10)

    assert [group.recurrence for group, _ in portion.groups] == ["every 60 0", "every 3600 1800"]
    assert ledger.take(10) == portion
    assert [group.recurrence for group, _ in ledger.take(1).groups] == ["every 60 0"]
    assert states(ledger) == []


def test_take_tells_all_that_the_planner_needs_of_a_member(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(
        schedule(entry("e", catch_up=CatchUp.ALL, grace=600, jitter=7, starts_at=NOON + 30, ends_at=NOON + 999)), "s"
    )
    clock.advance(20)
    ledger.pause("", "ann", "moving", NOON + 50)
    clock.advance(40)

    ((group, (member,)),) = ledger.take(10).groups

    assert (group.recurrence, group.zone, group.cursor) == ("every 60 0", "UTC", NOON)
    assert (member.name, member.first, member.last, member.gone) == ("e", NOON + 30, NOON + 999, Reason.NONE)
    assert (member.policy.catch_up, member.policy.grace, member.policy.jitter) == (CatchUp.ALL, 600, 7)
    assert member.pauses == ((NOON + 20, NOON + 50),)
    assert member.heirs == ()


def test_a_group_has_at_most_so_many_members_and_the_rest_have_groups_of_their_own(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(*(entry(f"e{number}") for number in range(SHARD * 2 + 1))), "s")
    clock.advance(60)

    assert [len(members) for _, members in ledger.take(10_000).groups] == [SHARD, SHARD, 1]
    assert [len(members) for _, members in ledger.take(SHARD + 1).groups] == [SHARD, SHARD]
    assert [len(members) for _, members in ledger.take(1).groups] == [SHARD]


def test_equal_recurrences_in_two_zones_are_two_groups(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry("x", "cron * * * * *"), entry("y", "cron * * * * *", zone="Europe/Sofia")), "s")
    clock.advance(60)

    assert sorted(group.zone for group, _ in ledger.take(10).groups) == ["Europe/Sofia", "UTC"]


def test_due_now_rows_are_born_claimed_with_a_lease(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry("e", expires=300)), "s")
    clock.advance(60.5)

    (claim,) = pass_once(ledger, A)

    assert (claim.key, claim.name, claim.attempt) == (Key(eno=1, due_at=NOON + 60), "e", 1)
    assert (claim.lease_until, claim.expires_at) == (clock.now() + LEASE, clock.now() + 300)
    assert (claim.lane, claim.cause, claim.revision, claim.next_due) == (Lane.LIVE, Cause.SCHEDULE, 1, NOON + 120)
    assert claim.call == entry("e", expires=300).call
    assert ledger.take(10).groups == ()
    assert states(ledger) == [("e", NOON + 60, State.CLAIMED, "")]


def test_rows_for_later_and_rows_of_other_lanes_wait_to_be_claimed(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry()), "s")
    clock.advance(60)
    later = PlannedRow(eno=1, due_at=NOON + 59, send_at=NOON + 63)
    late = PlannedRow(eno=1, due_at=NOON + 60, send_at=NOON + 60, lane=Lane.CATCH_UP, cause=Cause.CATCH_UP)

    assert ledger.record(A, [window(ledger, later, late, until=NOON + 60)], 1) == []

    rows = {row.due_at: row for row in ledger.history()}
    assert rows[NOON + 59].next_try_at == NOON + 63
    assert rows[NOON + 60].next_try_at == NOON + 60
    assert {row.state for row in rows.values()} == {State.PENDING}


def test_skips_go_into_history_and_gaps_are_counted_when_asked(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry()), "s")
    clock.advance(600)
    skip = PlannedRow(eno=1, due_at=NOON + 60, send_at=NOON + 60, reason=Reason.PAUSED)
    gap = Gap(eno=None, after=NOON + 60, until=NOON + 600, reason=Reason.COALESCED)

    assert ledger.record(A, [window(ledger, skip, until=NOON + 600, gaps=(gap,))], 1) == []

    assert states(ledger) == [
        ("e", NOON + 120, f"{State.SKIPPED} x9", "coalesced"),
        ("e", NOON + 60, State.SKIPPED, "paused"),
    ]
    assert ledger.history()[0].until == NOON + 600


def test_of_two_runners_with_one_portion_one_wins(handles: Callable[[], Ledger], clock: FakeClock) -> None:
    one, other = handles(), handles()
    one.activate(schedule(entry()), "s")
    clock.advance(60)
    mine, yours = one.take(10), other.take(10)

    won = one.record(A, plan(mine), mine.revision)
    lost = other.record(B, plan(yours), yours.revision)

    assert len(won) == 1 and lost == []
    assert len(states(one)) == 1


def test_some_windows_may_be_accepted_and_others_not(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry("x", "every 60 1"), entry("y", "every 60 2")), "s")
    clock.advance(2)
    portion = ledger.take(10)
    windows = plan(portion)
    ledger.record(A, windows[:1], 1)

    claims = ledger.record(B, windows, 1)

    assert [claim.name for claim in claims] == ["y"]
    assert {name for name, *_ in states(ledger)} == {"x", "y"}


@pytest.mark.parametrize("what", ["cursor", "version", "revision", "future"])
def test_a_window_counts_only_against_what_it_was_planned_from(ledger: Ledger, clock: FakeClock, what: str) -> None:
    ledger.activate(schedule(entry()), "s")
    clock.advance(60.5)
    row = PlannedRow(eno=1, due_at=NOON + 60, send_at=NOON + 60)
    good = window(ledger, row, until=NOON + 60)
    bad = Window(
        gid=good.gid,
        version=good.version + (what == "version"),
        after=good.after - (what == "cursor"),
        until=good.until + (what == "future"),
        next_due=good.next_due,
        rows=good.rows,
        gaps=(),
    )

    assert ledger.record(A, [bad], 1 + (what == "revision")) == []
    assert states(ledger) == []
    assert len(ledger.record(A, [good], 1)) == 1


def test_an_activation_fences_what_was_planned_before_it(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry("x"), entry("y")), "s")
    clock.advance(60)
    portion = ledger.take(10)
    ledger.activate(schedule(entry("y")), "s2")

    assert ledger.record(A, plan(portion), portion.revision) == []
    assert ledger.record(A, plan(portion), portion.revision + 1) == []  # the group's version is another, too


def test_a_row_that_is_there_already_is_left_as_it_is(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry()), "s")
    clock.advance(50)
    sent = ledger.slot(B, "e", NOON + 60).claim
    assert sent is not None
    ledger.settle(B, [outcome(sent, task_id="id")])
    clock.advance(10)

    assert pass_once(ledger, A) == []
    (row,) = ledger.history()
    assert (row.state, row.task_id, row.attempt) == (State.DISPATCHED, "id", 1)


def test_a_row_that_is_claimed_by_another_is_left_to_it(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry()), "s")
    clock.advance(55)
    ledger.slot(B, "e", NOON + 60)
    clock.advance(5)

    assert pass_once(ledger, A) == []
    assert states(ledger) == [("e", NOON + 60, State.CLAIMED, "")]


def test_a_lost_reply_is_answered_with_the_claims_that_are_still_held(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry("x"), entry("y")), "s")
    clock.advance(60)
    portion = ledger.take(10)
    first = ledger.record(A, plan(portion), 1)
    ledger.settle(A, [outcome(first[0])])

    again = ledger.record(A, plan(portion), 1)

    assert again == [first[1]]
    assert ledger.record(B, plan(portion), 1) == []
    clock.advance(LEASE)
    assert ledger.record(A, plan(portion), 1) == []


def test_a_cursor_moves_on_without_rows_too(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry("e", ends_at=NOON + 30)), "s")
    ledger.activate(schedule(entry("e", ends_at=NOON + 90)), "s2")
    clock.advance(60)
    pass_once(ledger, A)
    clock.advance(60)
    pass_once(ledger, A)

    assert ledger.look(A).wake_at == NOON + 60 + LEASE  # of the claim; the group has nothing more
    assert ledger.status().next_due is None


def test_a_clock_that_jumps_by_more_than_an_hour_is_doubted_until_a_second_look(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry()), "s")
    ledger.look(A)
    clock.advance(3601)
    row = PlannedRow(eno=1, due_at=NOON + 60, send_at=NOON + 60)
    planned = Window(gid=1, version=1, after=NOON, until=NOON + 60, next_due=NOON + 120, rows=(row,), gaps=())

    doubted = ledger.look(A)
    assert (doubted.believed, doubted.due, doubted.believe_at) == (False, False, NOON + 3606)
    assert ledger.take(10).groups == () and ledger.claim(A, 10) == [] and ledger.record(A, [planned], 1) == []
    assert ledger.peek(10)[0].groups == ()

    clock.advance(4)
    assert not ledger.look(B).believed
    clock.advance(1)
    assert ledger.look(B).believed and ledger.look(A).due
    assert len(ledger.take(10).groups) == 1


def test_a_clock_that_comes_back_was_wrong_and_nothing_was_planned(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry()), "s")
    ledger.look(A)
    clock.advance(86_400)
    assert not ledger.look(A).believed
    clock.advance(-86_400)
    assert ledger.look(A).believed
    clock.advance(90_000)

    assert not ledger.look(A).believed  # a new doubt, with five seconds of its own
    assert states(ledger) == []


def test_a_clock_that_steps_back_raises_nothing_and_plans_nothing_twice(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry()), "s")
    clock.advance(120)
    ledger.look(A)
    ledger.settle(A, [outcome(claim) for claim in pass_once(ledger, A)])
    before = states(ledger)
    clock.advance(-100)

    assert ledger.look(A).believed
    assert pass_once(ledger, A) == [] and states(ledger) == before


def test_a_lease_from_a_future_that_was_wrong_does_not_hold(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry()), "s")
    clock.advance(60)
    pass_once(ledger, A)
    clock.advance(3000)
    ledger.claim(A, 10)
    clock.advance(-2900)

    assert ledger.look(B).due
    assert [claim.attempt for claim in ledger.claim(B, 10)] == [3]


def test_what_was_planned_in_a_future_that_was_wrong_goes_out_when_its_time_has_come(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry()), "s")
    clock.advance(600)
    (claim,) = [claim for claim in pass_once(ledger, A) if claim.key.due_at == NOON + 600]
    clock.advance(-300)
    ledger.settle(A, [outcome(claim, State.PENDING, next_try_at=NOON)])

    assert ledger.claim(B, 10) == [] or NOON + 600 not in {held.key.due_at for held in ledger.claim(B, 10)}
    assert {row.next_try_at for row in ledger.history() if row.due_at == NOON + 600} == {NOON + 600}


def test_commands_whose_supervisor_gives_no_sign_of_life_have_failed(ledger: Ledger, clock: FakeClock) -> None:
    hand = runner("s", "supervisor")
    ledger.activate(schedule(command("c"), command("d"), entry("e")), "s")
    clock.advance(60)
    claims = pass_once(ledger, A)
    ledger.settle(A, [outcome(claim) for claim in claims])
    ledger.report(hand, [report(claims[0], State.STARTED), report(claims[1], State.DISPATCHED)])
    clock.advance(50)
    ledger.report(hand, [])
    clock.advance(60)
    ledger.look(A)
    assert {row.state for row in ledger.history() if row.entry != "e"} == {State.STARTED, State.DISPATCHED}

    clock.advance(1)
    ledger.look(A)

    assert [(row.entry, row.state, row.reason) for row in ledger.history()] == [
        ("c", State.FAILED, Reason.RUNNER_DIED),
        ("d", State.FAILED, Reason.RUNNER_DIED),
        ("e", State.DISPATCHED, Reason.NONE),
    ]


def test_a_command_that_nobody_took_over_has_failed_a_minute_after_its_dispatch(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(command()), "s")
    clock.advance(60)
    ledger.settle(A, [outcome(claim) for claim in pass_once(ledger, A)])
    clock.advance(60)
    ledger.look(B)
    assert ledger.history()[0].state is State.DISPATCHED

    clock.advance(1)
    ledger.look(B)

    assert (ledger.history()[0].state, ledger.history()[0].finished_at) == (State.FAILED, clock.now())
