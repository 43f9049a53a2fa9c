"""The load of a schedule: how many tasks come due in each minute of the day, by queue, counted over some days.

Never touches the ledger and draws no lot: jitter counts as its expected share of each minute that it spreads over.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, islice, pairwise

from offbeat.core.daylight import segments
from offbeat.core.model import CommandCall, DueTime, Entry, TaskCall, Timing
from offbeat.core.recurrences.recurrence import EveryRecurrence, Recurrence, compile_recurrence
from offbeat.core.recurrences.zones import DAY, find_zone

MINUTES = 1440  # of a day
GROUND = MINUTES // 2  # who is due in this many minutes of the day or more is the ground that a herd stands on


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRow:
    """One minute of the day of one queue.

    minute: since midnight. queue: None for commands. due: tasks a day, on average. most: on the day when they were most.
    entries: how many different ones it is made of. With jitter, due and most are expected values.
    """

    minute: int
    queue: str | None
    due: float
    most: float
    entries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """Entries that are due together: their names, their queue, and the minutes of the day, as bits, when they are due.

    herds: whether they count for a herd: not jittered, not the ground, and not the commands of a directory, which wait for
    each other.
    """

    names: tuple[str, ...]
    queue: str | None
    minutes: int
    herds: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What was counted in (after, until]. due, most: of each minute of the day, all queues taken together.

    together: how many different entries that count for a herd are due in each minute of the day, on the day when they are most.
    """

    zone: str
    after: DueTime
    until: DueTime
    days: float
    rows: tuple[LoadRow, ...]
    due: Sequence[float]
    most: Sequence[float]
    together: Sequence[float]
    members: tuple[Member, ...]
    jittered: int  # entries with jitter


@dataclass(frozen=True, slots=True)
class _Span:
    """The minutes of (after, until] in a row; of_day: the minute of the day, in the zone, of each."""

    after: DueTime
    until: DueTime
    first: int
    of_day: Sequence[int]


@dataclass(frozen=True, slots=True)
class _Tally:
    """What one queue gets: counts of each minute in a row, and how many entries are due in each minute of the day.

    together: of each minute in a row and of all queues, how many different entries that count for a herd are due in it.
    """

    counts: array[float]
    together: array[float]
    entries: list[int]


_Key = tuple[Timing, int, int, bool]  # jitter in seconds, in percent; whether it counts for a herd


def measure_load(entries: Iterable[Entry], *, after: DueTime, until: DueTime, zone: str) -> Load:
    """Count what comes due in (after, until], by minute of the day in `zone` and by queue.

    Entries with the same recurrence are counted once and multiplied; memory holds one queue's minutes at a time. Disabled
    entries are left out.
    """
    span = _span(after, until, zone)
    jittered = 0
    queues: defaultdict[str | None, defaultdict[_Key, list[str]]] = defaultdict(lambda: defaultdict(list))
    for entry in entries:
        timing, call = entry.timing, entry.call
        if not timing.enabled:
            continue
        jitter, percent = entry.policy.jitter, entry.policy.jitter_percent
        jittered += bool(jitter or percent)
        herds = not (jitter or percent or (isinstance(call, CommandCall) and call.directory))
        key = (timing, jitter, percent, herds)
        queues[call.queue if isinstance(call, TaskCall) else None][key].append(entry.name)
    total, together = (array("d", bytes(8 * len(span.of_day))) for _ in range(2))
    rows: list[LoadRow] = []
    members: list[Member] = []
    days = round((until - after) / DAY) or (until - after) / DAY  # by the calendar: one may have 23 or 25 hours
    for queue in sorted(queues, key=lambda name: (name is None, name or "")):
        tally = _Tally(array("d", bytes(8 * len(span.of_day))), together, [0] * MINUTES)
        members += [_count(key, names, queue, span, tally) for key, names in queues[queue].items()]
        rows += _rows(queue, tally, span, days)
        for slot, count in enumerate(tally.counts):
            total[slot] += count
    due, most = _by_minute(total, span)
    return Load(
        zone=zone,
        after=after,
        until=until,
        days=days,
        rows=tuple(sorted(rows, key=lambda row: (row.minute, row.queue is None, row.queue or ""))),
        due=[each / days for each in due],
        most=most,
        together=_by_minute(together, span)[1],
        members=tuple(members),
        jittered=jittered,
    )


