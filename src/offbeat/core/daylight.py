"""Daylight saving in words: what a change of the clocks does to the due times of a recurrence, found by comparing.

Never decides about a due time: what the wall clock would name, were it never changed, is held against what is due.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from itertools import islice, pairwise

from offbeat.core.model import DueTime
from offbeat.core.recurrences.recurrence import Recurrence, compile_recurrence
from offbeat.core.recurrences.timeline import LARGE_JUMP, SMALL_JUMP
from offbeat.core.recurrences.workday import MovingRecurrence
from offbeat.core.recurrences.zones import BLOCK_BITS, DAY, END, FIRST, Segment, Zone, find_zone

WALL_CLOCK = ("cron", "rrule")  # kinds that name times of the local clock; the clocks do not touch the others
MOST = 20_000  # times of one change that are compared: more than three hours have seconds
LONG = 100 * 366 * 86_400  # seconds; a longer span than this is looked through no further


class Effect(StrEnum):
    """What a change of the clocks does to a recurrence."""

    MOVED = "moved"  # the clock skips its time: due at the first minute after the gap instead
    DROPPED = "dropped"  # the clock skips its time: not due
    FIRST_PASS = "first_pass"  # the clock shows its time twice: due the first time only
    BOTH_PASSES = "both_passes"  # the clock shows its time twice: due both times


@dataclass(frozen=True, slots=True, kw_only=True)
class DaylightNote:
    """What one change of the clocks does to the due times that fall into it.

    at: the instant of the change. first, last: the first and the last wall-clock time concerned, as seconds since
    1970-01-01T00:00:00 local; count: how many there are. due: the due times that come of them, UTC. text: all in words.
    """

    at: int
    effect: Effect
    first: int
    last: int
    count: int
    due: tuple[DueTime, ...]
    text: str

    def remark(self, due: DueTime | None = None) -> str:
        """Return what is to be said in short, beside one of its due times."""
        clock = _clock(self.first) if self.count == 1 else f"{_clock(self.first)} to {_clock(self.last)}"
        if self.effect is Effect.MOVED:
            return f"moved from {clock}"
        if self.effect is Effect.DROPPED:
            return f"{clock} left out"
        if self.effect is Effect.BOTH_PASSES:
            return f"{'first' if due is None or due < self.at else 'second'} pass of two"
        return "first pass only"


def daylight_notes(recurrence: str, zone: str, after: DueTime, until: DueTime) -> Iterator[DaylightNote]:
    """Yield what each change of the clocks in (after, until] does to the due times of a resolved recurrence, oldest first.

    A change that falls between two due times, and leaves both as they are, is not named. Recurrences that do not go by the
    wall clock have no notes.
    Raises: ScheduleError where compile_recurrence and find_zone do.

    >>> notes = daylight_notes("cron 30 3 * * *", "Europe/Sofia", 1_767_225_600, 1_798_761_600)
    >>> print(*(note.text for note in notes), sep="\\n")
    Sun 29 Mar 2026 03:30 does not exist in Europe/Sofia: due at 04:00 instead
    Sun 25 Oct 2026 03:30 comes twice in Europe/Sofia: due the first time only
    """
    if recurrence.startswith("any "):
        yield from _of_members(recurrence, zone, after, until)
        return
    if recurrence.partition(" ")[0] not in WALL_CLOCK or re.search(r"DTSTART:\d+T\d+Z", recurrence):
        return
    if own := re.search(r"DTSTART;TZID=([^:;]+):", recurrence):
        zone, recurrence = own[1], recurrence.replace(f";TZID={own[1]}", "", 1)
    place = find_zone(zone)
    if place.is_utc:
        return
    actual, wall = compile_recurrence(recurrence, zone), compile_recurrence(recurrence, "UTC")
    before: Segment | None = None
    for segment in segments(place, after, min(until, after + LONG) + 1):
        if before is not None and segment[2] != before[2]:
            at, jump = segment[0], segment[2] - before[2]
            change = _Change(at=at, old=at + before[2], new=at + segment[2], zone=zone, fixed=_is_fixed(recurrence, jump))
            if note := (_gap if jump > 0 else _fold)(actual, wall, change):
                yield note
        before = segment


def _of_members(recurrence: str, zone: str, after: DueTime, until: DueTime) -> Iterator[DaylightNote]:
    """Yield the notes of a composite: its members', but for what it excludes, and those of what it moves."""
    actual, wall = compile_recurrence(recurrence, zone), compile_recurrence(recurrence, "UTC")
    notes: list[DaylightNote] = []
    for note in (each for text in json.loads(recurrence[4:])["of"] for each in daylight_notes(text, zone, after, until)):
        if isinstance(actual, MovingRecurrence) and actual.day_for(note.first // DAY) != note.first // DAY:
            notes += _from_day_off(note, actual, zone)
            continue
        due = tuple(each for each in note.due if _is_due(actual, each))
        if due or (not note.due and next(iter(wall.due_times(note.first - 1, note.last)), None) is not None):
            rest = "" if len(due) == len(note.due) else ", but for what is excluded"
            notes.append(replace(note, due=due, text=note.text + rest))
    if isinstance(actual, MovingRecurrence):
        notes += _of_moved(actual, find_zone(zone), after, until)
    yield from sorted(notes, key=lambda note: (note.at, note.first))


def _is_due(actual: Recurrence, instant: int) -> bool:
    return next(iter(actual.due_times(instant - 1, instant)), None) is not None


def _from_day_off(note: DaylightNote, actual: MovingRecurrence, zone: str) -> Iterator[DaylightNote]:
    """Yield what a note of a day off means for the working day that its times move to; a second pass means nothing there."""
    day, place = actual.day_for(note.first // DAY), find_zone(zone)
    if day is None or note.effect not in (Effect.MOVED, Effect.DROPPED):
        return
    local = note.first if note.effect is Effect.DROPPED else note.due[0] + place.offset_at(note.due[0])
    landed = place.first_instant(day * DAY + local % DAY)
    if note.effect is Effect.MOVED and _is_due(actual, landed):
        yield replace(note, due=(landed,), text=f"{note.text}, on the working day {_span([day * DAY + local % DAY])}")
    elif note.effect is Effect.DROPPED and not _is_due(actual, landed):
        yield replace(note, text=f"{note.text}, and so missing on the working day {_span([day * DAY])[:-6]}")


def _of_moved(actual: MovingRecurrence, place: Zone, after: DueTime, until: DueTime) -> Iterator[DaylightNote]:
    """Yield what becomes of times that are moved, to a working day, into a change of the clocks."""
    for before, segment in pairwise(() if place.is_utc else segments(place, after, min(until, after + LONG) + 1)):
        at, jump = segment[0], segment[2] - before[2]
        change = _Change(at=at, old=at + before[2], new=at + segment[2], zone=place.name, fixed=True)
        begin, end = sorted((change.old, change.new))
        days = range(begin // DAY, (end - 1) // DAY + 1) if jump else ()
        local = sorted({each for day in days for each in actual.arrivals(day) if begin <= each < end})
        local = [each for each in local if _is_due(actual, place.first_instant(each))]
        if jump < 0:  # what is due in both passes is so without being moved: it has its own note
            local = [each for each in local if not _is_due(actual, each - change.new + at)]
        if not local:
            continue
        due = sorted({place.first_instant(each) for each in local})
        if jump > 0:
            text = (
                f"{_span(local)} {'does' if len(local) == 1 else 'do'} not exist in {place.name}: due at {_clock(change.new)}"
            )
            yield _note(change, Effect.MOVED, local, due, f"{text}{' as one' if len(local) > 1 else ''} instead")
        else:
            text = f"{_span(local)} {'comes' if len(local) == 1 else 'come'} twice in {place.name}: due the first time only"
            yield _note(change, Effect.FIRST_PASS, local, due, text)


def segments(zone: Zone, start: int, until: int) -> Iterator[Segment]:
    """Yield the segments of [start, until), oldest first, cut at both ends; neighbours may have the same offset."""
    start, until = max(start, FIRST), min(until, END)
    for block in range(start >> BLOCK_BITS, (until - 1 >> BLOCK_BITS) + 1):
        opens, closes = max(start, block << BLOCK_BITS), min(until, block + 1 << BLOCK_BITS)
        for begin, end, offset in zone.segments(block):
            if max(begin, opens) < min(end, closes):
                yield max(begin, opens), min(end, closes), offset


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    """One change of the clocks: at `at` they go from reading `old` to reading `new` (seconds since 1970 local)."""

    at: int
    old: int
    new: int
    zone: str
    fixed: bool  # the recurrence is one that a gap's times are made up for


def _gap(actual: Recurrence, wall: Recurrence, change: _Change) -> DaylightNote | None:
    """Return what becomes of the times that the clock skips: [old, new)."""
    skipped = list(islice(wall.due_times(change.old - 1, change.new - 1), MOST))
    if not skipped:
        return None
    opens = -(-change.new // 60) * 60  # the first whole minute after the gap
    due = tuple(islice(actual.due_times(change.at - 1, change.at + opens - change.new), 1))
    own = next(iter(wall.due_times(change.new - 1, opens)), None) is not None
    head = f"{_span(skipped)} {'does' if len(skipped) == 1 else 'do'} not exist in {change.zone}: "
    if due and (change.fixed or not own):
        text = f"{head}due at {_clock(due[0] + change.new - change.at)}{' as one' if len(skipped) > 1 else ''} instead"
        text += ", together with what is due then anyway" if own else ""
        return _note(change, Effect.MOVED, skipped, due, text)
    ends = [_clock(each) for each in (change.old, change.new)]
    if change.old // DAY != change.new // DAY:
        ends = [_span([each]) for each in (change.old, change.new)]
    text = f"{head}left out, as the clock goes from {ends[0]} to {ends[1]} at once"
    return _note(change, Effect.DROPPED, skipped, (), text)


def _fold(actual: Recurrence, wall: Recurrence, change: _Change) -> DaylightNote | None:
    """Return what becomes of the times that the clock shows twice: [new, old)."""
    length = change.old - change.new
    shown = list(islice(wall.due_times(change.new - 1, change.old - 1), MOST))
    first = set(islice(actual.due_times(change.at - length - 1, change.at - 1), MOST))
    second = set(islice(actual.due_times(change.at - 1, change.at + length - 1), MOST))
    passes = [
        (each + change.at - change.old in first, each + change.at - change.new in second) for each in shown
    ]  # of each time: due in the first pass, in the second
    concerned = [each for each, passed in zip(shown, passes, strict=True) if any(passed)]
    if not concerned:
        return None
    effect, words = Effect.FIRST_PASS, "the first time only"
    if any(later for _, later in passes):
        effect, words = Effect.BOTH_PASSES, "both times"
    due = sorted(
        instant
        for each, (earlier, later) in zip(shown, passes, strict=True)
        for instant, is_due in ((each + change.at - change.old, earlier), (each + change.at - change.new, later))
        if is_due
    )
    head = f"{_span(concerned)} {'comes' if len(concerned) == 1 else 'come'} twice in {change.zone}: "
    return _note(change, effect, concerned, due, f"{head}due {words}")


def _note(change: _Change, effect: Effect, local: Sequence[int], due: Sequence[int], text: str) -> DaylightNote:
    return DaylightNote(
        at=change.at, effect=effect, first=local[0], last=local[-1], count=len(local), due=tuple(due), text=text
    )


def _is_fixed(recurrence: str, jump: int) -> bool:
    """Return whether a gap of `jump` seconds is made up for: cron's rule (docs/adr/0003), read off the text; others always."""
    kind, _, rest = recurrence.partition(" ")
    fields = rest.split()
    clock = fields[-5:-3] if len(fields) in (5, 6) else fields[:3]
    if kind != "cron":
        return True
    if jump > LARGE_JUMP * 60:
        return False
    return jump <= SMALL_JUMP * 60 or not any(field.startswith("*") for field in clock)


def _span(local: Sequence[int]) -> str:
    """Return "Sun 29 Mar 2026 03:30", or the first and the last of several, with their number."""
    opens = datetime.fromtimestamp(local[0], UTC)
    day = f"{opens:%a} {opens.day} {opens:%b %Y}"
    if len(local) < 3:
        return f"{day} {' and '.join(_clock(each) for each in local)}"
    return f"{day} {_clock(local[0])} to {_clock(local[-1])} ({len(local)} times)"


def _clock(local: int) -> str:
    moment = datetime.fromtimestamp(local, UTC)
    return f"{moment:%H:%M:%S}" if moment.second else f"{moment:%H:%M}"
