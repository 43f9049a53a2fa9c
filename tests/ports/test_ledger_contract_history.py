"""What history answers, on every store alike: the right lines, in the right order, none missing at the end of a page."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.ports.ledger_world import NOON, command, entry, outcome, pass_once, report, runner, schedule
from tests.ports.redis_place import own_place

from offbeat.core.model import TROUBLE, CatchUp, DueTime, LedgerSettings, Reason, State
from offbeat.core.plan import Gap, Window
from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger import Ledger
from offbeat.ports.ledger_memory import LedgerMemory
from offbeat.ports.ledger_values import Claim

A, HAND = runner(), runner("s", "supervisor")
NAMES = ("a", "b", "c", "later", "nobody's")
ENDS = (State.FAILED, State.SUCCEEDED, State.REVOKED)


def test_history_can_be_narrowed_to_states(ledger: Ledger, clock: FakeClock) -> None:
    live(ledger, clock)

    found = ledger.history(limit=1000)
    for wanted in (TROUBLE, {State.FAILED}, {State.UNDELIVERED}, {State.REVOKED}, {State.SKIPPED}, {State.PENDING}, set(State)):
        mine = [row for row in found if row.state in wanted]
        assert mine and ledger.history(limit=1000, states=wanted) == mine
        assert ledger.history(limit=2, states=wanted) == mine[:2]
    assert ledger.history("a", 3, states=TROUBLE) == [row for row in found if row.entry == "a" and row.state in TROUBLE][:3]


def test_what_is_well_again_and_what_was_pruned_is_no_trouble_any_more(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(command("c"), entry("e", "every 86400 0")), "s")
    clock.advance(60)
    (claim,) = pass_once(ledger, A)
    ledger.report(HAND, [report(claim, State.STARTED)])
    clock.advance(61)
    ledger.look(A)
    assert [row.reason for row in ledger.history(states=TROUBLE)] == [Reason.RUNNER_DIED]
    ledger.report(HAND, [report(claim, State.SUCCEEDED)])
    assert ledger.history(states=TROUBLE) == []

    ledger.settle(A, [outcome(one, State.UNDELIVERED) for one in pass_once(ledger, A)])
    assert [row.state for row in ledger.history(states=TROUBLE)] == [State.UNDELIVERED]
    for seconds in (9 * 86_400, 6):
        clock.advance(seconds)
        ledger.look(A)
    pass_once(ledger, A)
    ledger.prune(1000, LedgerSettings(keep_seconds=1))
    assert ledger.history(states=TROUBLE) == []


def test_a_gap_of_which_nothing_is_left_takes_nobodys_place(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry("e")), "s")
    clock.advance(600)
    for minute in (420, 540):
        ledger.slot(A, "e", NOON + minute)
    gaps = tuple(Gap(eno=None, after=NOON + at - 60, until=NOON + at, reason=Reason.MISSED) for at in (60, 180, 300, 420, 540))
    ledger.record(A, [Window(gid=1, version=1, after=NOON, until=NOON + 600, next_due=NOON + 660, rows=(), gaps=gaps)], 1)

    for limit in range(1, 6):
        found = [(row.due_at - NOON, row.state) for row in ledger.history(limit=limit)]
        assert found == [
            (540, State.CLAIMED), (420, State.CLAIMED), (300, State.SKIPPED), (180, State.SKIPPED), (60, State.SKIPPED)
        ][:limit]  # fmt: skip


def test_every_question_has_the_answer_of_the_ledger_in_memory(ledger: Ledger, clock: FakeClock) -> None:
    twin_clock = FakeClock(clock.now())
    twin: Ledger = LedgerMemory(clock=twin_clock, project="shop", owner="host:/tree")
    live(ledger, clock)
    live(twin, twin_clock)
    everything = ledger.history(limit=10_000)
    assert len({row.state for row in everything}) >= 8 and any(row.until for row in everything)

    @settings(max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
    @given(
        name=st.sampled_from(("", *NAMES)),
        limit=st.integers(0, 60) | st.just(10_000),
        since=st.none() | st.integers(NOON - 600, NOON + 4 * 3600),
        states=st.frozensets(st.sampled_from(State), max_size=3) | st.just(TROUBLE),
    )
    def alike(name: str, limit: int, since: DueTime | None, states: frozenset[State]) -> None:
        assert ledger.history(name, limit, since, states=states) == twin.history(name, limit, since, states=states)

    alike()


def test_an_hour_in_redis_is_read_by_pages_that_leave_nothing_out(durable_redis_address: str) -> None:
    from offbeat.ports.ledger_redis import LedgerRedis

    clock, twin_clock = FakeClock(float(NOON)), FakeClock(float(NOON))
    with own_place(durable_redis_address) as place, closing(LedgerRedis(place, horizon=clock)) as ledger:
        twin = LedgerMemory(clock=twin_clock, project="shop", owner="host:/tree")
        both: tuple[tuple[Ledger, FakeClock], ...] = ((ledger, clock), (twin, twin_clock))
        for one, time in both:
            one.activate(schedule(*(entry(f"e{number:03}", f"every 60 {number % 3}") for number in range(700))), "s")
            for _ in range(8):
                time.advance(60)
                settle_somehow(one, pass_once(one, A))
        whole = twin.history(limit=100_000)
        assert len(whole) > 4000

        for limit, since in ((1, None), (700, None), (3000, None), (100_000, None), (9, NOON + 130)):
            assert ledger.history("", limit, since) == twin.history("", limit, since)
        for limit in (1, 499, 2000):
            assert ledger.history(limit=limit, states=TROUBLE) == twin.history(limit=limit, states=TROUBLE)
            assert ledger.history(limit=limit, states={State.SUCCEEDED}) == twin.history(limit=limit, states={State.SUCCEEDED})
        assert ledger.history("e321", 5) == twin.history("e321", 5)


def live(ledger: Ledger, clock: FakeClock) -> None:
    """Let a few hours go by, in which everything happens that leaves a line in history."""
    ledger.look(A)
    more = entry("later", "every 300 0", catch_up=CatchUp.ALL, jitter=299)
    ledger.activate(schedule(entry("a"), entry("b", "every 60 1"), entry("c", "every 120 0"), more), "s")
    for step in range(25):
        clock.advance(60 if step != 12 else 7200)
        ledger.look(A)
        settle_somehow(ledger, pass_once(ledger, A))
    ledger.pause("b", "ann", "")
    clock.advance(900)
    settle_somehow(ledger, pass_once(ledger, A))
    ledger.resume("b")
    ledger.fire(A, "a", "token")
    ledger.slot(A, "c", NOON + 120 * 40)
    ledger.skip("c", NOON + 120 * 120, "ann", "")
    ledger.backfill("c", "old", [(NOON - 600 + 120 * n, NOON + 9 * 3600) for n in range(5)])
    clock.advance(60)
    pass_once(ledger, A)


def settle_somehow(ledger: Ledger, claims: Sequence[Claim]) -> None:
    """Settle each claim by a number of its own, alike on every store."""
    number = {claim.key: (claim.key.eno * 7 + claim.key.due_at // 60 * 3) % 11 for claim in claims}
    lost = [claim for claim in claims if number[claim.key] == 0]
    sent = [claim for claim in claims if 0 < number[claim.key] < 9]
    ledger.settle(A, [*(outcome(one, State.UNDELIVERED, error="no queue") for one in lost), *(outcome(one) for one in sent)])
    begun = [claim for claim in sent if number[claim.key] > 2]
    ledger.report(A, [report(claim, State.STARTED) for claim in begun])
    ledger.report(A, [report(claim, ENDS[number[claim.key] % 3]) for claim in begun if number[claim.key] > 3])
