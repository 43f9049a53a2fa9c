"""Planning: due groups, what the ledger knows of them and `now` give one decision for every occurrence that is due.

Pure and total: every due time of every member in the window is in exactly one row or gap. Its authority is the ledger's
design: coalescing is local, so how a span is cut, and how often anybody ticks, changes nothing.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from math import ceil, floor
from typing import TypeAlias

from offbeat.core.identity import spread
from offbeat.core.model import PUNCTUAL, CatchUp, Cause, DueTime, Instant, Lane, Policy, Reason
from offbeat.core.recurrences.recurrence import Recurrence, compile_recurrence
from offbeat.errors import Problem, ScheduleError

BURST = 2000  # most rows of one window, so that memory does not grow with the schedule; one due time is never cut in two
RETRY = 60  # seconds until a recurrence that cannot be worked out here is tried again
BACKLOG = 200  # late occurrences of an entry with catch_up "all" that are recorded and wait at once
GAP = 3  # this many equal skips in a row are one gap
Pauses: TypeAlias = tuple[tuple[Instant, Instant | None], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A recurrence and its zone, in one shard. Every due time <= cursor is decided; version rises with its membership."""

    gid: int
    recurrence: str
    zone: str
    cursor: DueTime
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Heir:
    """A later version of the same entry: what it is due by in [first, last] (last None: open)."""

    recurrence: str
    zone: str
    first: DueTime
    last: DueTime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One version of an entry in a group.

    first, last: its due times count in [first, last], both ends closed (its validity and starts_at, ends_at taken together;
    last None: open). gone: REMOVED or DISABLED when the entry has no open version that is enabled, NONE else; then all of its
    due times are skipped with that reason. pauses: (from, until) instants, half open [from, until), until None: still paused.
    heirs: its later versions, oldest first. waiting: with catch_up "all", how many of its late rows wait to be sent,
    counted up to BACKLOG at least; 0 is right where nothing is late.
    """

    eno: int
    name: str
    first: DueTime
    last: DueTime | None
    policy: Policy
    gone: Reason = Reason.NONE
    pauses: tuple[tuple[Instant, Instant | None], ...] = ()
    heirs: tuple[Heir, ...] = ()
    waiting: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Portion:
    """Due groups with their members, as one `take` hands them out. now: the store's clock."""

    now: Instant
    revision: int
    groups: tuple[tuple[Group, tuple[Member, ...]], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRow:
    """The decision for one occurrence. reason NONE: dispatch at send_at; else: skip."""

    eno: int
    due_at: DueTime
    send_at: DueTime
    lane: Lane = Lane.LIVE
    cause: Cause = Cause.SCHEDULE
    reason: Reason = Reason.NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Equal skips in a row: every due time in (after, until] of one member, or of all of the group (eno None)."""

    eno: int | None
    after: DueTime
    until: DueTime
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What is decided of one group: everything in (after, until]. after, version: as they were read, for compare and set.

    rows: where a backlog holds `until` back, also those due later that are not to wait for it (live, or of entries with another
    policy). The cursor comes to them later, and finds them there.
    next_due: the first due time after `until` that counts for some member, None when there is none. problems: of a recurrence
    that cannot be worked out here; then nothing is decided, and next_due is when to try again.
    """

    gid: int
    version: int
    after: DueTime
    until: DueTime
    next_due: DueTime | None
    rows: tuple[PlannedRow, ...]
    gaps: tuple[Gap, ...]
    problems: tuple[Problem, ...] = ()


def plan(portion: Portion, *, burst: int = BURST) -> tuple[Window, ...]:
    """Return one window for each group: every due time in (cursor, until] of every member, in exactly one row or gap.

    until is the last whole second <= now, or earlier where a window would grow beyond `burst` rows, or an entry with catch_up
    "all" has BACKLOG late ones waiting: the rest is for a later pass. Pure: equal portions give equal windows.
    """
    return tuple(_guarded(group, members, portion.now, burst) for group, members in portion.groups)


def _guarded(group: Group, members: Sequence[Member], now: Instant, burst: int) -> Window:
    """Return the window of a group; an empty one that is tried again later when its recurrence cannot be worked out."""
    try:
        return plan_group(group, members, now, burst=burst)
    except ScheduleError as error:
        names = ", ".join(sorted(member.name for member in members)[:3])
        return Window(
            gid=group.gid,
            version=group.version,
            after=group.cursor,
            until=group.cursor,
            next_due=floor(now) + RETRY,
            rows=(),
            gaps=(),
            problems=tuple(replace(problem, what=f'entry "{names}": {problem.what}') for problem in error.problems),
        )


def plan_group(group: Group, members: Sequence[Member], now: Instant, *, burst: int = BURST) -> Window:
    """Return the window of one group; members alike in everything but their name are decided together."""
    rule = compile_recurrence(group.recurrence, group.zone)
    alike: dict[tuple[object, ...], list[Member]] = {}
    for member in members:
        likeness = (member.first, member.last, member.policy, member.gone, member.pauses, member.heirs, member.waiting)
        alike.setdefault(likeness, []).append(member)
    classes = [(same, _spans(rule, same[0], group.cursor, now)) for same in alike.values()]
    until = min(_cut(rule, classes, floor(now), burst), roomy := _roomy(rule, classes, now))
    is_full, whole = until == roomy < floor(now), classes
    classes = [(same, [span.upto(until) for span in spans if span.after < until]) for same, spans in classes]
    rows: list[PlannedRow] = []
    gaps: list[Gap] = []
    everywhere = set.intersection(*(set(spans) for _, spans in classes)) if classes else set()
    for same, spans in classes:
        for span in spans:
            if not span.reason:
                rows += _sends(rule, same, span, now)
            elif len(due := list(islice(rule.due_times(span.after, span.until), GAP))) < GAP:
                rows += [_skip(m.eno, at, span.reason) for at in due for m in same]
            elif span not in everywhere:
                gaps += [Gap(eno=m.eno, after=span.after, until=span.until, reason=span.reason) for m in same]
    gaps += [
        Gap(eno=None, after=s.after, until=s.until, reason=s.reason)
        for s in sorted(everywhere, key=lambda s: s.after)
        if s.reason and len(list(islice(rule.due_times(s.after, s.until), GAP))) == GAP
    ]
    next_due = _next_due(rule, members, until)
    return Window(
        gid=group.gid,
        version=group.version,
        after=group.cursor,
        until=until,
        next_due=next_due,
        rows=tuple(rows + (_ahead(rule, whole, until, now, burst=max(burst - len(rows), 1)) if is_full else [])),
        gaps=tuple(gaps),
    )


def is_all(member: Member) -> bool:
    """Return whether each late occurrence of the member is sent."""
    return member.policy.catch_up is CatchUp.ALL and not member.gone


def next_usable(
    spans: Iterable[tuple[Recurrence, DueTime, DueTime | None]], after: DueTime, pauses: Pauses = ()
) -> DueTime | None:
    """Return the first due time > after that is in one of the spans and in no pause, None when there is none.

    spans: (recurrence, first, last) of an entry's versions, oldest first, both ends closed, last None: open.
    """
    for rule, first, last in spans:
        at = rule.next_after(max(after, first - 1))
        while at is not None and (last is None or at <= last):
            holding = next((pause for pause in pauses if pause[0] <= at and (pause[1] is None or at < pause[1])), None)
            if holding is None:
                return at
            if holding[1] is None:
                return None
            at = rule.next_after(ceil(holding[1]) - 1)
    return None


def send_time(rule: Recurrence, name: str, due_at: DueTime, policy: Policy) -> DueTime:
    """Return when an occurrence goes out: due_at and a hash of it in [0, jitter], before the next due time.

    A percentage is of the time to the next due time; where there is none, it is of nothing.
    """
    if not policy.jitter and not policy.jitter_percent:
        return due_at
    following = rule.next_after(due_at)
    if following is None:
        return due_at + spread(name, due_at, policy.jitter)
    gap = following - due_at
    width = gap * policy.jitter_percent // 100 if policy.jitter_percent else policy.jitter
    return due_at + spread(name, due_at, min(width, gap - 1))


@dataclass(frozen=True, slots=True)
class _Span:
    """Due times in (after, until] with one fate: skipped for a reason, or (NONE) each looked at for itself."""

    after: DueTime
    until: DueTime
    reason: Reason

    def upto(self, until: DueTime) -> _Span:
        return self if self.until <= until else _Span(self.after, until, self.reason)

    def since(self, after: DueTime) -> _Span:
        return self if self.after >= after else _Span(after, self.until, self.reason)


def _spans(rule: Recurrence, member: Member, cursor: DueTime, now: Instant) -> list[_Span]:
    """Cut (cursor, now] of one member into spans, oldest first."""
    after = max(cursor, member.first - 1)
    until = floor(now) if member.last is None else min(floor(now), member.last)
    if after >= until:
        return []
    if member.gone:
        return [_Span(after, until, member.gone)]
    pieces = list(_pieces(after, until, member.pauses))
    bounds = _bounds(rule, member, pieces, now)
    spans: list[_Span] = []
    for piece in pieces:
        if piece.reason:
            spans.append(piece)
            continue
        start = piece.after
        for bound, reason in bounds:
            if bound > start:
                spans.append(_Span(start, min(bound, piece.until), reason))
                start = min(bound, piece.until)
        if start < piece.until:
            spans.append(_Span(start, piece.until, Reason.NONE))
    return [span for span in spans if span.after < span.until]


def _pieces(after: DueTime, until: DueTime, pauses: Pauses) -> Iterator[_Span]:
    """Yield (after, until] cut at the pauses; a due time d is paused when from <= d < until of a pause."""
    start = after
    for begins, ends in sorted(pauses, key=lambda pause: pause[0]):
        first, last = ceil(begins) - 1, until if ends is None else ceil(ends) - 1
        if last <= start or first >= until:
            continue
        yield _Span(start, max(start, first), Reason.NONE)
        start = max(start, first)
        yield _Span(start, min(last, until), Reason.PAUSED)
        start = min(last, until)
    yield _Span(start, until, Reason.NONE)


def _bounds(rule: Recurrence, member: Member, pieces: Sequence[_Span], now: Instant) -> list[tuple[DueTime, Reason]]:
    """Return up to which due time, inclusive, the unpaused ones are skipped, and why; rising."""
    policy, bounds = member.policy, []
    punctual = ceil(now - PUNCTUAL) - 1  # the newest due time that is late
    if policy.catch_up is CatchUp.LATEST:
        newest = _newest(rule, pieces)
        if newest is not None:
            heirs = ((compile_recurrence(h.recurrence, h.zone), h.first, h.last) for h in member.heirs)
            following = next_usable(heirs, newest, member.pauses)
            has_come = following is not None and following <= now
            bounds.append((min(punctual, newest if has_come else newest - 1), Reason.COALESCED))
    elif policy.catch_up is CatchUp.NONE:
        bounds.append((_surely_sent(rule, policy, punctual), Reason.MISSED))
    if policy.grace is not None:
        bounds.append((_surely_sent(rule, policy, ceil(now - policy.grace) - 1), Reason.TOO_LATE))
    return bounds


def _surely_sent(rule: Recurrence, policy: Policy, instant: DueTime) -> DueTime:
    """Return up to which due time, inclusive, the send time is <= instant whatever the hash is."""
    if not policy.jitter_percent:
        return instant - policy.jitter
    newest = rule.last_at_or_before(instant)  # what is due before it was sent before it
    return instant if newest is None else newest - 1


def _newest(rule: Recurrence, pieces: Sequence[_Span]) -> DueTime | None:
    """Return the newest due time that is not paused."""
    for piece in reversed(pieces):
        if not piece.reason and piece.after < piece.until:
            at = rule.last_at_or_before(piece.until)
            if at is not None and at > piece.after:
                return at
    return None


def _cut(rule: Recurrence, classes: Sequence[tuple[list[Member], list[_Span]]], horizon: DueTime, burst: int) -> DueTime:
    """Return the last due time up to which all that is looked at singly is at most `burst` rows, `horizon` if all fits."""

    def times(size: int, spans: Sequence[_Span]) -> Iterator[tuple[DueTime, int]]:
        for span in spans:
            if not span.reason:
                for at in rule.due_times(span.after, span.until):
                    yield at, size

    total, newest = 0, None
    for at, size in heapq.merge(*(times(len(same), spans) for same, spans in classes)):
        if newest is not None and at != newest and total + size > burst:
            return newest
        total, newest = total + size, at
    return horizon


def _roomy(rule: Recurrence, classes: Sequence[tuple[list[Member], list[_Span]]], now: Instant) -> DueTime:
    """Return up to which due time no entry with catch_up "all" gets more than BACKLOG late rows that wait."""
    until, late = floor(now), ceil(now - PUNCTUAL) - 1
    for same, spans in classes:
        if is_all(same[0]):
            due_times = (at for span in spans if not span.reason for at in rule.due_times(span.after, min(span.until, late)))
            beyond = next(islice(due_times, max(BACKLOG - same[0].waiting, 0), None), None)
            until = until if beyond is None else min(until, beyond - 1)
    return until


def _ahead(
    rule: Recurrence, classes: Sequence[tuple[list[Member], list[_Span]]], until: DueTime, now: Instant, *, burst: int
) -> list[PlannedRow]:
    """Return what is due after `until` and does not wait for the backlog behind it: what is due now, what others catch up."""
    late = ceil(now - PUNCTUAL) - 1
    beyond: list[tuple[list[Member], list[_Span]]] = []
    for same, spans in classes:
        start = max(until, late) if is_all(same[0]) else until
        beyond.append((same, [span.since(start) for span in spans if not span.reason and span.until > start]))
    end = _cut(rule, beyond, floor(now), burst)
    rows = (
        row for same, spans in beyond for span in spans if span.after < end for row in _sends(rule, same, span.upto(end), now)
    )
    return [row for row in rows if not row.reason]


def _sends(rule: Recurrence, same: Sequence[Member], span: _Span, now: Instant) -> Iterator[PlannedRow]:
    policy = same[0].policy
    for due_at in rule.due_times(span.after, span.until):
        for member in same:
            send_at = send_time(rule, member.name, due_at, policy)
            late = now - send_at > PUNCTUAL
            if policy.grace is not None and send_at + policy.grace < now:
                yield _skip(member.eno, due_at, Reason.TOO_LATE)
            elif late and policy.catch_up is CatchUp.NONE:
                yield _skip(member.eno, due_at, Reason.MISSED)
            else:
                cause, lane = (Cause.CATCH_UP, Lane.CATCH_UP) if late else (Cause.SCHEDULE, Lane.LIVE)
                yield PlannedRow(eno=member.eno, due_at=due_at, send_at=send_at, lane=lane, cause=cause)


def _skip(eno: int, due_at: DueTime, reason: Reason) -> PlannedRow:
    return PlannedRow(eno=eno, due_at=due_at, send_at=due_at, reason=reason)


def _next_due(rule: Recurrence, members: Sequence[Member], until: DueTime) -> DueTime | None:
    """Return the first due time after `until` that may count for some member."""
    going_on = [member for member in members if member.last is None or member.last > until]
    if not going_on:
        return None
    at = rule.next_after(max(until, min(member.first for member in going_on) - 1))
    return at if at is not None and any(member.last is None or at <= member.last for member in going_on) else None
