"""catch_up = "all" after an outage: a bounded number of late rows waits, the rest follows, and nobody waits behind it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import ceil, floor

from hypothesis import given, settings
from hypothesis import strategies as st

from offbeat.core.backlog import may_be_late, with_waiting
from offbeat.core.model import PUNCTUAL, CatchUp, Lane, Policy, Reason
from offbeat.core.plan import BACKLOG, Group, Member, Portion, plan, plan_group
from offbeat.core.recurrences.recurrence import compile_recurrence

NOON = 1_772_366_400  # 2026-03-01T12:00:00Z
DAY = 86_400
ALL = Policy(catch_up=CatchUp.ALL)


def group(recurrence: str = "every 60 0", cursor: int = NOON) -> Group:
    return Group(gid=1, recurrence=recurrence, zone="UTC", cursor=cursor, version=1)


def member(eno: int = 1, policy: Policy = ALL, **changes: object) -> Member:
    plain = Member(eno=eno, name=f"entry-{eno}", first=0, last=None, policy=policy)
    return replace(plain, **changes)  # type: ignore[arg-type]


@dataclass
class Store:
    """What a ledger would keep of one group: a row a key, the first decision counts; late rows leave one by one."""

    recurrence: str
    members: list[Member]
    cursor: int = NOON
    rows: dict[tuple[int, int], Reason] = field(default_factory=dict)
    gaps: list[tuple[int | None, int, int, Reason]] = field(default_factory=list)
    late: list[tuple[int, int]] = field(default_factory=list)
    live: list[tuple[int, int, float]] = field(default_factory=list)

    def once(self, now: float) -> None:
        waiting = {one.eno: sum(eno == one.eno for eno, _ in self.late) for one in self.members}
        groups = [(group(self.recurrence, self.cursor), tuple(self.members))]
        assert set(may_be_late(groups, now)) <= {one.eno for one in self.members if one.policy.catch_up is CatchUp.ALL}
        (window,) = plan(Portion(now=now, revision=1, groups=with_waiting(groups, waiting)))
        assert self.cursor == window.after <= window.until <= now
        self.gaps += [(gap.eno, gap.after, gap.until, gap.reason) for gap in window.gaps]
        for row in window.rows:
            if (row.eno, row.due_at) not in self.rows:
                self.rows[row.eno, row.due_at] = row.reason
                if not row.reason and row.lane is Lane.LIVE:
                    self.live.append((row.eno, row.due_at, now))
                elif not row.reason:
                    self.late.append((row.eno, row.due_at))
        self.cursor = window.until

    def decided(self, one: Member, due_at: int) -> Reason | None:
        """Return the fate of a due time, None while it has none; a row within a gap counts by itself."""
        if (one.eno, due_at) in self.rows:
            return self.rows[one.eno, due_at]
        fates = [reason for eno, after, until, reason in self.gaps if eno in (None, one.eno) and after < due_at <= until]
        assert len(fates) <= 1
        return fates[0] if fates else None


def test_of_a_year_of_a_minutely_entry_the_oldest_wait_and_the_due_now_goes() -> None:
    now = NOON + 365 * DAY + 5.0
    window = plan_group(group(), [member()], now)

    late = [row for row in window.rows if row.lane is Lane.CATCH_UP]
    assert [row.due_at for row in late] == [NOON + 60 * n for n in range(1, BACKLOG + 1)]
    assert window.until == window.next_due - 1 if window.next_due else False
    assert [row.due_at for row in window.rows if row.lane is Lane.LIVE] == [floor(now) // 60 * 60 - 60, floor(now) // 60 * 60]


def test_where_there_is_no_room_the_cursor_stays_and_what_is_due_now_goes_all_the_same() -> None:
    now = NOON + DAY + 5.0
    window = plan_group(group(), [member(waiting=BACKLOG)], now)

    assert (window.after, window.until - window.after, window.gaps) == (NOON, 59, ())
    assert {row.lane for row in window.rows} == {Lane.LIVE}
    assert window.next_due == NOON + 60


def test_others_of_the_group_do_not_wait_for_a_backlog() -> None:
    now = NOON + 30 * DAY + 1000.0
    members = [member(1), member(2, Policy()), member(3, Policy(catch_up=CatchUp.NONE))]
    window = plan_group(group("every 3600 0"), [replace(members[0], waiting=BACKLOG), *members[1:]], now)

    assert [(row.eno, row.due_at, row.lane) for row in window.rows if not row.reason] == [(2, NOON + 30 * DAY, Lane.CATCH_UP)]


def test_who_is_removed_leaves_no_backlog() -> None:
    window = plan_group(group(), [member(gone=Reason.REMOVED, waiting=BACKLOG)], NOON + 365.0 * DAY)

    assert (len(window.rows), len(window.gaps), window.until) == (0, 1, NOON + 365 * DAY)


def test_what_is_too_late_for_its_grace_takes_no_room() -> None:
    window = plan_group(group(), [member(policy=replace(ALL, grace=3600))], NOON + 365.0 * DAY)

    assert window.until == NOON + 365 * DAY
    assert len([row for row in window.rows if not row.reason]) == 61


POLICIES = st.sampled_from(
    [ALL, ALL, Policy(), Policy(catch_up=CatchUp.NONE), replace(ALL, jitter=20), replace(ALL, grace=9000)]
)


@settings(max_examples=30, deadline=None)
@given(
    policies=st.lists(POLICIES, min_size=1, max_size=3),
    step=st.sampled_from([10, 45, 60]),
    outage=st.integers(0, 12_000),
    leave=st.lists(st.integers(0, 300), min_size=1, max_size=12),
)
def test_each_due_time_is_decided_once_and_few_rows_wait(
    policies: list[Policy], step: int, outage: int, leave: list[int]
) -> None:
    members = [member(n, policy) for n, policy in enumerate(policies, start=1)]
    store, now, n = Store(f"every {step} 0", members), NOON + outage + 0.5, 0
    while n < len(leave) or store.cursor < floor(now - 30):
        store.once(now)
        for one in members:
            assert sum(eno == one.eno for eno, _ in store.late) <= BACKLOG
        del store.late[: leave[n] if n < len(leave) else 500]
        n, now = n + 1, now + 30
        assert n < 500
    store.once(now)

    rule = compile_recurrence(f"every {step} 0", "UTC")
    for one in members:
        fates = {at: store.decided(one, at) for at in rule.due_times(NOON, store.cursor)}
        assert None not in fates.values()
        punctual = [at for at in fates if at > NOON + outage - PUNCTUAL]
        assert all(fates[at] is Reason.NONE for at in punctual)
        if one.policy.catch_up is CatchUp.ALL and one.policy.grace is None:
            assert set(fates.values()) <= {Reason.NONE}
    for _, due_at, recorded_at in store.live:
        assert recorded_at - due_at <= PUNCTUAL + 20 + ceil(step)
