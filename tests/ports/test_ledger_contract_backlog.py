"""catch_up = "all" after an outage: few late rows wait at once, the rest follows as they leave, and nobody waits behind it."""

from __future__ import annotations

from collections import Counter

from tests.ports.ledger_world import NOON, entry, outcome, pass_once, runner, schedule, states

from offbeat.core.model import CatchUp, Lane, State
from offbeat.core.plan import BACKLOG
from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger import Ledger
from offbeat.ports.ledger_values import Claim

A, B = runner("a"), runner("b")
OUTAGE = 12 * 3600  # seconds: 720 due times of a minutely entry


def outage(ledger: Ledger, clock: FakeClock) -> None:
    """Leave an entry that catches up with all, and one of the same group that does not, without a runner for a while."""
    ledger.look(A)
    ledger.activate(schedule(entry("all", catch_up=CatchUp.ALL), entry("latest")), "stamp")
    clock.advance(OUTAGE + 5)
    ledger.look(A)
    clock.advance(6)  # the step is believed by a second look
    assert ledger.look(A).due


def sent(ledger: Ledger, who: str = "all") -> list[int]:
    return sorted(due_at for name, due_at, state, _ in states(ledger, who) if state is State.DISPATCHED)


def settle(ledger: Ledger, claims: list[Claim]) -> None:
    assert len(ledger.settle(A, [outcome(claim) for claim in claims])) == len(claims)


def test_few_of_a_backlog_wait_and_what_is_due_now_goes(ledger: Ledger, clock: FakeClock) -> None:
    outage(ledger, clock)
    claims = list(pass_once(ledger, A))

    assert Counter((claim.name, claim.lane) for claim in claims) == {("all", Lane.LIVE): 2, ("latest", Lane.LIVE): 2}
    assert ledger.status().pending == BACKLOG

    for _ in range(2):  # there is no room for more
        pass_once(ledger, B)
        assert ledger.status().pending == BACKLOG
    settle(ledger, claims)
    clock.advance(60)
    assert {claim.key.due_at for claim in pass_once(ledger, B)} == {NOON + OUTAGE + 60}


def test_a_backlog_is_sent_whole_oldest_first_and_once(ledger: Ledger, clock: FakeClock) -> None:
    outage(ledger, clock)
    late: list[int] = []
    for _ in range(10):
        settle(ledger, list(pass_once(ledger, A)))
        assert ledger.status().pending <= BACKLOG
        claims = list(ledger.claim(A, 500))
        late += sorted(claim.key.due_at for claim in claims)
        settle(ledger, claims)

    assert not ledger.look(A).due
    assert late == sorted(late) and len(late) == OUTAGE // 60 - 2
    assert sent(ledger) == [NOON + 60 * n for n in range(1, OUTAGE // 60 + 1)]
    assert sent(ledger, "latest") == [NOON + OUTAGE - 60, NOON + OUTAGE]


def test_a_backlog_that_cannot_be_sent_holds_up_no_other_entry(ledger: Ledger, clock: FakeClock) -> None:
    ledger.look(A)
    stuck, other = (
        entry("stuck", catch_up=CatchUp.ALL, queue="bad"),
        entry("other", "every 120 0", catch_up=CatchUp.ALL),
    )
    ledger.activate(schedule(stuck, other), "stamp")
    clock.advance(OUTAGE + 5)
    ledger.look(A)
    clock.advance(6)
    ledger.look(A)
    for _ in range(4):
        settle(ledger, [claim for claim in pass_once(ledger, A) if claim.name == "other"])
        settle(ledger, list(ledger.claim(A, 500, {"bad"})))

    assert len(sent(ledger, "other")) == OUTAGE // 120
    assert sum(name == "stuck" and state is State.PENDING for name, _, state, _ in states(ledger, "stuck")) == BACKLOG


def test_a_backlog_of_an_entry_that_is_removed_is_one_gap(ledger: Ledger, clock: FakeClock) -> None:
    outage(ledger, clock)
    settle(ledger, list(pass_once(ledger, A)))
    ledger.activate(schedule(entry("latest")), "stamp 2")
    pass_once(ledger, A)

    assert not ledger.take(10).groups
    counts = Counter(str(state) for _, _, state, _ in states(ledger, "all"))
    assert counts["pending"] == BACKLOG and len(counts) == 3


def test_a_pause_stops_what_is_behind_a_backlog_too(ledger: Ledger, clock: FakeClock) -> None:
    outage(ledger, clock)
    settle(ledger, list(pass_once(ledger, A)))
    ledger.pause("all", "ann", "")
    for _ in range(6):
        claims = list(ledger.claim(A, 500))
        assert all(claim.paused for claim in claims)
        ledger.settle(A, [outcome(claim, State.SKIPPED) for claim in claims])
        pass_once(ledger, A)

    assert len(sent(ledger)) == 2
    assert not ledger.look(A).due


def test_a_rewind_into_a_backlog_sends_nothing_twice(ledger: Ledger, clock: FakeClock) -> None:
    outage(ledger, clock)
    settle(ledger, list(pass_once(ledger, A)))
    settle(ledger, list(ledger.claim(A, 50)))
    before = sent(ledger)
    ledger.rewind(NOON, "ann")
    for _ in range(10):
        settle(ledger, list(pass_once(ledger, A)))
        settle(ledger, list(ledger.claim(A, 500)))

    assert set(before) < set(sent(ledger))
    assert sent(ledger) == [NOON + 60 * n for n in range(1, OUTAGE // 60 + 1)]
