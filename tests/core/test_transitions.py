"""The rules that all stores share."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offbeat.core.model import (
    PUNCTUAL,
    RANK,
    CatchUp,
    CommandCall,
    Entry,
    Key,
    Kind,
    Overlap,
    Policy,
    Reason,
    State,
    TaskCall,
    Timing,
)
from offbeat.core.recheck import decide_at_claim
from offbeat.core.recurrences.recurrence import compile_recurrence
from offbeat.core.slots import SET_BACK, Hold, Turn, judge_slot, slot_seconds, taken
from offbeat.core.transitions import (
    COUNTED,
    KEPT_BEHIND,
    RETENTION,
    SECOND_LOOK,
    STEP,
    Belief,
    Changes,
    Span,
    Tally,
    Verdict,
    boundary,
    bounds,
    by_whom,
    compare,
    expiry,
    is_empty,
    judge_outcome,
    judge_report,
    just_passed,
    look_at_clock,
    never_above,
    next_due,
    prunable,
    queue_of,
    set_back,
    shares,
    tally,
    usable_after,
)

W, K, R, S = Verdict.WRITTEN, Verdict.KEPT, Verdict.REFUSED, Verdict.STAMPED
OUTCOMES = (State.PENDING, State.DISPATCHED, State.SKIPPED, State.UNDELIVERED)
NOON = 1_772_366_400


def entry(name: str, recurrence: str = "every 60 0", task: str = "t") -> Entry:
    return Entry(name=name, timing=Timing(recurrence=recurrence), call=TaskCall(task=task))


@pytest.mark.parametrize(
    ("held", "verdicts"),
    [
        (State.PENDING, (K, W, W, W)),
        (State.CLAIMED, (W, W, W, W)),
        (State.DISPATCHED, (R, K, R, R)),
        (State.SKIPPED, (R, R, K, R)),
        (State.UNDELIVERED, (R, R, R, K)),
        (State.STARTED, (R, S, R, R)),
        (State.RETRYING, (R, S, R, R)),
        (State.SUCCEEDED, (R, S, R, R)),
        (State.FAILED, (R, S, R, R)),
        (State.REVOKED, (R, S, R, R)),
    ],
)
def test_outcomes_by_the_state_that_the_row_is_in(held: State, verdicts: tuple[Verdict, ...]) -> None:
    assert tuple(judge_outcome(held, state, same=True, is_command=False) for state in OUTCOMES) == verdicts


@pytest.mark.parametrize("state", OUTCOMES)
def test_an_outcome_that_says_something_else_than_before_is_refused(state: State) -> None:
    assert judge_outcome(state, state, same=False, is_command=False) is R


def test_only_a_command_that_is_dispatched_may_still_be_skipped() -> None:
    assert judge_outcome(State.DISPATCHED, State.SKIPPED, same=False, is_command=True) is W
    assert judge_outcome(State.STARTED, State.SKIPPED, same=False, is_command=True) is R


REPORTS = (State.DISPATCHED, State.STARTED, State.RETRYING, State.SUCCEEDED, State.FAILED, State.REVOKED)


@pytest.mark.parametrize(
    ("held", "verdicts"),
    [
        (State.PENDING, (W, W, W, W, W, W)),
        (State.CLAIMED, (W, W, W, W, W, W)),
        (State.DISPATCHED, (W, W, W, W, W, W)),
        (State.UNDELIVERED, (R, W, W, W, W, W)),
        (State.SKIPPED, (R, R, R, R, R, R)),
        (State.STARTED, (R, K, W, W, W, W)),
        (State.RETRYING, (R, W, K, W, W, W)),
        (State.SUCCEEDED, (R, R, R, K, R, R)),
        (State.FAILED, (R, R, R, R, K, R)),
        (State.REVOKED, (R, R, R, R, R, K)),
    ],
)
def test_reports_by_the_state_that_the_row_is_in(held: State, verdicts: tuple[Verdict, ...]) -> None:
    assert tuple(judge_report(held, Reason.NONE, state, mine=True) for state in REPORTS) == verdicts


@pytest.mark.parametrize("state", [State.STARTED, State.RETRYING, State.SUCCEEDED, State.FAILED])
def test_the_same_report_from_somebody_else_is_refused(state: State) -> None:
    assert judge_report(state, Reason.NONE, state, mine=False) is R


def test_after_runner_died_only_an_end_is_accepted() -> None:
    verdicts = [judge_report(State.FAILED, Reason.RUNNER_DIED, state, mine=True) for state in REPORTS]

    assert verdicts == [R, R, R, W, W, W]


@given(st.sampled_from(State), st.sampled_from(REPORTS), st.booleans())
def test_no_report_lowers_a_rank(held: State, state: State, mine: bool) -> None:
    if judge_report(held, Reason.NONE, state, mine=mine) is W:
        assert RANK[state] >= RANK[held]


def test_the_first_look_is_believed_and_a_long_step_only_by_a_second_look() -> None:
    first = look_at_clock(Belief(), NOON)
    assert first == Belief(newest=NOON) and first.holds(NOON + STEP) and not first.holds(NOON + STEP + 1)

    doubt = look_at_clock(first, NOON + 5000)
    assert doubt == Belief(newest=NOON, suspect_at=NOON + 5000)
    assert doubt.believe_at == NOON + 5000 + SECOND_LOOK and first.believe_at == 0
    assert look_at_clock(doubt, NOON + 5004) == doubt
    assert look_at_clock(doubt, NOON + 5005) == Belief(newest=NOON + 5005)


def test_a_doubt_ends_when_the_clock_comes_back_and_starts_anew_when_it_goes_on_from_earlier() -> None:
    doubt = Belief(newest=NOON, suspect_at=NOON + 90_000)

    assert look_at_clock(doubt, NOON + 10) == Belief(newest=NOON + 10)
    assert look_at_clock(doubt, NOON - 10) == Belief(newest=NOON)
    assert look_at_clock(doubt, NOON + 50_000) == Belief(newest=NOON, suspect_at=NOON + 50_000)


@given(st.lists(st.floats(0, 1e6), max_size=20))
def test_the_newest_instant_believed_never_falls(steps: list[float]) -> None:
    belief = Belief()
    for now in steps:
        after = look_at_clock(belief, now)
        assert after.newest is not None and after.newest >= (belief.newest or 0)
        belief = after


@pytest.mark.parametrize(
    ("starts_at", "ends_at", "valid_until", "expected"),
    [
        (None, None, None, (100, None)),
        (50, None, None, (100, None)),
        (150, None, None, (150, None)),
        (None, 200, None, (100, 200)),
        (None, None, 180, (100, 179)),
        (None, 200, 180, (100, 179)),
        (None, 170, 180, (100, 170)),
    ],
)
def test_bounds_are_validity_and_start_and_end_together(
    starts_at: int | None, ends_at: int | None, valid_until: int | None, expected: tuple[int, int | None]
) -> None:
    assert bounds(Timing(recurrence="x", starts_at=starts_at, ends_at=ends_at), 100, valid_until) == expected


def test_a_version_that_was_replaced_at_once_is_empty() -> None:
    assert is_empty(*bounds(Timing(recurrence="x"), 100, 100))
    assert not is_empty(*bounds(Timing(recurrence="x"), 100, 101))


def test_a_change_counts_from_the_next_whole_second_that_is_undecided() -> None:
    assert boundary(100.0) == boundary(100.9) == 101
    assert boundary(100.9, 50, None) == 101
    assert boundary(100.9, 150, 200) == 201


def test_a_comparison_tells_removed_opened_and_kept() -> None:
    present = {name: Timing(recurrence="every 60 0") for name in ("a", "b", "c")}
    coming = (entry("d"), entry("c", task="other"), entry("b", "every 61 0"))

    assert compare(present, coming) == Changes(removed=("a",), opened=(coming[0], coming[2]), kept=(coming[1],))
    assert compare({}, ()) == Changes(removed=(), opened=(), kept=())


SPANS = (
    Span(recurrence="every 60 0", zone="UTC", first=100, last=239),
    Span(recurrence="every 60 30", zone="UTC", first=240, last=None),
)


@pytest.mark.parametrize(("after", "expected"), [(0, 120), (120, 180), (180, 270), (239, 270), (270, 330)])
def test_the_next_due_time_follows_the_spans(after: int, expected: int) -> None:
    assert next_due(SPANS, after) == expected
    assert next_due(reversed(SPANS), after) == expected
    assert usable_after(SPANS, after, ()) == expected


def test_there_is_no_next_due_time_beyond_the_last_span() -> None:
    assert next_due(SPANS[:1], 180) is None and next_due(SPANS[:1], 500) is None and next_due((), 0) is None


def test_a_usable_due_time_is_in_no_pause() -> None:
    assert usable_after(SPANS, 0, ((110.0, 200.0),)) == 270
    assert usable_after(SPANS, 0, ((110.0, None),)) is None


@pytest.mark.parametrize(
    ("timing", "expected"),
    [
        (Timing(recurrence=f"at {NOON - PUNCTUAL},{NOON - PUNCTUAL + 1},{NOON},{NOON + 1}"), (NOON - PUNCTUAL + 1, NOON)),
        (Timing(recurrence=f"at {NOON - 50},{NOON}", starts_at=NOON - 10), (NOON,)),
        (Timing(recurrence=f"at {NOON - 50},{NOON}", ends_at=NOON - 10), (NOON - 50,)),
        (Timing(recurrence=f"at {NOON}", starts_at=NOON + 5), ()),
        (Timing(recurrence=f"at {NOON}", enabled=False), ()),
        (Timing(recurrence="every 1 0"), ()),
    ],
    ids=["the last 90 seconds", "starts_at", "ends_at", "not begun", "disabled", "not at"],
)
def test_which_instants_a_change_records_itself(timing: Timing, expected: tuple[int, ...]) -> None:
    assert just_passed(timing, NOON + 0.9) == expected


@given(
    st.sampled_from(["every 7 3", "every 60 0", "cron */7 * * * *", "at 100,200,300,4000"]),
    st.integers(0, 5000),
    st.integers(0, 5000),
    st.integers(0, 5000),
    st.none() | st.integers(0, 6000),
)
def test_a_gap_stands_for_exactly_its_due_times(recurrence: str, after: int, until: int, first: int, last: int | None) -> None:
    rule = compile_recurrence(recurrence, "UTC")
    low, high = max(after, first - 1), until if last is None else min(until, last)
    due = list(rule.due_times(low, high)) if low < high else []

    counted = tally(Span(recurrence=recurrence, zone="UTC", first=first, last=last), after, until)

    assert counted == (Tally(first=due[0], last=due[-1], count=len(due)) if due else None)


def test_a_year_of_seconds_is_counted_without_a_loop_and_cron_not_for_ever() -> None:
    year = 31_536_000
    assert tally(Span(recurrence="every 1 0", zone="UTC", first=0, last=None), 0, year * 30) == Tally(
        first=1, last=year * 30, count=year * 30
    )
    minutely = tally(Span(recurrence="cron * * * * *", zone="UTC", first=0, last=None), 0, year * 3)
    assert minutely is not None and minutely.count == COUNTED


@pytest.mark.parametrize(
    ("limit", "waiting", "expected"),
    [
        (10, (5, 0, 0), (5, 0, 0)),
        (10, (50, 0, 0), (10, 0, 0)),
        (10, (50, 50, 0), (9, 1, 0)),
        (10, (50, 50, 50), (8, 1, 1)),
        (100, (500, 500, 3), (87, 10, 3)),
        (100, (2, 500, 500), (2, 88, 10)),
        (100, (0, 0, 500), (0, 0, 100)),
        (1, (5, 5, 5), (1, 0, 0)),
        (2, (5, 5, 5), (1, 1, 0)),
        (0, (5, 5, 5), (0, 0, 0)),
        (5, (0, 0, 0), (0, 0, 0)),
    ],
)
def test_lane_0_first_and_a_tenth_for_each_other(limit: int, waiting: tuple[int, ...], expected: tuple[int, ...]) -> None:
    assert shares(limit, waiting) == expected


@given(st.integers(0, 300), st.tuples(st.integers(0, 300), st.integers(0, 300), st.integers(0, 300)))
def test_no_share_is_left_unused_and_none_starves(limit: int, waiting: tuple[int, int, int]) -> None:
    given_ = shares(limit, waiting)

    assert sum(given_) == min(limit, sum(waiting))
    assert all(0 <= part <= most for part, most in zip(given_, waiting, strict=True))
    if limit >= 3:
        assert all(part >= min(most, limit // 10, 1) for part, most in zip(given_, waiting, strict=True))


@pytest.mark.parametrize(
    ("soonest", "expected"),
    [
        (None, NOON - RETENTION),
        (NOON + 999, NOON - RETENTION),
        (NOON - RETENTION, NOON - RETENTION - 1 - KEPT_BEHIND),
    ],
)
def test_what_may_be_pruned_is_past_the_retention_and_behind_everything_undecided(soonest: int | None, expected: int) -> None:
    assert prunable(NOON + 0.5, soonest) == expected


def test_commands_have_no_queue_and_never_expire() -> None:
    command, task = CommandCall(argv=("x",)), TaskCall(task="t", queue="q", expires=5)

    assert (queue_of(command), queue_of(task)) == ("", "q")
    assert (expiry(command, 1.5), expiry(None, 1.5), expiry(TaskCall(task="t"), 1.5), expiry(task, 1.5)) == (
        None,
        None,
        None,
        6.5,
    )


SKIPS, WAITS = Policy(overlap=Overlap.SKIP, max_runtime=100), Policy(overlap=Overlap.WAIT, max_runtime=100)
ROW, OTHER, LATER = Key(eno=1, due_at=20), Key(eno=1, due_at=10), Key(eno=1, due_at=30)


@pytest.mark.parametrize(
    ("policy", "holder", "waiting", "turn"),
    [
        (SKIPS, None, None, Turn.GO),
        (None, (OTHER, 150.0), None, Turn.GO),
        (Policy(), (OTHER, 150.0), None, Turn.GO),
        (Policy(max_runtime=100), (OTHER, 150.0), None, Turn.GO),
        (SKIPS, (ROW, 150.0), None, Turn.GO),
        (SKIPS, (OTHER, 150.0), None, Turn.SKIP),
        (SKIPS, (OTHER, 100.0), None, Turn.GO),
        (SKIPS, (OTHER, 100.0 + 100 + SET_BACK), None, Turn.SKIP),
        (SKIPS, (OTHER, 100.0 + 101 + SET_BACK), None, Turn.GO),
        (WAITS, (OTHER, 150.0), None, Turn.WAIT),
        (WAITS, (OTHER, 150.0), ROW, Turn.WAIT),
        (WAITS, (OTHER, 150.0), OTHER, Turn.WAIT),
        (WAITS, (OTHER, 150.0), LATER, Turn.SKIP),
        (WAITS, (OTHER, 99.0), LATER, Turn.GO),
        (WAITS, (OTHER, 99.0), OTHER, Turn.OVERTAKE),
        (WAITS, None, OTHER, Turn.OVERTAKE),
        (SKIPS, None, OTHER, Turn.OVERTAKE),
        (WAITS, None, ROW, Turn.GO),
        (WAITS, (ROW, 99.0), OTHER, Turn.GO),
        (None, None, OTHER, Turn.GO),
    ],
)
def test_whose_turn_it_is(policy: Policy | None, holder: tuple[Key, float] | None, waiting: Key | None, turn: Turn) -> None:
    held = Hold(key=holder[0], until=holder[1]) if holder else None
    assert judge_slot(ROW, policy, holder=held, waiting=waiting, now=100.0) is turn


@pytest.mark.parametrize(("runtime", "ends"), [(100.0, 150.0), (20.0, 150.0), (130.0, 180.0)])
def test_a_slot_keeps_its_until_and_a_longer_max_runtime_is_added(runtime: float, ends: float) -> None:
    held = Hold(key=OTHER, until=150.0, seconds=100.0)

    assert held.ends(runtime) == ends
    assert held.holds(runtime, ends - 1) and not held.holds(runtime, ends)
    assert not held.holds(runtime, 150.0 - 101 - SET_BACK)  # of a wrong clock


def test_a_slot_is_never_made_shorter_by_what_has_it() -> None:
    held = Hold(key=ROW, until=350.0, seconds=300.0)

    assert taken(ROW, 20.0, held, 100.0) is held
    assert taken(OTHER, 20.0, held, 100.0) == Hold(key=OTHER, until=120.0, seconds=20.0)
    assert taken(ROW, 300.0, held, 100.0).until == 400.0
    assert taken(ROW, 20.0, held, -600.0).until == -580.0  # until was a wrong clock's


def test_who_takes_a_slot_and_for_how_long() -> None:
    assert [slot_seconds(WAITS, kind) for kind in Kind] == [100, 0, 100]
    assert slot_seconds(Policy(max_runtime=100), Kind.SCHEDULE) == slot_seconds(None, Kind.SCHEDULE) == 0
    assert slot_seconds(Policy(overlap=Overlap.SKIP), Kind.SCHEDULE) == 0


def test_what_waited_was_not_missed_for_being_late_but_may_be_coalesced() -> None:
    def decide(catch_up: CatchUp, *, waited: bool) -> Reason:
        return decide_at_claim(
            kind=Kind.SCHEDULE,
            due_at=0,
            send_at=0,
            policy=Policy(catch_up=catch_up, overlap=Overlap.WAIT, max_runtime=999),
            next_due=500,
            enabled=True,
            paused=False,
            waited=waited,
            now=600.0,
        )

    assert (decide(CatchUp.NONE, waited=False), decide(CatchUp.NONE, waited=True)) == (Reason.MISSED, Reason.NONE)
    assert decide(CatchUp.LATEST, waited=True) is Reason.COALESCED


def test_a_version_of_the_wrong_future_is_set_back_to_the_first_instant_after() -> None:
    assert set_back((5, None), 100, 100.5) == (5, None)
    assert set_back((500, None), 100, 100.5) == (101, None)
    assert set_back((5, 500), 100, 100.5) == (5, 101)
    assert set_back((300, 500), 100, 100.5) == (101, 101)
    assert set_back((5, 80), 100, 100.5) == (5, 80)


def test_a_rewind_leaves_what_began_or_ended_by_now() -> None:
    assert set_back((300, 501), 100, 500.9) == (300, 501)
    assert set_back((300, 502), 100, 500.9) == (300, 101)


def test_how_much_is_kept() -> None:
    day = 86_400
    assert prunable(1000.0 * day, None, 10 * day) == 990 * day
    assert prunable(1000.0 * day, None, 1) == never_above(1000.0 * day, None) == 993 * day
    assert never_above(1000.0 * day, 900 * day) == 893 * day - 1


def test_who_did_it_by_hand_and_why() -> None:
    assert (by_whom("ann", "moving"), by_whom("ann", "")) == ("ann: moving", "ann")
