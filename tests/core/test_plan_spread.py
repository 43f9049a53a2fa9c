"""Jitter as a percentage of the gap, and a recurrence that cannot be worked out: what a plan makes of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offbeat.core.model import CatchUp, Policy
from offbeat.core.plan import RETRY, Group, Member, Portion, plan, plan_group, send_time
from offbeat.core.recurrences.recurrence import compile_recurrence
from offbeat.core.serial import policy_from_json, policy_to_json
from offbeat.ports.ledger_sqlite.claims import policy_columns, policy_of

NOON = 1_772_366_400
POLICIES = st.builds(
    Policy,
    catch_up=st.sampled_from(CatchUp),
    grace=st.one_of(st.none(), st.integers(0, 9000)),
    jitter_percent=st.integers(0, 100),
)


def group(recurrence: str, gid: int = 1) -> Group:
    return Group(gid=gid, recurrence=recurrence, zone="UTC", cursor=NOON, version=1)


def member(policy: Policy) -> Member:
    return Member(eno=1, name="one", first=0, last=None, policy=policy)


@given(st.integers(1, 100), st.integers(0, 10**6))
def test_a_percentage_spreads_over_that_much_of_the_gap(percent: int, number: int) -> None:
    rule = compile_recurrence("every 1000 0", "UTC")
    due_at = number * 1000

    sent = send_time(rule, "one", due_at, Policy(jitter_percent=percent))

    assert due_at <= sent <= due_at + min(percent * 10, 999)


def test_a_percentage_follows_the_gap_and_the_last_due_time_has_none() -> None:
    rule = compile_recurrence(f"at {NOON},{NOON + 10},{NOON + 100_010}", "UTC")
    policy = Policy(jitter_percent=50)

    sent = [send_time(rule, "one", due, policy) - due for due in (NOON, NOON + 10, NOON + 100_010)]

    assert sent[0] <= 5 < sent[1] <= 50_000
    assert sent[2] == 0


@given(POLICIES, st.sampled_from(["every 60 0", "every 900 0", "cron 0 0,3,4 * * *"]), st.integers(0, 30_000))
def test_what_is_skipped_in_one_go_is_what_would_be_skipped_one_by_one(policy: Policy, recurrence: str, later: int) -> None:
    """Catch-up and grace skip a whole span where every send time in it is known to be too early, whatever the hash is."""
    now = NOON + later + 0.5
    rule = compile_recurrence(recurrence, "UTC")
    window = plan_group(group(recurrence), [member(policy)], now)

    skipped = {due for gap in window.gaps for due in rule.due_times(gap.after, gap.until)}
    for due in skipped:
        send_at = send_time(rule, "one", due, policy)
        coalesced = policy.catch_up is CatchUp.LATEST
        assert coalesced or now - send_at > 90 or (policy.grace is not None and send_at + policy.grace < now)
    assert len(skipped) + len(window.rows) == len(list(rule.due_times(NOON, window.until)))


@given(st.builds(Policy, jitter=st.integers(0, 10**6)) | POLICIES)
def test_a_policy_with_either_jitter_survives_both_forms_of_keeping_it(policy: Policy) -> None:
    assert policy_from_json(policy_to_json(policy)) == policy
    assert policy_of(*policy_columns(policy)) == policy


@pytest.mark.parametrize("recurrence", ["own nowhere {}", "rrule FREQ=NEVER", "nonsense"])
def test_a_recurrence_that_cannot_be_worked_out_decides_nothing_and_stops_no_other(recurrence: str) -> None:
    groups = ((group(recurrence), (member(Policy()),)), (group("every 60 0", gid=2), (member(Policy()),)))

    broken, fine = plan(Portion(now=NOON + 60.2, revision=1, groups=groups))

    assert (broken.after, broken.until, broken.rows, broken.gaps) == (NOON, NOON, (), ())
    assert broken.next_due == NOON + 60 + RETRY
    assert broken.problems[0].what.startswith('entry "one": ')
    assert [row.due_at for row in fine.rows] == [NOON + 60]
    assert fine.problems == ()
