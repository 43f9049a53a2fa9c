"""What is decided of an occurrence: each due time once, late ones by their policy, and cutting a span changes nothing."""

from __future__ import annotations

from dataclasses import replace
from math import floor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offbeat.core.model import PUNCTUAL, CatchUp, Cause, Kind, Lane, Policy, Reason
from offbeat.core.plan import (
    Gap,
    Group,
    Heir,
    Member,
    PlannedRow,
    Portion,
    Window,
    next_usable,
    plan,
    plan_group,
)
from offbeat.core.recheck import decide_at_claim
from offbeat.core.recurrences.recurrence import compile_recurrence

NOON = 1_772_366_400  # 2026-03-01T12:00:00Z
HOUR = 3600
MINUTELY = "every 60 0"


def group(recurrence: str = MINUTELY, cursor: int = NOON) -> Group:
    return Group(gid=1, recurrence=recurrence, zone="UTC", cursor=cursor, version=1)


def member(eno: int = 1, **changes: object) -> Member:
    plain = Member(eno=eno, name=f"entry-{eno}", first=0, last=None, policy=Policy())
    return replace(plain, **changes)  # type: ignore[arg-type]


def fates(windows: list[Window], groups: dict[int, str]) -> dict[tuple[int, int], Reason]:
    """Spread rows and gaps out into one reason for each (entry, due time); a second decision for the same is an error."""
    told: dict[tuple[int, int], Reason] = {}

    def tell(eno: int, due_at: int, reason: Reason) -> None:
        assert (eno, due_at) not in told, "decided twice"
        told[eno, due_at] = reason

    for window in windows:
        rule = compile_recurrence(groups[window.gid], "UTC")
        for row in window.rows:
            tell(row.eno, row.due_at, row.reason)
        for gap in window.gaps:
            for due_at in rule.due_times(gap.after, gap.until):
                tell(gap.eno if gap.eno is not None else 0, due_at, gap.reason)
    return told


def sent(window: Window) -> list[int]:
    return [row.due_at for row in window.rows if not row.reason]


def test_what_is_due_now_is_dispatched_in_the_live_lane() -> None:
    window = plan_group(group(), [member(1), member(2)], NOON + 60.2)

    assert window.rows == (
        PlannedRow(eno=1, due_at=NOON + 60, send_at=NOON + 60),
        PlannedRow(eno=2, due_at=NOON + 60, send_at=NOON + 60),
    )
    assert (window.after, window.until, window.next_due, window.gaps) == (NOON, NOON + 60, NOON + 120, ())


def test_nothing_is_planned_before_its_due_time() -> None:
    assert plan_group(group(), [member()], NOON + 59.999).rows == ()


def test_after_an_outage_the_newest_is_sent_and_the_others_are_one_gap_of_the_whole_group() -> None:
    window = plan_group(group("every 3600 0"), [member(1), member(2)], NOON + 24 * HOUR + 1800)

    assert window.gaps == (Gap(eno=None, after=NOON, until=NOON + 24 * HOUR - 1, reason=Reason.COALESCED),)
    assert sent(window) == [NOON + 24 * HOUR] * 2
    assert {(row.lane, row.cause) for row in window.rows} == {(Lane.CATCH_UP, Cause.CATCH_UP)}


def test_six_due_times_of_a_healthy_one_minute_tick_are_all_sent() -> None:
    window = plan_group(group("every 10 0"), [member()], NOON + 60.5)

    assert sent(window) == [NOON + 10 * n for n in range(1, 7)]


def test_fewer_than_three_equal_skips_are_rows() -> None:
    window = plan_group(group("every 3600 0"), [member()], NOON + 3 * HOUR + 100)

    assert window.gaps == ()
    assert [(row.due_at - NOON, row.reason) for row in window.rows] == [
        (HOUR, Reason.COALESCED),
        (2 * HOUR, Reason.COALESCED),
        (3 * HOUR, Reason.NONE),
    ]


