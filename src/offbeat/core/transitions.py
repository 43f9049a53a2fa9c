"""Rules that all stores share: which report is accepted, when a change counts, what is due next, what a gap stands for.

Never reads a clock and never touches a store. Its authority is the ledger's design, as ports/ledger.py words it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from itertools import islice
from math import floor
from typing import TYPE_CHECKING

from offbeat.core.model import (
    PUNCTUAL,
    RANK,
    CommandCall,
    DueTime,
    Entry,
    Instant,
    Reason,
    State,
    TaskCall,
    Timing,
)
from offbeat.errors import ScheduleError

if TYPE_CHECKING:
    from offbeat.core.plan import Pauses
    from offbeat.core.recurrences.recurrence import Recurrence

STEP = 3600.0  # seconds; a clock that went forward by more is believed by a second look only
SECOND_LOOK = 5.0  # seconds between the first look that doubts the clock and one that may believe it
HEARTBEAT = 60.0  # seconds without a sign of life after which a supervisor counts as gone
RETENTION = 90 * 86_400  # seconds that settled rows, gaps and outputs are kept
KEPT_BEHIND = 7 * 86_400  # seconds before the smallest cursor that are never pruned
COUNTED = 1_000_000  # due times of a gap that are counted one by one at most

_ENDED = RANK[State.SUCCEEDED]
_BEGUN = RANK[State.STARTED]


class Verdict(StrEnum):
    """What becomes of an outcome or a report from the row's current attempt."""

    REFUSED = "refused"  # the row stays; the key is not returned
    KEPT = "kept"  # said before; the row stays and the key is returned
    WRITTEN = "written"  # the row takes the new state
    STAMPED = "stamped"  # the row keeps its state and gets dispatched_at and task_id


def judge_outcome(held: State, state: State, *, same: bool, is_command: bool, mine: bool = True) -> Verdict:
    """Judge what a runner says of its claim. same: the rest of the outcome (reason, or when to retry) is as the row has it.

    is_command: what was dispatched went to a supervisor, and that may still skip it (its slot is taken). mine: the runner is
    the row's owner. A ledger that was put back counts attempts anew, so the number alone may be another one's claim: that it
    is dispatched is true all the same, but anything else would let a message go out twice, or not at all.
    """
    if held is State.CLAIMED and not mine and state is not State.DISPATCHED:
        if not (is_command and state is State.SKIPPED):  # by its supervisor, which may be faster than the runner
            return Verdict.REFUSED
    if state is State.PENDING:
        if held is State.CLAIMED:
            return Verdict.WRITTEN
        return Verdict.KEPT if held is State.PENDING and same else Verdict.REFUSED
    if held is state:
        return Verdict.KEPT if same else Verdict.REFUSED
    if RANK[held] >= _BEGUN and state is State.DISPATCHED:
        return Verdict.STAMPED
    if is_command and held is State.DISPATCHED and state is State.SKIPPED:
        return Verdict.WRITTEN
    return Verdict.WRITTEN if RANK[state] > RANK[held] else Verdict.REFUSED


def judge_report(held: State, why: Reason, state: State, *, mine: bool) -> Verdict:
    """Judge what is said by whoever runs the row. why: the row's reason. mine: the row's last report came from the same one.

    DISPATCHED says "I have it, not started yet" and may be said by another one later. A supervisor that was given up
    (runner_died) and is alive after all may still tell how the command ended.
    """
    if state is State.DISPATCHED:
        return Verdict.WRITTEN if RANK[held] <= RANK[State.CLAIMED] or held is State.DISPATCHED else Verdict.REFUSED
    if held is state and not (held is State.FAILED and why is Reason.RUNNER_DIED):
        return Verdict.KEPT if mine else Verdict.REFUSED
    if held is State.SKIPPED:
        return Verdict.REFUSED
    if {held, state} == {State.STARTED, State.RETRYING}:
        return Verdict.WRITTEN
    if held is State.FAILED and why is Reason.RUNNER_DIED:
        return Verdict.WRITTEN if RANK[state] == _ENDED else Verdict.REFUSED
    return Verdict.WRITTEN if RANK[state] > RANK[held] else Verdict.REFUSED


@dataclass(frozen=True, slots=True, kw_only=True)
class Belief:
    """What the ledger makes of its clock. newest: the newest instant believed. suspect_at: of the first look that doubted."""

    newest: Instant | None = None
    suspect_at: Instant | None = None

    def holds(self, now: Instant) -> bool:
        """Return whether `now` may be acted on."""
        return self.newest is None or now <= self.newest + STEP

    def ahead(self, now: Instant) -> float:
        """Return by how many seconds the newest instant believed is ahead of `now`, 0 for STEP or less."""
        ahead = 0.0 if self.newest is None else self.newest - now
        return ahead if ahead > STEP else 0.0

    @property
    def believe_at(self) -> Instant:
        """Return when to look again, 0 while nothing is doubted."""
        return 0.0 if self.suspect_at is None else self.suspect_at + SECOND_LOOK


