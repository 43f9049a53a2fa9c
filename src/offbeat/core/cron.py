"""Cron: a five-field expression in a zone to the due times it names.

Never reads the clock. Follows Debian's cron, daylight saving included: what a gap of the clock skips, a fixed time makes up
for at the first minute after it; in a repeated hour it is due in the first pass only; wildcards follow the clock as it shows.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from offbeat.core.cronfields import CronFields, parse_cron, shown, warnings_of
from offbeat.core.timeline import block_after, block_before, timeline
from offbeat.core.zones import BLOCK_BITS, DAY, END, FIRST, Zone, find_zone
from offbeat.errors import Problem, ScheduleError, Severity

__all__ = ["Cron", "CronRecurrence", "ScheduleError", "cron_warnings", "parse_cron"]

HORIZON = 100  # blocks, each longer than a year, that a search looks through: the rarest date comes every 40 years
_WEEKS = sum(1 << 7 * week for week in range(54))
_MONTH_DAYS = ((31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31), (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31))
_RAREST = 41  # years from one 29 February on a given day of the week to the next, at most, and one
_LAST_BLOCK = (END - 1) >> BLOCK_BITS
_FIRST_BLOCK = FIRST >> BLOCK_BITS


@lru_cache(maxsize=2048)
def _year_start(year: int) -> int:
    """Return the number of days from 1970-01-01 to 1 January of `year`."""
    before = year - 1
    return 365 * year + before // 4 - before // 100 + before // 400 - 719_527


@lru_cache(maxsize=4096)
def _days_of(days: int, months: int, weekdays: int, *, either: bool, leap: bool, opens: int) -> int:
    """Return the matching days of a year as bits, bit 0 for 1 January, which is weekday `opens` (0: Sunday)."""
    dates = shown = begins = 0
    for month, length in enumerate(_MONTH_DAYS[leap], 1):
        if months >> month & 1:
            dates |= (days >> 1 & (1 << length) - 1) << begins
            shown |= (1 << length) - 1 << begins
        begins += length
    week = (weekdays >> opens | weekdays << 7 - opens) & 0b1111111
    return dates | (week * _WEEKS & shown) if either else dates & week * _WEEKS


class CronRecurrence:
    """A Recurrence: what a five-field expression names in one zone."""

    __slots__ = ("_daily", "_fields", "_hour_bits", "_hours", "_is_rare", "_minutes", "_timeline", "_year")

    def __init__(self, fields: CronFields, zone: Zone) -> None:
        self._fields = fields
        self._timeline = timeline(zone, fields.wildcard)
        self._minutes = _bits(fields.minutes, 60)  # seconds of the hour
        self._hours = _bits(fields.hours, 3600)  # seconds of the day
        self._hour_bits = fields.hours
        all_days, all_weekdays = fields.days == 0xFFFFFFFE, fields.weekdays == 0b1111111
        matches = all_days or all_weekdays if fields.either else all_days and all_weekdays
        self._daily = matches and fields.months == 0b1111111111110
        dates = fields.days.bit_count() * fields.months.bit_count()
        self._is_rare = all_weekdays and not fields.either and dates * len(self._minutes) * len(self._hours) <= 4  # in a year
        self._year = (0, 0, 0)  # first day, day after the last, matching days as bits: of the year last looked at

    def next_after(self, after: int) -> int | None:
        """Return the first due time > after, None when there is none within a hundred years."""
        known, found = 1, 0  # `found` is the first match at or after local time `known`
        block = max(after >> BLOCK_BITS, _FIRST_BLOCK)
        last_block = min(block + HORIZON, _LAST_BLOCK)
        while block <= last_block:
            for _, end, offset, first, end_local, missed in self._timeline[block]:
                if after >= end:
                    continue
                local = after + offset
                wanted = local + 1 if local >= first else missed
                if not known <= wanted <= found:
                    known, found = wanted, self._at_or_after(wanted)
                    if found == _NEVER:
                        return None
                if found < end_local:
                    return (found if found > first else first) - offset
            block = block_after(block, known, found)
        return None

    def due_times(self, after: int, until: int) -> Iterator[int]:
        """Yield the due times in (after, until], strictly increasing."""
        after, until = max(after, FIRST - 1), min(until, END - 1)
        if self._is_rare:
            yield from self._one_by_one(after, until)
            return
        for block in range(after >> BLOCK_BITS, (until >> BLOCK_BITS) + 1):
            for start, end, offset, first, end_local, missed in self._timeline[block]:
                if after >= end or until < start:
                    continue
                wanted = after + offset + 1
                if wanted <= first:
                    wanted = first
                    if missed < first <= until + offset and self._at_or_after(missed) < first:
                        yield first - offset
                        wanted += 1
                yield from self._matches(wanted, min(end_local, until + offset + 1), offset)
                after = end - 1

    def _one_by_one(self, after: int, until: int) -> Iterator[int]:
        due = self.next_after(after)
        while due is not None and due <= until:
            yield due
            due = self.next_after(due)

    def last_at_or_before(self, instant: int) -> int | None:
        """Return the last due time <= instant, None when there is none within a hundred years."""
        instant = min(instant, END - 1)
        known = found = _NEVER  # `found` is the last match at or before local time `known`
        block = instant >> BLOCK_BITS
        last_block = max(block - HORIZON, _FIRST_BLOCK)
        while block >= last_block:
            for _, _, offset, first, end_local, missed in reversed(self._timeline[block]):
                local = min(instant + offset, end_local - 1)
                if local < first:
                    continue
                known, found = local, self._at_or_before(local)
                if found == _NEVER:
                    return None
                if found >= missed:
                    return max(found, first) - offset
            block = block_before(block, known, found)
        return None

    def _matches(self, begin: int, end: int, offset: int) -> Iterator[int]:
        """Yield the UTC instants of the matches in local [begin, end)."""
        hours, minutes = self._hours, self._minutes
        for day in self._matching_days(begin // DAY, (end - 1) // DAY):
            midnight = day * DAY
            if begin <= midnight and midnight + DAY <= end:
                midnight -= offset
                for hour in hours:
                    opens = midnight + hour
                    for minute in minutes:
                        yield opens + minute
            else:
                for hour in hours:
                    for minute in minutes:
                        if begin <= midnight + hour + minute < end:
                            yield midnight + hour + minute - offset

    def _matching_days(self, first: int, last: int) -> Iterator[int]:
        if self._daily:
            yield from range(first, last + 1)
            return
        while first <= last:
            opens, closes, bits = self._year_with(first)
            bits >>= first - opens
            while bits:
                skipped = (bits & -bits).bit_length()
                first += skipped - 1
                if first > last:
                    return
                yield first
                bits >>= skipped
                first += 1
            first = closes

    def _at_or_after(self, local: int) -> int:
        """Return the first match >= local, both in local seconds; _NEVER when no date matches."""
        day, second = divmod(local, DAY)
        if not self._daily:
            opens, closes, bits = self._year
            if not opens <= day < closes:
                opens, closes, bits = self._year_with(day)
            if not bits >> day - opens & 1:
                return self._first_of(day + 1)
        hour, rest = divmod(second, 3600)
        minutes = self._minutes
        if self._hour_bits >> hour & 1 and rest <= minutes[-1]:
            return local - rest + minutes[bisect_left(minutes, rest)]
        later = bisect_right(self._hours, hour * 3600)
        if later < len(self._hours):
            return local - second + self._hours[later] + minutes[0]
        return self._first_of(day + 1)

    def _first_of(self, day: int) -> int:
        """Return the first match on or after `day`."""
        first = self._hours[0] + self._minutes[0]
        if self._daily:
            return day * DAY + first
        for _ in range(_RAREST):
            opens, closes, bits = self._year_with(day)
            bits >>= day - opens
            if bits:
                return (day + (bits & -bits).bit_length() - 1) * DAY + first
            day = closes
        return _NEVER

    def _at_or_before(self, local: int) -> int:
        """Return the last match <= local, both in local seconds; _NEVER when no date matches."""
        day, second = divmod(local, DAY)
        opens, _, bits = self._year_with(day)
        if bits >> day - opens & 1:
            hour, rest = divmod(second, 3600)
            minutes = self._minutes
            if self._hour_bits >> hour & 1 and rest >= minutes[0]:
                return local - rest + minutes[bisect_right(minutes, rest) - 1]
            earlier = bisect_left(self._hours, hour * 3600)
            if earlier:
                return local - second + self._hours[earlier - 1] + minutes[-1]
        for _ in range(_RAREST):
            opens, _, bits = self._year_with(day - 1)
            bits &= (1 << day - opens) - 1
            if bits:
                return (opens + bits.bit_length() - 1) * DAY + self._hours[-1] + self._minutes[-1]
            day = opens
        return _NEVER

    def _year_with(self, day: int) -> tuple[int, int, int]:
        """Return the first day, the day after the last, and the matching days as bits, of the year that `day` is in."""
        opens, closes, _ = self._year
        if opens <= day < closes:
            return self._year
        year = 1970 + day * 400 // 146_097
        while _year_start(year + 1) <= day:
            year += 1
        while _year_start(year) > day:
            year -= 1
        opens, closes = _year_start(year), _year_start(year + 1)
        fields = self._fields
        bits = _days_of(
            fields.days, fields.months, fields.weekdays, either=fields.either, leap=closes - opens == 366, opens=(opens + 4) % 7
        )
        self._year = (opens, closes, bits)
        return self._year


_NEVER = -(1 << 62)


@lru_cache(maxsize=1024)
def _bits(mask: int, unit: int) -> tuple[int, ...]:
    return tuple(value * unit for value in range(mask.bit_length()) if mask >> value & 1)


def cron_warnings(expression: str) -> tuple[Problem, ...]:
    """Return what works in an expression, but probably not as its author thinks.

    Raises: ScheduleError where parse_cron does.

    >>> print(cron_warnings("*/45 * * * *")[0].what)
    cron "*/45 * * * *": minute */45 is :00 and :45, not every 45 minutes
    """
    found = list(warnings_of(expression))
    fields = parse_cron(expression)
    if CronRecurrence(fields, find_zone("UTC")).next_after(0) is None:
        what = f'cron "{shown(fields.text)}": no month has such a day, so it is never due'
        why = "the entry is loaded, and nothing will ever be sent"
        minute, hour, _, *rest = fields.text.split()
        fix = f'use a day that comes, for example "{shown(" ".join([minute, hour, "28", *rest]))}"'
        found.append(Problem(code="S153", what=what, why=why, fix=fix, severity=Severity.WARNING))
    return tuple(found)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression in a time zone, for programs.

    seed: what `H` and `~` will be resolved by, once they are supported; it changes nothing else.
    Raises: ScheduleError, with all its problems, for an expression or a zone that cannot be read.

    >>> from datetime import UTC, datetime, timedelta
    >>> monday = Cron("30 4 * * mon", "Europe/Sofia")
    >>> noon = datetime(2026, 3, 25, 12, tzinfo=UTC)
    >>> print(monday.next_after(noon))
    2026-03-30 01:30:00+00:00
    >>> [f"{due:%d %b %H:%M}" for due in monday.due_times(noon, noon + timedelta(days=14))]
    ['30 Mar 01:30', '06 Apr 01:30']
    """

    expression: str
    timezone: str = "UTC"
    seed: str = ""
    _recurrence: CronRecurrence = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_recurrence", CronRecurrence(parse_cron(self.expression), find_zone(self.timezone)))

    def next_after(self, instant: datetime) -> datetime | None:
        """Return the first due time after `instant`, aware and in UTC; None when there is none.

        Raises: TypeError when `instant` has no time zone.
        """
        due = self._recurrence.next_after(_whole_seconds(instant))
        return None if due is None else datetime.fromtimestamp(due, UTC)

    def due_times(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """Yield the due times in (after, until], oldest first, strictly increasing, aware and in UTC.

        Raises: TypeError, at once, when `after` or `until` has no time zone.
        """
        due_times = self._recurrence.due_times(_whole_seconds(after), _whole_seconds(until))
        return (datetime.fromtimestamp(due, UTC) for due in due_times)


def _whole_seconds(instant: datetime) -> int:
    """Return the last whole second at or before `instant`: a due time is after the one iff it is after the other."""
    if instant.utcoffset() is None:
        raise TypeError(f"{instant!r} has no time zone, so it names no instant: give it one, for example tzinfo=datetime.UTC")
    return (instant - _EPOCH) // _SECOND
