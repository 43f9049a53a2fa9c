"""The slot of an entry: one occurrence at a time, the others are skipped or wait."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.ports.ledger_world import NOON, command, entry, outcome, pass_once, report, runner, schedule, states

from offbeat.core.model import CatchUp, Entry, Kind, Lane, Overlap, Policy, Reason, State
from offbeat.core.plan import plan
from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger import Ledger
from offbeat.ports.ledger_values import Claim

A, B, SUPERVISOR = runner("a"), runner("b"), runner("s", "supervisor")
SKIP: dict[str, Any] = {"overlap": Overlap.SKIP, "max_runtime": 1000}
WAIT: dict[str, Any] = {"overlap": Overlap.WAIT, "max_runtime": 1000}


def begin(ledger: Ledger, clock: FakeClock, one: Entry) -> Claim:
    """Activate the entry, and return the claim of its first occurrence."""
    ledger.look(A)
    ledger.activate(schedule(one), "stamp")
    clock.advance(60)
    (claim,) = pass_once(ledger, A)
    return claim


def next_minute(ledger: Ledger, clock: FakeClock) -> list[Claim]:
    clock.advance(60)
    return list(pass_once(ledger, A))


def test_an_occurrence_that_finds_another_one_running_is_skipped(ledger: Ledger, clock: FakeClock) -> None:
    first = begin(ledger, clock, entry(**SKIP))

    assert next_minute(ledger, clock) == []
    assert states(ledger) == [("e", NOON + 120, State.SKIPPED, "overlap"), ("e", NOON + 60, State.CLAIMED, "")]
    assert not first.waited


def test_an_occurrence_waits_for_the_end_of_another_one(ledger: Ledger, clock: FakeClock) -> None:
    first = begin(ledger, clock, entry(**WAIT))
    ledger.settle(A, [outcome(first)])

    assert next_minute(ledger, clock) == []
    assert states(ledger)[0] == ("e", NOON + 120, State.WAITING, "")
    assert ledger.status().waiting == 1
    assert ledger.claim(A, 10) == []

    ledger.report(SUPERVISOR, [report(first, State.SUCCEEDED)])
    assert ledger.look(A).due
    (second,) = ledger.claim(B, 10)
    assert (second.key.due_at, second.attempt, second.waited) == (NOON + 120, 1, True)


def test_of_several_the_newest_waits(ledger: Ledger, clock: FakeClock) -> None:
    begin(ledger, clock, entry(**WAIT))
    next_minute(ledger, clock)
    next_minute(ledger, clock)

    assert states(ledger)[:2] == [("e", NOON + 180, State.WAITING, ""), ("e", NOON + 120, State.SKIPPED, "overlap")]


def ended(ledger: Ledger, claim: Claim) -> None:
    ledger.settle(A, [outcome(claim)])
    ledger.report(SUPERVISOR, [report(claim, State.SUCCEEDED)])


@pytest.mark.parametrize("by", ["record", "slot", "claim"])
def test_what_waited_is_skipped_when_a_newer_one_takes_the_free_slot_before_it_was_claimed(
    ledger: Ledger, clock: FakeClock, by: str
) -> None:
    first = begin(ledger, clock, entry(**WAIT))
    next_minute(ledger, clock)
    if by == "claim":  # the newer one was due to be sent before the slot was free
        clock.advance(60)
        portion = ledger.take(10)
        windows = plan(portion)
        later = [replace(row, send_at=row.due_at + 5) for row in windows[0].rows]
        ledger.record(A, [replace(windows[0], rows=tuple(later))], portion.revision)
        clock.advance(10)
    ended(ledger, first)

    if by == "record":
        (newer,) = next_minute(ledger, clock)
    elif by == "slot":
        clock.advance(60)
        found = ledger.slot(A, "e", NOON + 180)
        assert found.claim is not None
        newer = found.claim
    else:
        (newer,) = ledger.claim(A, 10)

    assert newer.key.due_at == (NOON + 180)
    assert [(due_at, state) for _, due_at, state, _ in states(ledger)] == [
        (NOON + 180, State.CLAIMED),
        (NOON + 120, State.SKIPPED),
        (NOON + 60, State.SUCCEEDED),
    ]
    assert states(ledger)[1][3] == "overlap"


def test_an_older_one_takes_the_free_slot_and_the_newer_waits_on(ledger: Ledger, clock: FakeClock) -> None:
    first = begin(ledger, clock, entry(**WAIT))
    ledger.settle(A, [outcome(first, State.PENDING, next_try_at=clock.now() + 61, lane=Lane.LIVE)])
    (second,) = next_minute(ledger, clock)
    next_minute(ledger, clock)
    ended(ledger, second)

    (again,) = ledger.claim(A, 10)
    assert again.key == first.key
    ended(ledger, again)
    assert [claim.key.due_at for claim in ledger.claim(A, 10)] == [NOON + 180]


def test_what_waited_goes_before_a_backfill_that_waits_then(ledger: Ledger, clock: FakeClock) -> None:
    first = begin(ledger, clock, entry("e", "every 60 0", **WAIT))
    next_minute(ledger, clock)
    ended(ledger, first)
    ledger.backfill("e", "token", [(NOON + 180, NOON)])

    assert [claim.key.due_at for claim in ledger.claim(A, 10)] == [NOON + 120]
    assert [(due_at, state) for _, due_at, state, _ in states(ledger)][:2] == [
        (NOON + 180, State.WAITING),
        (NOON + 120, State.CLAIMED),
    ]


def test_with_ticks_only_nothing_waits_for_ever(ledger: Ledger, clock: FakeClock) -> None:
    running = [begin(ledger, clock, entry(**WAIT))]
    for _ in range(6):  # each ends between two ticks, and a tick records before it claims
        clock.advance(60)
        new = [*pass_once(ledger, A), *ledger.claim(A, 10)]
        for claim in running:
            ended(ledger, claim)
        running = new

    assert ledger.status().pending + ledger.status().waiting <= 1
    assert all(due_at > clock.now() - 120 for _, due_at, state, _ in states(ledger) if state in (State.PENDING, State.WAITING))


def test_of_those_due_in_one_window_one_goes_and_the_newest_waits(ledger: Ledger, clock: FakeClock) -> None:
    ledger.look(A)
    ledger.activate(schedule(entry("e", "every 20 0", **WAIT)), "stamp")
    clock.advance(60)

    (claim,) = pass_once(ledger, A)

    assert claim.key.due_at == NOON + 20
    assert [state for _, _, state, _ in states(ledger)] == [State.WAITING, State.SKIPPED, State.CLAIMED]


@pytest.mark.parametrize(
    "state", [State.SKIPPED, State.UNDELIVERED, State.PENDING], ids=["skipped", "undelivered", "handed back"]
)
def test_what_is_not_sent_frees_the_slot(ledger: Ledger, clock: FakeClock, state: State) -> None:
    first = begin(ledger, clock, entry(**SKIP))
    ledger.settle(A, [outcome(first, state, next_try_at=clock.now() + 200)])

    assert [claim.key.due_at for claim in next_minute(ledger, clock)] == [NOON + 120]


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.FAILED, State.REVOKED])
def test_the_end_frees_the_slot_even_if_it_is_told_before_the_dispatch(ledger: Ledger, clock: FakeClock, state: State) -> None:
    first = begin(ledger, clock, entry(**SKIP))
    ledger.report(SUPERVISOR, [report(first, state)])
    ledger.settle(A, [outcome(first)])

    assert [claim.key.due_at for claim in next_minute(ledger, clock)] == [NOON + 120]


def test_max_runtime_counts_from_the_dispatch_and_from_the_start(ledger: Ledger, clock: FakeClock) -> None:
    first = begin(ledger, clock, entry(overlap=Overlap.SKIP, max_runtime=100))
    clock.advance(5)
    ledger.settle(A, [outcome(first)])  # until + 165
    clock.advance(80)
    ledger.report(SUPERVISOR, [report(first, State.STARTED)])  # + 145, so until + 245

    clock.advance(30)  # + 175
    assert pass_once(ledger, A) == []
    clock.advance(70)  # + 245: free again
    assert [claim.key.due_at for claim in pass_once(ledger, A)] == [NOON + 180]
    assert [state for _, _, state, _ in states(ledger)][:3] == [State.SKIPPED, State.CLAIMED, State.SKIPPED]


def test_what_waits_goes_when_max_runtime_is_over(ledger: Ledger, clock: FakeClock) -> None:
    first = begin(ledger, clock, entry("e", "every 60 0", overlap=Overlap.WAIT, max_runtime=100, ends_at=NOON + 120))
    ledger.settle(A, [outcome(first)])  # until + 160
    next_minute(ledger, clock)

    assert ledger.look(A).wake_at == NOON + 160
    clock.advance(39)
    assert ledger.claim(A, 10) == []
    clock.advance(1)
    assert ledger.look(A).due
    (claim,) = ledger.claim(A, 10)
    assert (claim.key.due_at, claim.waited) == (NOON + 120, True)


def test_what_waits_waits_on_when_the_other_one_starts(ledger: Ledger, clock: FakeClock) -> None:
    first = begin(ledger, clock, entry("e", "every 60 0", overlap=Overlap.WAIT, max_runtime=100, ends_at=NOON + 120))
    ledger.settle(A, [outcome(first)])
    next_minute(ledger, clock)
    clock.advance(30)
    ledger.report(SUPERVISOR, [report(first, State.STARTED)])  # + 150, so until + 250

    assert ledger.look(A).wake_at == NOON + 250


def test_the_same_occurrence_takes_its_slot_again_after_its_lease(ledger: Ledger, clock: FakeClock) -> None:
    first = begin(ledger, clock, entry("e", "every 600 60", **SKIP))
    clock.advance(10)

    (again,) = ledger.claim(B, 10)
    assert (again.key, again.attempt) == (first.key, 2)


def test_a_slot_that_is_held_far_into_the_future_is_a_wrong_clocks(ledger: Ledger, clock: FakeClock) -> None:
    begin(ledger, clock, entry(overlap=Overlap.SKIP, max_runtime=100))
    clock.advance(-4000)
    ledger.activate(schedule(entry("e", "every 60 0", overlap=Overlap.SKIP, max_runtime=100)), "stamp")

    slot = ledger.slot(A, "e", NOON + 600)
    assert slot.claim is not None


def test_a_clock_that_is_set_back_a_little_lets_go_of_no_slot(ledger: Ledger, clock: FakeClock) -> None:
    begin(ledger, clock, entry(overlap=Overlap.SKIP, max_runtime=100))
    clock.advance(-2)

    assert ledger.slot(A, "e", NOON + 600).reason is Reason.OVERLAP


def test_what_waits_in_a_wrong_future_is_let_go(ledger: Ledger, clock: FakeClock) -> None:
    first = begin(ledger, clock, entry("e", "every 60 0", overlap=Overlap.WAIT, max_runtime=100))
    ledger.settle(A, [outcome(first)])
    next_minute(ledger, clock)
    clock.advance(4000)
    ledger.report(SUPERVISOR, [report(first, State.STARTED)])
    clock.advance(-4000)

    assert ledger.look(A).due
    assert [claim.key.due_at for claim in ledger.claim(B, 1)] == [NOON + 120]


def test_a_slot_that_is_taken_is_told_by_slot_too(ledger: Ledger, clock: FakeClock) -> None:
    begin(ledger, clock, entry("e", "every 600 60", **SKIP))

    found = ledger.slot(A, "e", NOON + 120)

    assert (found.claim, found.state, found.reason) == (None, State.SKIPPED, Reason.OVERLAP)


def test_slot_tells_that_it_waits(ledger: Ledger, clock: FakeClock) -> None:
    begin(ledger, clock, entry("e", "every 600 60", **WAIT))

    found = ledger.slot(A, "e", NOON + 120)

    assert (found.claim, found.state) == (None, State.WAITING)


def test_what_a_person_fires_takes_no_slot_and_waits_for_none(ledger: Ledger, clock: FakeClock) -> None:
    begin(ledger, clock, entry(**SKIP))

    fired = ledger.fire(A, "e", "token")
    assert fired.claim is not None
    ledger.report(SUPERVISOR, [report(fired.claim, State.SUCCEEDED)])  # and frees none
    assert next_minute(ledger, clock) == []


def test_retries_are_judged_when_they_are_claimed(ledger: Ledger, clock: FakeClock) -> None:
    first = begin(ledger, clock, entry(catch_up=CatchUp.ALL, **SKIP))
    ledger.settle(A, [outcome(first, State.PENDING, next_try_at=clock.now() + 60)])
    (second,) = next_minute(ledger, clock)

    assert ledger.claim(B, 10) == []
    assert states(ledger)[1] == ("e", NOON + 60, State.SKIPPED, "overlap")
    assert second.key.due_at == NOON + 120


def test_what_is_skipped_for_its_slot_keeps_nobody_from_being_claimed(ledger: Ledger, clock: FakeClock) -> None:
    first = begin(ledger, clock, entry("e", "every 600 60", **SKIP))
    ledger.activate(schedule(entry("e", "every 600 60", **SKIP), entry("other", "every 600 0")), "stamp 2")
    ledger.backfill("e", "token", [(NOON - 60, NOON)])
    ledger.backfill("other", "token", [(NOON - 30, NOON + 1)])

    claims = ledger.claim(A, 1)

    assert [claim.name for claim in claims] == ["other"]
    assert first.key.kind is Kind.SCHEDULE


def test_a_backfill_shares_the_slot_and_never_pushes_out_what_is_due_later(ledger: Ledger, clock: FakeClock) -> None:
    ledger.settle(A, [outcome(begin(ledger, clock, entry(**WAIT)))])
    next_minute(ledger, clock)
    ledger.backfill("e", "token", [(NOON - 60, NOON)])

    assert ledger.claim(A, 10) == []
    assert [(due_at, state) for _, due_at, state, _ in states(ledger)] == [
        (NOON + 120, State.WAITING),
        (NOON + 60, State.DISPATCHED),
        (NOON - 60, State.SKIPPED),
    ]


def test_a_policy_that_allows_overlap_lets_go_what_waits(ledger: Ledger, clock: FakeClock) -> None:
    one = entry(**WAIT)
    ledger.settle(A, [outcome(begin(ledger, clock, one))])
    next_minute(ledger, clock)
    ledger.activate(schedule(replace(one, policy=Policy())), "stamp 2")

    assert ledger.look(A).due
    assert [claim.key.due_at for claim in ledger.claim(B, 1)] == [NOON + 120]


def test_an_entry_that_is_removed_lets_go_what_waits(ledger: Ledger, clock: FakeClock) -> None:
    begin(ledger, clock, entry(**WAIT))
    next_minute(ledger, clock)
    ledger.activate(schedule(entry("other", "every 600 0")), "stamp 2")

    (claim,) = (claim for claim in ledger.claim(B, 10) if claim.key.due_at == NOON + 120)
    assert claim.call is None


def test_entries_do_not_share_a_slot(ledger: Ledger, clock: FakeClock) -> None:
    ledger.look(A)
    ledger.activate(schedule(entry("x", **SKIP), entry("y", **SKIP)), "stamp")
    clock.advance(60)

    assert len(pass_once(ledger, A)) == 2


def test_two_runners_cannot_both_have_the_slot(handles: Callable[[], Ledger], clock: FakeClock) -> None:
    one, other = handles(), handles()
    begin(one, clock, command(**SKIP))
    clock.advance(60)

    assert pass_once(other, B) == []
    assert states(one)[0] == ("c", NOON + 120, State.SKIPPED, "overlap")


def with_runtime(ledger: Ledger, clock: FakeClock, policy: dict[str, Any], seconds: int) -> None:
    """Deploy the entry of `begin` with another max_runtime."""
    ledger.activate(schedule(entry(**{**policy, "max_runtime": seconds})), f"runtime {seconds}")


@pytest.mark.parametrize("overlap", [Overlap.SKIP, Overlap.WAIT])
def test_a_slot_keeps_its_until_when_max_runtime_is_shortened(ledger: Ledger, clock: FakeClock, overlap: Overlap) -> None:
    policy: dict[str, Any] = {"overlap": overlap, "max_runtime": 300}
    first = begin(ledger, clock, entry(**policy))
    ledger.settle(A, [outcome(first)])  # until + 360
    with_runtime(ledger, clock, policy, 20)

    for _ in range(4):
        assert next_minute(ledger, clock) == []
        assert ledger.claim(B, 10) == []
    clock.advance(59)
    assert ledger.claim(B, 10) == []
    clock.advance(1)  # + 360
    (second,) = [*pass_once(ledger, A), *ledger.claim(B, 10)]

    ledger.settle(A, [outcome(second)])
    clock.advance(61)  # and the next one has it for the 20 s of now
    assert len([*pass_once(ledger, A), *ledger.claim(B, 10)]) == 1


def test_what_waits_for_a_slot_is_not_woken_by_a_shorter_max_runtime(ledger: Ledger, clock: FakeClock) -> None:
    policy: dict[str, Any] = {"overlap": Overlap.WAIT, "max_runtime": 300}
    one = entry("e", "every 60 0", ends_at=NOON + 120, **policy)
    ledger.settle(A, [outcome(begin(ledger, clock, one))])  # until + 360
    next_minute(ledger, clock)
    ledger.activate(schedule(replace(one, policy=replace(one.policy, max_runtime=20))), "stamp 2")

    assert not ledger.look(A).due
    assert ledger.look(A).wake_at == NOON + 360
    assert ledger.claim(B, 10) == []


def test_a_longer_max_runtime_counts_for_what_has_the_slot(ledger: Ledger, clock: FakeClock) -> None:
    policy: dict[str, Any] = {"overlap": Overlap.WAIT, "max_runtime": 100}
    one = entry("e", "every 60 0", ends_at=NOON + 120, **policy)
    ledger.settle(A, [outcome(begin(ledger, clock, one))])  # until + 160
    next_minute(ledger, clock)
    ledger.activate(schedule(replace(one, policy=replace(one.policy, max_runtime=300))), "stamp 2")

    clock.advance(60)  # + 180
    assert ledger.claim(B, 10) == []
    assert ledger.look(A).wake_at == NOON + 360
    clock.advance(180)
    assert [claim.key.due_at for claim in ledger.claim(B, 10)] == [NOON + 120]


def test_a_start_that_is_told_after_max_runtime_was_shortened_makes_no_slot_shorter(ledger: Ledger, clock: FakeClock) -> None:
    policy: dict[str, Any] = {"overlap": Overlap.SKIP, "max_runtime": 300}
    first = begin(ledger, clock, entry(**policy))
    ledger.settle(A, [outcome(first)])  # until + 360
    with_runtime(ledger, clock, policy, 20)
    clock.advance(10)
    ledger.report(SUPERVISOR, [report(first, State.STARTED)])

    clock.advance(50)
    assert pass_once(ledger, A) == []
    assert ledger.slot(A, "e", NOON + 600).reason is Reason.OVERLAP


@pytest.mark.parametrize("seconds", [20, 300])
def test_a_wrong_clocks_slot_is_let_go_whatever_max_runtime_became(ledger: Ledger, clock: FakeClock, seconds: int) -> None:
    policy: dict[str, Any] = {"overlap": Overlap.SKIP, "max_runtime": 100}
    begin(ledger, clock, entry(**policy))
    clock.advance(-4000)
    with_runtime(ledger, clock, policy, seconds)

    assert ledger.slot(A, "e", NOON + 600).claim is not None