def look_at_clock(belief: Belief, now: Instant) -> Belief:
    """Return the belief after a look: a step forward of more than STEP is doubted until a look SECOND_LOOK later.

    A step backwards changes nothing, except that a doubt which it explains is dropped.
    """
    if belief.newest is None or belief.holds(now):
        return Belief(newest=max(now, belief.newest or now))
    if belief.suspect_at is None or now < belief.suspect_at:
        return Belief(newest=belief.newest, suspect_at=now)
    if now - belief.suspect_at >= SECOND_LOOK:
        return Belief(newest=now)
    return belief


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One version's due times: those of the recurrence in [first, last], both ends closed (last None: open)."""

    recurrence: str
    zone: str
    first: DueTime
    last: DueTime | None


def bounds(timing: Timing, valid_from: DueTime, valid_until: DueTime | None) -> tuple[DueTime, DueTime | None]:
    """Return (first, last) of a version valid in [valid_from, valid_until), cut to starts_at and ends_at; may be empty."""
    first = valid_from if timing.starts_at is None else max(valid_from, timing.starts_at)
    ends = [end for end in (timing.ends_at, None if valid_until is None else valid_until - 1) if end is not None]
    return first, min(ends, default=None)


def is_empty(first: DueTime, last: DueTime | None) -> bool:
    """Return whether nothing can be due in [first, last]."""
    return last is not None and last < first


def boundary(now: Instant, *decided: DueTime | None) -> DueTime:
    """Return from when a change counts: the next whole second, but never before what is decided already.

    decided: the cursor of the entry's group, and valid_until - 1 of its versions; they are ahead after a clock went back.
    """
    return max([floor(now), *(instant for instant in decided if instant is not None)]) + 1


def is_stale(present: str, stamp: str, known: str | None) -> bool:
    """Return whether a tree that was read while the ledger's stamp was `known` (None: not asked) must not be written now.

    present: the ledger's stamp. One that is `stamp` already is no newer tree: the message came twice, or two read the same.
    """
    return known is not None and present not in (known, stamp)


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """From one revision to the next. opened: new, or with another Timing. kept: the others; they may differ in the rest."""

    removed: tuple[str, ...]
    opened: tuple[Entry, ...]
    kept: tuple[Entry, ...]


def compare(present: Mapping[str, Timing], entries: Iterable[Entry]) -> Changes:
    """Return what to change so that the open versions `present` become `entries`; each in the order it is given in."""
    coming = {entry.name: entry for entry in entries}
    same = {name for name, entry in coming.items() if present.get(name) == entry.timing}
    return Changes(
        removed=tuple(name for name in present if name not in coming),
        opened=tuple(entry for name, entry in coming.items() if name not in same),
        kept=tuple(entry for name, entry in coming.items() if name in same),
    )


@lru_cache(maxsize=512)
def compiled(recurrence: str, zone: str) -> Recurrence:
    """Return the compiled recurrence; the last few hundred are kept."""
    from offbeat.core.recurrences.recurrence import compile_recurrence  # an idle look needs none

    return compile_recurrence(recurrence, zone)


def next_due(spans: Iterable[Span], after: DueTime) -> DueTime | None:
    """Return the first due time > after that counts in any of the spans, None when there is none."""
    soonest: DueTime | None = None
    for span in spans:
        if is_empty(max(span.first, after + 1), span.last):
            continue
        due = _next_or_at_once(span, max(after, span.first - 1))
        if due is None or (span.last is not None and due > span.last):
            continue
        soonest = due if soonest is None else min(soonest, due)
    return soonest


def _next_or_at_once(span: Span, after: DueTime) -> DueTime | None:
    """Return the first due time > after; the next second when that cannot be worked out here, so that planning tells why."""
    try:
        return compiled(span.recurrence, span.zone).next_after(after)
    except ScheduleError:
        return after + 1


def usable_after(spans: Sequence[Span], after: DueTime, pauses: Pauses) -> DueTime | None:
    """Return the first due time > after of an entry's versions (oldest first) that falls into no pause, None without."""
    from offbeat.core.plan import next_usable

    try:
        return next_usable(((compiled(span.recurrence, span.zone), span.first, span.last) for span in spans), after, pauses)
    except ScheduleError:  # planning tells
        return None


