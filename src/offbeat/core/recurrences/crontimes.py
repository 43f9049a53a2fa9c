"""The due times that a cron expression names in one zone: the search.

Never reads the clock. Follows Debian's cron, daylight saving included: what a gap of the clock skips, a fixed time makes up
for at the first minute after it; in a repeated hour it is due in the first pass only; wildcards follow the clock as it shows.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import chain

from offbeat.core.recurrences.crondays import DATES, NTH, days_of_year
from offbeat.core.recurrences.cronfields import CronFields
from offbeat.core.recurrences.cronrows import hour_row, longest_row, values
from offbeat.core.recurrences.timeline import Stretch, block_after, block_before, timeline
from offbeat.core.recurrences.zones import BLOCK_BITS, DAY, END, FIRST, Zone

HORIZON = 100  # blocks, each longer than a year, that a search looks into: the rarest date comes every 40 years
_RAREST = 41  # years from one 29 February on a given day of the week to the next, at most, and one
_RARE = 12  # due times a year; up to so many, jumping from one to the next is faster than walking through the year
_LAST_BLOCK = (END - 1) >> BLOCK_BITS
_FIRST_BLOCK = FIRST >> BLOCK_BITS
_NEVER = -(1 << 62)
_NO_YEAR = 1 << 40  # days


@lru_cache(maxsize=2048)
def year_start(year: int) -> int:
    """Return the number of days from 1970-01-01 to 1 January of `year`."""
    before = year - 1
    return 365 * year + before // 4 - before // 100 + before // 400 - 719_527


class CronRecurrence:
    """A Recurrence: what an expression names in one zone."""

    __slots__ = (
        "_base",
        "_daily",
        "_fields",
        "_head",
        "_hour_bits",
        "_hours",
        "_kinds",
        "_minutes",
        "_run",
        "_run_end",
        "_seconds",
        "_step",
        "_timeline",
        "_unit",
        "_year",
    )

    def __init__(self, fields: CronFields, zone: Zone) -> None:
        self._fields = fields
        self._timeline = timeline(zone, fields.wildcard, fields.seconds != 1)
        self._hours: tuple[int, ...] = ()  # seconds of the day; none until the first question
        self._base = self._run_end = 0  # from the one on, UTC, and for so long, the due times are those of the run

    def _prepare(self) -> None:
        """Work out what every search needs; the first one asks for it, so that reading a thousand expressions stays cheap."""
        fields = self._fields
        self._seconds = None if fields.seconds == 1 else values(fields.seconds, 1)  # of the minute
        self._minutes = hour_row(fields.minutes, fields.seconds)  # seconds of the hour
        self._hour_bits = fields.hours
        self._daily = fields.months == 0b1111111111110 and not fields.years and _is_any_day(fields)
        # Matching days as bits: of years that begin on a Sunday, on a Monday ...; then of leap years.
        self._kinds: list[int | None] = [None] * 14
        # The year last looked at: its first day, the day after its last one, its matching days as bits, its number.
        self._year = (0, 0, 0, 1969)
        self._run, self._unit = longest_row(fields.hours, fields.minutes, fields.seconds)
        self._base = -END * 2
        self._step, self._head = (self._run.step, self._run.start) if isinstance(self._run, range) else (0, 0)
        self._run_end = self._run[-1] - self._head
        self._hours = values(fields.hours, 3600)

    def next_after(self, after: int) -> int | None:
        """Return the first due time > after, None when there is none before the year 10000."""
        rest = after - self._base
        if 0 <= rest < self._run_end:
            step = self._step
            return after + step - rest % step if step else self._base + self._run[bisect_right(self._run, rest)]
        if not self._hours:
            self._prepare()
        known, found = 1, 0  # `found` is the first match at or after local time `known`
        block = max(after >> BLOCK_BITS, _FIRST_BLOCK)
        left = HORIZON
        while left and block <= _LAST_BLOCK:
            for stretch in self._timeline[block]:
                if after < stretch[1]:
                    due, known, found = self._first_in(stretch, after, known, found)
                    if due is not None or found == _NEVER:
                        return due
            block = block_after(block, known, found)
            left -= 1
        return None

    def _first_in(self, stretch: Stretch, after: int, known: int, found: int) -> tuple[int | None, int, int]:
        """Return the first due time > after in a stretch, if any, and what is known of matches from here on."""
        _, _, offset, first, end_local, missed = stretch
        if missed < first and self._seconds is not None:
            makes_up = self._made_up(stretch, after, END)
            return makes_up[0] if makes_up else None, known, found
        local = after + offset
        wanted = local + 1 if local >= first else missed
        if not known <= wanted <= found:
            known, found = wanted, self._at_or_after(wanted)
        if not _NEVER < found < end_local:
            return None, known, found
        if found < first:
            return first - offset, known, found
        self._remember(found, offset, first, end_local)
        return found - offset, known, found

    def _remember(self, found: int, offset: int, first: int, end_local: int) -> None:
        """Keep where the run that `found` is part of begins, when the clock does not change in it."""
        begins = found - found % self._unit
        if first <= begins and begins + self._run[-1] < end_local:
            self._base = begins + self._head - offset

    def due_times(self, after: int, until: int) -> Iterator[int]:
        """Yield the due times in (after, until], strictly increasing."""
        if not self._hours:
            self._prepare()
        after, until = max(after, FIRST - 1), min(until, END - 1)
        if years := self._fields.years:
            after = max(after, (year_start((years & -years).bit_length() - 1) - 2) * DAY)
            until = min(until, (year_start(years.bit_length()) + 2) * DAY)
        if self._is_rare():
            yield from self._one_by_one(after, until)
            return
        for block in range(after >> BLOCK_BITS, (until >> BLOCK_BITS) + 1):
            for stretch in self._timeline[block]:
                if after < stretch[1] and stretch[0] <= until:
                    yield from self._all_in(stretch, after, until)
                    after = stretch[1] - 1  # UTC is one stretch, which every block shows

    def _all_in(self, stretch: Stretch, after: int, until: int) -> Iterable[int]:
        """Return the due times in (after, until] of a stretch."""
        _, _, offset, first, end_local, missed = stretch
        if missed < first and self._seconds is not None:
            return self._made_up(stretch, after, until)
        wanted = max(after + offset + 1, first)
        finish = min(end_local, until + offset + 1)
        if wanted == first < finish and missed < first and missed <= self._at_or_after(missed) < first:
            return chain((first - offset,), self._matches(first + 1, finish, offset))
        return self._matches(wanted, finish, offset)

    def _is_rare(self) -> bool:
        """Whether less is due than the clock has changes, or nothing at all, so that jumping is faster than walking."""
        if self._daily:
            return False
        return self._days_of(7).bit_count() * len(self._minutes) * len(self._hours) <= _RARE

    def _one_by_one(self, after: int, until: int) -> Iterator[int]:
        due = self.next_after(after)
        while due is not None and due <= until:
            yield due
            due = self.next_after(due)

    def last_at_or_before(self, instant: int) -> int | None:
        """Return the last due time <= instant, None when there is none from the year 1 on."""
        if not self._hours:
            self._prepare()
        instant = min(instant, END - 1)
        known, found = _NEVER, 0  # `found` is the last match at or before local time `known`
        block = instant >> BLOCK_BITS
        left = HORIZON
        while left and block >= _FIRST_BLOCK:
            for stretch in reversed(self._timeline[block]):
                if stretch[0] <= instant:
                    due, known, found = self._last_in(stretch, instant, known, found)
                    if due is not None or found == _NEVER:
                        return due
            block = block_before(block, known, found)
            left -= 1
        return None

    def _last_in(self, stretch: Stretch, instant: int, known: int, found: int) -> tuple[int | None, int, int]:
        """Return the last due time <= instant in a stretch, if any, and what is known of matches up to here."""
        start, _, offset, first, end_local, missed = stretch
        if missed < first and self._seconds is not None:
            makes_up = self._made_up(stretch, start - 1, instant)
            return makes_up[-1] if makes_up else None, known, found
        local = min(instant + offset, end_local - 1)
        if local < first:
            return None, known, found
        found = self._at_or_before(local)
        return max(found, first) - offset if found >= missed else None, local, found

    def _made_up(self, stretch: Stretch, after: int, until: int) -> list[int]:
        """Return the due times in (after, until] of a minute at whose seconds what the clock skipped is made up for."""
        start, end, offset, first, _, missed = stretch
        if self._seconds is None or not missed <= self._at_or_after(missed) < first + 60:
            return []
        opens = first - offset
        low, high = max(after + 1, start), min(until + 1, end)
        return [opens + second for second in self._seconds if low <= opens + second < high]

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
                    opens = midnight + hour
                    if opens < end and begin < opens + 3600:
                        low, high = bisect_left(minutes, begin - opens), bisect_left(minutes, end - opens)
                        for minute in minutes[low:high]:
                            yield opens + minute - offset

    def _matching_days(self, first: int, last: int) -> Iterator[int]:
        if self._daily:
            yield from range(first, last + 1)
            return
        while first <= last:
            opens, closes, bits, _ = self._year_with(first)
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
            opens, closes, bits, _ = self._year
            if not opens <= day < closes:
                opens, closes, bits, _ = self._year_with(day)
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
        tries = 231 if self._fields.years else _RAREST
        for _ in range(tries):
            opens, closes, bits, _ = self._year_with(day)
            bits >>= day - opens
            if bits:
                return (day + (bits & -bits).bit_length() - 1) * DAY + first
            day = self._later_year(closes)
        return _NEVER

    def _at_or_before(self, local: int) -> int:
        """Return the last match <= local, both in local seconds; _NEVER when no date matches."""
        day, second = divmod(local, DAY)
        opens, _, bits, _ = self._year_with(day)
        if bits >> day - opens & 1:
            hour, rest = divmod(second, 3600)
            minutes = self._minutes
            if self._hour_bits >> hour & 1 and rest >= minutes[0]:
                return local - rest + minutes[bisect_right(minutes, rest) - 1]
            earlier = bisect_left(self._hours, hour * 3600)
            if earlier:
                return local - second + self._hours[earlier - 1] + minutes[-1]
        tries = 231 if self._fields.years else _RAREST
        for _ in range(tries):
            opens, _, bits, _ = self._year_with(day - 1)
            bits &= (1 << day - opens) - 1
            if bits:
                return (opens + bits.bit_length() - 1) * DAY + self._hours[-1] + self._minutes[-1]
            day = self._earlier_year(opens)
        return _NEVER

    def _later_year(self, closes: int) -> int:
        """Return the first day of the next year that is allowed, where the year before closes with `closes`."""
        years = self._fields.years
        if not years:
            return closes
        year = _year_of(closes)
        left = years >> max(year, 0)
        return year_start(max(year, 0) + (left & -left).bit_length() - 1) if left else _NO_YEAR

    def _earlier_year(self, opens: int) -> int:
        """Return the day after the last one of the year before `opens` that is allowed."""
        years = self._fields.years
        if not years:
            return opens
        left = years & (1 << max(_year_of(opens), 0)) - 1
        return year_start(left.bit_length()) if left else -_NO_YEAR

    def _year_with(self, day: int) -> tuple[int, int, int, int]:
        """Return the first day, the day after the last, the matching days as bits, and the number, of the year of `day`."""
        opens, closes, _, year = self._year
        if opens <= day < closes:
            return self._year
        if day == closes:
            year, opens = year + 1, closes
        elif -_NO_YEAR < day < _NO_YEAR:
            year = _year_of(day)
            opens = year_start(year)
        else:
            return day, day + 1, 0, 0
        leap = not year & 3 and (year % 100 != 0 or year % 400 == 0)
        bits = 0
        if not self._fields.years or year > 0 and self._fields.years >> year & 1:
            kind = (opens + 4) % 7 + 7 * leap
            known = self._kinds[kind]
            bits = self._days_of(kind) if known is None else known
        self._year = (opens, opens + 365 + leap, bits, year)
        return self._year

    def _days_of(self, kind: int) -> int:
        fields = self._fields
        leap, opens = divmod(kind, 7)
        bits = days_of_year(fields.days, fields.months, fields.weekdays, either=fields.either, leap=leap == 1, opens=opens)
        self._kinds[kind] = bits
        return bits


def _year_of(day: int) -> int:
    year = 1970 + day * 400 // 146_097
    while year_start(year + 1) <= day:
        year += 1
    while year_start(year) > day:
        year -= 1
    return year


def _is_any_day(fields: CronFields) -> bool:
    all_days = fields.days & DATES == DATES
    all_weekdays = fields.weekdays & (1 << NTH - 1) - 1 == 0b1111111
    return all_days or all_weekdays if fields.either else all_days and all_weekdays