def test_catch_up_all_sends_every_one_and_catch_up_none_misses_the_late_ones() -> None:
    every = [member(1, policy=Policy(catch_up=CatchUp.ALL)), member(2, policy=Policy(catch_up=CatchUp.NONE))]
    window = plan_group(group("every 60 0"), every, NOON + 600.0)

    assert [row.due_at for row in window.rows if row.eno == 1] == [NOON + 60 * n for n in range(1, 11)]
    assert [row.due_at for row in window.rows if row.eno == 2] == [NOON + 540, NOON + 600]
    assert window.gaps == (Gap(eno=2, after=NOON, until=NOON + 509, reason=Reason.MISSED),)


def test_grace_lets_nothing_go_out_later_than_it_says() -> None:
    patient = member(1, policy=Policy(catch_up=CatchUp.ALL, grace=120))
    window = plan_group(group("every 60 0"), [patient], NOON + 600.0)

    assert sent(window) == [NOON + 480, NOON + 540, NOON + 600]
    assert window.gaps == (Gap(eno=None, after=NOON, until=NOON + 479, reason=Reason.TOO_LATE),)


def test_a_removed_entry_is_skipped_and_says_so() -> None:
    window = plan_group(group(), [member(1, last=NOON + 61, gone=Reason.REMOVED)], NOON + 130.0)

    assert [(row.due_at, row.reason) for row in window.rows] == [(NOON + 60, Reason.REMOVED)]
    assert window.next_due is None


def test_an_entry_counts_only_between_its_first_and_last_instant() -> None:
    one = member(1, first=NOON + 120, last=NOON + 180, policy=Policy(catch_up=CatchUp.ALL))

    assert sent(plan_group(group(), [one], NOON + 600.0)) == [NOON + 120, NOON + 180]


def test_an_entry_that_starts_next_year_costs_nothing_until_then() -> None:
    window = plan_group(group(), [member(1, first=NOON + 31_536_000)], NOON + 60.0)

    assert window.next_due == NOON + 31_536_000


def test_time_spent_paused_is_skipped_and_is_not_missed() -> None:
    one = member(1, pauses=((NOON + 100.0, NOON + 400.0),))
    window = plan_group(group(), [one], NOON + 460.0)

    assert fates([window], {1: MINUTELY}) == {
        (1, NOON + 60): Reason.COALESCED,
        **{(0, NOON + 60 * n): Reason.PAUSED for n in range(2, 7)},
        (1, NOON + 420): Reason.NONE,
    }


def test_a_late_occurrence_whose_entry_has_a_newer_due_time_under_its_new_recurrence_is_coalesced() -> None:
    heir = Heir(recurrence="every 300 0", zone="UTC", first=NOON + 61, last=None)
    old = member(1, last=NOON + 60, heirs=(heir,))

    assert plan_group(group(), [old], NOON + 299.0).rows[0].reason is Reason.NONE
    assert plan_group(group(), [old], NOON + 301.0).rows[0].reason is Reason.COALESCED


def test_jitter_delays_the_send_time_by_a_hash_and_never_past_the_next_due_time() -> None:
    members = [member(n, policy=Policy(jitter=600)) for n in range(1, 200)]
    rows = plan_group(group(), members, NOON + 60.0).rows

    assert all(NOON + 60 <= row.send_at < NOON + 120 for row in rows)
    assert len({row.send_at for row in rows}) > 30
    assert rows == plan_group(group(), members, NOON + 60.0).rows


def test_a_year_of_downtime_of_a_minutely_entry_is_one_gap_and_one_row() -> None:
    window = plan_group(group(), [member(n) for n in range(500)], NOON + 31_536_000.0 + 95)

    assert len(window.gaps) == 1
    assert len(window.rows) == 500


def test_a_window_that_would_grow_too_large_is_cut_between_due_times() -> None:
    members = [member(n, policy=Policy(catch_up=CatchUp.ALL)) for n in range(10)]
    window = plan_group(group(), members, NOON + 3600.0, burst=25)

    assert window.until == NOON + 120
    assert len(window.rows) == 20
    assert window.next_due == NOON + 180