def _span(after: DueTime, until: DueTime, zone: str) -> _Span:
    first, last = (after + 1) // 60, until // 60
    of_day = array("H", bytes(2 * (last - first + 1)))
    for start, end, offset in segments(find_zone(zone), first * 60, (last + 1) * 60):
        for minute in range(-(-start // 60), -(-end // 60)):
            of_day[minute - first] = (minute * 60 + offset) // 60 % MINUTES
    return _Span(after, until, first, of_day)


def _count(key: _Key, names: Sequence[str], queue: str | None, span: _Span, tally: _Tally) -> Member:
    """Add the due times of entries that are alike to the tally of their queue."""
    timing, jitter, percent, herds = key
    rule = compile_recurrence(timing.recurrence, timing.zone)
    after = span.after if timing.starts_at is None else max(span.after, timing.starts_at - 1)
    until = span.until if timing.ends_at is None else min(span.until, timing.ends_at)
    minutes, weight, seen = 0, len(names), set[int]()
    slots: Iterable[tuple[int, float]] | None = None
    if jitter or percent:
        slots = _jittered(rule, (after, until), (jitter, percent), span)
    elif isinstance(rule, EveryRecurrence) and rule.seconds < 60:
        slots = _often(rule, after, until, span.first)
    if slots is None:
        seen = _each(rule.due_times(after, until), weight, span, tally.counts)
    else:
        for slot, count in slots:
            tally.counts[slot] += count * weight
            seen.add(slot)
    of_day = set(map(span.of_day.__getitem__, seen))
    for minute in of_day:
        minutes |= 1 << minute
        tally.entries[minute] += weight
    herds = herds and len(of_day) < GROUND
    for slot in seen if herds else ():
        tally.together[slot] += weight
    return Member(names=tuple(sorted(names)), queue=queue, minutes=minutes, herds=herds)


def _each(due_times: Iterator[DueTime], weight: int, span: _Span, counts: array[float]) -> set[int]:
    """Count due times one by one, some thousands in memory at a time; return the minutes in a row that they are in."""
    seen: set[int] = set()
    first = span.first
    while slots := [due // 60 - first for due in islice(due_times, 20_000)]:
        for slot in slots:
            counts[slot] += weight
        seen.update(slots)
    return seen


def _often(rule: EveryRecurrence, after: DueTime, until: DueTime, first: int) -> Iterator[tuple[int, float]]:
    """Yield (slot, count) of an interval below a minute, worked out rather than counted."""
    for minute in range((after + 1) // 60, until // 60 + 1):
        begin, end = max(minute * 60 - 1, after), min(minute * 60 + 59, until)
        if count := (end - rule.offset) // rule.seconds - (begin - rule.offset) // rule.seconds:
            yield minute - first, count


def _jittered(
    rule: Recurrence, ends: tuple[DueTime, DueTime], jitter: tuple[int, int], span: _Span
) -> Iterator[tuple[int, float]]:
    """Yield (slot, expected count), each slot at most once; what is sent after the span belongs to the next one.

    The due time before `span` counts with what it sends in it. A due time's second is one of its width, each as likely; a
    difference array makes that one step for each due time, however wide it spreads.
    """
    (after, until), (most, percent), size = ends, jitter, len(span.of_day)
    share, change = array("d", bytes(8 * size)), array("d", bytes(8 * (size + 1)))
    before = rule.last_at_or_before(after) if after == span.after else None  # else starts_at is the first that counts
    following = rule.next_after(until)
    dues = chain(rule.due_times(after if before is None else before - 1, until), [following])
    for due, later in pairwise(dues):
        assert due is not None  # only what follows the last one may be
        width = most  # seconds after the due time
        if later is not None:
            width = min((later - due) * percent // 100 if percent else most, later - due - 1)
        width += 1
        begin, end = max(due, span.after + 1), min(due + width, span.until + 1)
        if begin < end:
            _add(share, change, (begin / 60 - span.first, end / 60 - span.first), 60 / width)
    for slot, (own, even) in enumerate(zip(share, accumulate(change), strict=False)):
        if own + even > 1e-9:
            yield slot, own + even


def _add(share: array[float], change: array[float], ends: tuple[float, float], rate: float) -> None:
    """Add `rate` a minute between two places on the row of minutes: parts of a minute to `share`, whole ones to `change`."""
    begin, end = ends
    first, last = int(begin), int(end)
    if first == last:
        share[first] += (end - begin) * rate
        return
    share[first] += (first + 1 - begin) * rate
    change[first + 1] += rate
    change[last] -= rate
    if end > last:
        share[last] += (end - last) * rate


def _rows(queue: str | None, tally: _Tally, span: _Span, days: float) -> Iterator[LoadRow]:
    due, most = _by_minute(tally.counts, span)
    for minute, entries in enumerate(tally.entries):
        if due[minute] > 0:
            yield LoadRow(minute=minute, queue=queue, due=due[minute] / days, most=most[minute], entries=entries)


def _by_minute(counts: Iterable[float], span: _Span) -> tuple[list[float], list[float]]:
    """Return the sum and the largest of each minute of the day."""
    due, most = [0.0] * MINUTES, [0.0] * MINUTES
    for minute, count in zip(span.of_day, counts, strict=True):
        if count:
            due[minute] += count
            most[minute] = max(most[minute], count)
    return due, most


def by_queue(rows: Iterable[LoadRow]) -> Mapping[str | None, float]:
    """Return how many tasks a day each queue gets, the busiest first, commands last."""
    sums: defaultdict[str | None, float] = defaultdict(float)
    for row in rows:
        sums[row.queue] += row.due
    return dict(sorted(sums.items(), key=lambda item: (item[0] is None, -item[1], item[0] or "")))
