"""Policies where they meet each other and an outage: what is promised of each still holds."""

from __future__ import annotations

from collections import Counter

import pytest
from tests.ports.ledger_world import NOON, entry, outcome, pass_once, runner, schedule, states

from offbeat.core.model import CatchUp, Entry, Reason, State
from offbeat.core.recheck import decide_at_claim
from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger import Ledger
from offbeat.ports.ledger_values import Claim

A = runner("a")
HOUR = 3600


def begin(ledger: Ledger, *entries: Entry) -> None:
    ledger.look(A)
    ledger.activate(schedule(*entries), "stamp")


def sleep(ledger: Ledger, clock: FakeClock, seconds: float) -> None:
    """Let so much time pass without a runner; the step is believed by a second look."""
    clock.advance(seconds - 6)
    ledger.look(A)
    clock.advance(6)
    ledger.look(A)


def reason(claim: Claim, now: float) -> Reason:
    return decide_at_claim(
        kind=claim.key.kind,
        due_at=claim.key.due_at,
        send_at=claim.send_at,
        policy=claim.policy,
        next_due=claim.next_due,
        enabled=claim.timing.enabled if claim.timing else None,
        paused=claim.paused,
        waited=claim.waited,
        expires_at=claim.expires_at,
        now=now,
    )


def send(ledger: Ledger, clock: FakeClock) -> list[int]:
    """Plan, record and send what there is, as a tick does; return the due times that went out."""
    went = []
    for claims in (list(pass_once(ledger, A)), list(ledger.claim(A, 1000))):
        for claim in claims:
            why = reason(claim, clock.now())
            ledger.settle(A, [outcome(claim, State.SKIPPED if why else State.DISPATCHED, reason=why)])
            went += [] if why else [claim.key.due_at]
    return sorted(went)


def reasons(ledger: Ledger) -> dict[int, str]:
    return {due_at: why for _, due_at, _, why in states(ledger)}


def test_of_an_outage_over_ends_at_the_last_one_is_sent_and_none_before_starts_at(ledger: Ledger, clock: FakeClock) -> None:
    begin(ledger, entry("e", "every 60 0", starts_at=NOON + 600, ends_at=NOON + 1200))
    sleep(ledger, clock, 2 * HOUR)

    assert send(ledger, clock) == [NOON + 1200]
    assert min(due_at for _, due_at, _, _ in states(ledger)) == NOON + 600
    assert not ledger.look(A).due


def test_with_all_an_outage_over_starts_at_and_ends_at_sends_what_is_between(ledger: Ledger, clock: FakeClock) -> None:
    begin(ledger, entry("e", "every 60 0", starts_at=NOON + 600, ends_at=NOON + 1200, catch_up=CatchUp.ALL))
    sleep(ledger, clock, 2 * HOUR)

    assert send(ledger, clock) == [NOON + 60 * n for n in range(10, 21)]


@pytest.mark.parametrize(("due_after", "sent"), [(15 * 60, []), (45 * 60, [45 * 60])])
def test_what_came_due_in_a_pause_that_ended_in_an_outage_is_not_missed(
    ledger: Ledger, clock: FakeClock, due_after: int, sent: list[int]
) -> None:
    begin(ledger, entry("e", f"every {6 * HOUR} {due_after}"))
    ledger.pause("e", "ann", "", NOON + 30.0 * 60)
    sleep(ledger, clock, 2 * HOUR)

    assert send(ledger, clock) == [NOON + after for after in sent]
    assert list(reasons(ledger).values()) == ([""] if sent else [Reason.PAUSED])


def test_a_pause_that_ends_in_an_outage_coalesces_nothing_across_its_end(ledger: Ledger, clock: FakeClock) -> None:
    begin(ledger, entry("e", "every 600 0"))
    ledger.pause("e", "ann", "", NOON + 1750.0)
    sleep(ledger, clock, HOUR + 300)

    assert send(ledger, clock) == [NOON + HOUR]
    rows = ledger.history("e")
    assert Counter(str(row.reason) for row in rows for _ in range(row.count)) == {"": 1, "coalesced": 3, "paused": 2}


def test_a_skip_of_the_newest_one_of_an_outage_lets_the_one_before_go(ledger: Ledger, clock: FakeClock) -> None:
    begin(ledger, entry("e", "every 600 0"))
    sleep(ledger, clock, HOUR + 300)
    assert ledger.skip("e", NOON + HOUR, "ann", "").reason is Reason.BY_HAND

    assert send(ledger, clock) == [NOON + HOUR - 600]
    assert reasons(ledger)[NOON + HOUR] == Reason.BY_HAND


def test_a_skip_of_one_that_is_coalesced_anyway_changes_nothing_else(ledger: Ledger, clock: FakeClock) -> None:
    begin(ledger, entry("e", "every 600 0"))
    sleep(ledger, clock, HOUR + 300)
    ledger.skip("e", NOON + 1200, "ann", "")

    assert send(ledger, clock) == [NOON + HOUR]
    assert reasons(ledger)[NOON + 1200] == Reason.BY_HAND


def test_a_skip_outlives_a_pause_and_its_resume(ledger: Ledger, clock: FakeClock) -> None:
    begin(ledger, entry("e", "every 60 0"))
    ledger.skip("e", NOON + 120, "ann", "")
    ledger.pause("e", "ann", "")
    clock.advance(30)
    ledger.resume("e")
    went = []
    for _ in range(3):
        clock.advance(60)
        went += send(ledger, clock)

    assert went == [NOON + 60, NOON + 180]


def test_a_retry_keeps_the_expiry_of_its_first_claim(ledger: Ledger, clock: FakeClock) -> None:
    begin(ledger, entry("e", "every 3600 60", expires=100, catch_up=CatchUp.ALL))
    clock.advance(60)
    (claim,) = pass_once(ledger, A)
    until = clock.now() + 100
    for wait, why in ((40, Reason.NONE), (50, Reason.NONE), (20, Reason.TOO_LATE)):
        ledger.settle(A, [outcome(claim, State.PENDING, next_try_at=clock.now() + wait)])
        clock.advance(wait)
        (claim,) = ledger.claim(A, 10)
        assert claim.expires_at == until
        assert reason(claim, clock.now()) is why


def test_grace_counts_from_the_jittered_send_time(ledger: Ledger, clock: FakeClock) -> None:
    begin(ledger, entry("e", "every 3600 60", jitter=600, grace=30))
    clock.advance(60)
    assert pass_once(ledger, A) == []
    (row,) = ledger.history("e")
    assert row.send_at is not None and row.send_at > row.due_at + 30  # else this tells nothing

    clock.advance(row.send_at - clock.now() + 30)
    (claim,) = ledger.claim(A, 10)
    assert [reason(claim, clock.now() + later) for later in (0, 1)] == [Reason.NONE, Reason.TOO_LATE]


def test_a_rewind_leaves_a_backfill_as_it_is(ledger: Ledger, clock: FakeClock) -> None:
    begin(ledger, entry("e", "every 3600 1800"))
    ledger.backfill("e", "token", [(NOON - 60, NOON + 5), (NOON + 30, NOON + 10)])
    clock.advance(60)
    (first,) = ledger.claim(A, 1)
    ledger.settle(A, [outcome(first)])
    ledger.rewind(NOON - 120, "ann")

    assert [claim.key.due_at for claim in ledger.claim(A, 10)] == [NOON + 30]
    assert ledger.backfill("e", "token", [(NOON - 60, NOON + 5), (NOON + 30, NOON + 10)]) == 0