def test_one_due_time_is_never_cut_in_two() -> None:
    members = [member(n) for n in range(10)]

    assert len(plan_group(group(), members, NOON + 60.0, burst=3).rows) == 10


def test_a_group_without_members_is_done_for_good() -> None:
    window = plan_group(group(), [], NOON + 600.0)

    assert (window.rows, window.gaps, window.next_due, window.until) == ((), (), None, NOON + 600)


POLICIES = st.builds(
    Policy, catch_up=st.sampled_from(CatchUp), grace=st.none() | st.integers(0, 2000), jitter=st.sampled_from([0, 0, 7, 200])
)
PAUSES = st.lists(st.tuples(st.floats(NOON, NOON + 4000), st.none() | st.floats(NOON, NOON + 8000)), max_size=2).map(
    lambda found: tuple((a, b) for a, b in found if b is None or b > a)
)
MEMBERS = st.lists(
    st.builds(
        lambda first, length, policy, gone, pauses: member(
            first=NOON + first, last=None if length is None else NOON + first + length, policy=policy, gone=gone, pauses=pauses
        ),
        st.integers(-100, 3000),
        st.none() | st.integers(0, 5000),
        POLICIES,
        st.sampled_from([Reason.NONE, Reason.NONE, Reason.NONE, Reason.REMOVED]),
        PAUSES,
    ),
    min_size=1,
    max_size=4,
).map(lambda found: [replace(one, eno=n, name=f"e{n}") for n, one in enumerate(found, start=1)])
STEPS = st.sampled_from([7, 10, 45, 60, 600, 2700])


def expected(one: Member, step: int, now: float) -> dict[int, Reason]:
    """The rules in their plainest form, one due time after the other."""

    def paused(at: int) -> bool:
        return any(a <= at and (b is None or at < b) for a, b in one.pauses)

    due = [
        at
        for at in range(NOON + 1, floor(now) + 1)
        if at % step == 0 and at >= one.first and (one.last is None or at <= one.last)
    ]
    told = {}
    for at in due:
        late, policy = now - at > PUNCTUAL, one.policy
        if one.gone:
            told[at] = one.gone
        elif paused(at):
            told[at] = Reason.PAUSED
        elif policy.catch_up is CatchUp.LATEST and late and any(other > at and not paused(other) for other in due):
            told[at] = Reason.COALESCED
        else:
            told[at] = Reason.NONE
    return told


@settings(max_examples=400, deadline=None)
@given(members=MEMBERS, step=STEPS, passed=st.floats(0, 9000), burst=st.sampled_from([1, 5, 2000]))
def test_every_due_time_of_every_member_is_decided_exactly_once_however_windows_are_cut(
    members: list[Member], step: int, passed: float, burst: int
) -> None:
    now, cursor = NOON + passed, NOON
    told: dict[tuple[int, int], Reason] = {}
    ahead: set[tuple[int, int]] = set()
    while cursor < floor(now):
        (window,) = plan(
            Portion(now=now, revision=1, groups=((group(f"every {step} 0", cursor), tuple(members)),)), burst=burst
        )
        assert cursor < window.until <= floor(now)
        for (eno, due_at), reason in fates([window], {1: f"every {step} 0"}).items():
            for one in members if eno == 0 else [m for m in members if m.eno == eno]:
                if due_at > window.until:  # ahead of a backlog: a row that the cursor will find there
                    assert eno and not reason
                    ahead.add((eno, due_at))
                    continue
                assert (one.eno, due_at) not in told
                told[one.eno, due_at] = reason
                assert not reason or (one.eno, due_at) not in ahead
        cursor = window.until
    for one in members:
        mine = {due_at: reason for (eno, due_at), reason in told.items() if eno == one.eno}
        plain = expected(one, step, now)
        assert mine.keys() == plain.keys()
        for due_at, reason in plain.items():
            # grace and "none" look at the send time, which the plain rules do not know
            assert mine[due_at] == reason or (reason is Reason.NONE and mine[due_at] in (Reason.TOO_LATE, Reason.MISSED))