def just_passed(timing: Timing, now: Instant) -> tuple[DueTime, ...]:
    """Return the instants of an enabled `at` that are past by at most PUNCTUAL seconds: a change records them itself."""
    if not timing.enabled or not timing.recurrence.startswith("at "):
        return ()
    first, last = bounds(timing, floor(now) - PUNCTUAL + 1, floor(now) + 1)
    if last is None or is_empty(first, last):
        return ()
    return tuple(compiled(timing.recurrence, timing.zone).due_times(first - 1, last))


def is_in(pauses: Pauses, due_at: DueTime) -> bool:
    """Return whether a due time is in one of the pauses [from, until)."""
    return any(start <= due_at and (end is None or due_at < end) for start, end in pauses)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What a gap stands for in one version: its first and last due time and how many there are (COUNTED at most)."""

    first: DueTime
    last: DueTime
    count: int


@lru_cache(maxsize=512)
def tally(span: Span, after: DueTime, until: DueTime) -> Tally | None:
    """Count the due times of the span in (after, until]; None when there is none."""
    low = max(after, span.first - 1)
    high = until if span.last is None else min(until, span.last)
    if high <= low:
        return None
    try:
        rule = compiled(span.recurrence, span.zone)
        first, last = rule.next_after(low), rule.last_at_or_before(high)
        if first is None or last is None or first > high:
            return None
        return Tally(first=first, last=last, count=_count(span.recurrence, rule, low, high))
    except ScheduleError:  # planning tells
        return None


def _count(recurrence: str, rule: Recurrence, low: DueTime, high: DueTime) -> int:
    if recurrence.startswith("every "):
        _, seconds, offset = recurrence.split()
        return (high - int(offset)) // int(seconds) - (low - int(offset)) // int(seconds)
    return sum(1 for _ in islice(rule.due_times(low, high), COUNTED))


def shares(limit: int, waiting: Sequence[int]) -> tuple[int, ...]:
    """Return how many rows each lane may give of `limit`. waiting: how many each lane has, lane 0 first.

    Lane 0 comes first, but each other lane that waits gets a tenth of `limit`, one at least; what nobody needs goes to the
    lower lane. With a limit of 1 lane 0 keeps it.
    """
    left = limit
    given = [0] * len(waiting)
    least = [min(waiting[0], 1)] + [min(count, max(1, limit // 10)) for count in waiting[1:]]
    for wanted in (least, list(waiting)):
        for lane, count in enumerate(wanted):
            more = min(max(count - given[lane], 0), left)
            given[lane] += more
            left -= more
    return tuple(given)


def prunable(now: Instant, soonest_due: DueTime | None, keep_seconds: int = RETENTION) -> DueTime:
    """Return up to which due time settled rows are too old: past the retention, and a week behind everything undecided."""
    return min(floor(now) - keep_seconds, never_above(now, soonest_due))


def never_above(now: Instant, soonest_due: DueTime | None) -> DueTime:
    """Return up to which due time settled rows may go at all, however many there are.

    soonest_due: the smallest next_due of all groups, None without: what is before it is decided, whatever a cursor says.
    """
    decided = floor(now) if soonest_due is None else min(floor(now), soonest_due - 1)
    return decided - KEPT_BEHIND


def set_back(validity: tuple[DueTime, DueTime | None], to: DueTime, now: Instant) -> tuple[DueTime, DueTime | None]:
    """Return the validity [from, until) of a version after a rewind: what began or ended in a wrong future does so at `to` + 1.

    What began or ended by `now` really did so then: nothing is due before it was in force.
    """
    wrong = max(to, floor(now)) + 1
    valid_from, valid_until = (to + 1 if at is not None and at > wrong else at for at in validity)
    assert valid_from is not None
    return valid_from, valid_until


def by_whom(who: str, note: str) -> str:
    """Return who did something by hand, and why, as a row's note."""
    return f"{who}: {note}" if note else who


def as_far_back(to: DueTime, pruned_through: DueTime | None, began: DueTime | None, now: Instant) -> DueTime:
    """Return how far a rewind to `to` goes: not behind what was pruned, since nobody knows any more what was sent of it.

    began: from when the oldest version of any entry counts, None without any: before it there is nothing to decide again.
    What was pruned, or began, in a wrong future does not count beyond `now`.
    """
    ends = [pruned_through, None if began is None else began - 1]
    return max([to, *(min(end, floor(now)) for end in ends if end is not None)])


def queue_of(call: TaskCall | CommandCall) -> str:
    """Return the queue that a call waits for, "" for commands."""
    return call.queue if isinstance(call, TaskCall) else ""


def expiry(call: TaskCall | CommandCall | None, now: Instant) -> Instant | None:
    """Return when a message first claimed now expires, None when it does not."""
    return now + call.expires if isinstance(call, TaskCall) and call.expires is not None else None