@settings(max_examples=200, deadline=None)
@given(members=MEMBERS, step=STEPS, passed=st.floats(0, 9000), seed=st.randoms())
def test_the_order_of_members_does_not_change_what_is_decided(
    members: list[Member], step: int, passed: float, seed: object
) -> None:
    shuffled = list(members)
    seed.shuffle(shuffled)  # type: ignore[attr-defined]

    def told(order: list[Member]) -> dict[tuple[int, int], Reason]:
        return fates([plan_group(group(f"every {step} 0"), order, NOON + passed)], {1: f"every {step} 0"})

    assert told(members) == told(shuffled)


@given(passed=st.floats(91, 50_000), step=STEPS)
def test_latest_sends_at_most_one_late_occurrence_of_an_entry(passed: float, step: int) -> None:
    window = plan_group(group(f"every {step} 0"), [member()], NOON + passed)

    assert len([at for at in sent(window) if NOON + passed - at > PUNCTUAL]) <= 1


def claim_reason(**changes: object) -> Reason:
    plain: dict[str, object] = {
        "kind": Kind.SCHEDULE,
        "due_at": NOON,
        "send_at": NOON,
        "policy": Policy(),
        "next_due": NOON + 60,
        "enabled": True,
        "paused": False,
        "now": NOON + 1.0,
    }
    return decide_at_claim(**{**plain, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, Reason.NONE),
        ({"enabled": None}, Reason.REMOVED),
        ({"enabled": False}, Reason.DISABLED),
        ({"paused": True}, Reason.PAUSED),
        ({"now": NOON + 91.0}, Reason.COALESCED),
        ({"now": NOON + 89.0}, Reason.NONE),
        ({"now": NOON + 91.0, "next_due": NOON + 3600}, Reason.NONE),
        ({"now": NOON + 91.0, "next_due": None}, Reason.NONE),
        ({"now": NOON + 91.0, "policy": Policy(catch_up=CatchUp.ALL)}, Reason.NONE),
        ({"now": NOON + 91.0, "policy": Policy(catch_up=CatchUp.NONE)}, Reason.MISSED),
        ({"now": NOON + 11.0, "policy": Policy(grace=10)}, Reason.TOO_LATE),
        ({"now": NOON + 9.0, "policy": Policy(grace=10)}, Reason.NONE),
        ({"now": NOON + 9.0, "expires_at": NOON + 9.0}, Reason.TOO_LATE),
        ({"now": NOON + 9.0, "expires_at": NOON + 9.1}, Reason.NONE),
        ({"now": NOON + 9.0, "kind": Kind.MANUAL, "expires_at": NOON + 8.0}, Reason.TOO_LATE),
        ({"now": NOON + 9999.0, "kind": Kind.MANUAL, "enabled": None}, Reason.NONE),
        ({"now": NOON + 9999.0, "kind": Kind.MANUAL, "policy": Policy(grace=10)}, Reason.NONE),
        ({"now": NOON + 9999.0, "kind": Kind.BACKFILL, "policy": Policy(grace=10)}, Reason.NONE),
        ({"now": NOON + 9.0, "kind": Kind.BACKFILL, "expires_at": NOON + 8.0}, Reason.TOO_LATE),
    ],
)
def test_a_claimed_row_is_decided_again_by_what_holds_now(changes: dict[str, object], reason: Reason) -> None:
    assert claim_reason(**changes) is reason


def test_the_next_usable_due_time_is_in_no_pause_and_may_be_of_a_later_version() -> None:
    every_minute, hourly = compile_recurrence(MINUTELY, "UTC"), compile_recurrence("every 3600 0", "UTC")

    assert next_usable([(every_minute, 0, None)], NOON, ((NOON + 10.0, NOON + 170.0),)) == NOON + 180
    assert next_usable([(every_minute, 0, None)], NOON, ((NOON + 10.0, None),)) is None
    assert next_usable([(every_minute, 0, NOON + 59), (hourly, NOON + 60, None)], NOON) == NOON + HOUR
