"""Days off and hours off: which due times of an entry do not count, or move.

Never reads the clock or a file: what a calendar file says is resolved before. Days are those of the entry's zone.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date

from offbeat.core.recurrences.localdays import FIRST_DAY, LAST_DAY, LocalDays
from offbeat.core.recurrences.rule import Recurrence, missing, refusal, shown
from offbeat.core.recurrences.zones import DAY

STEPS = 4000  # days or spans that a search for a free one looks at; ten years of days off, one by one
_KEPT = 8192
_SPAN = re.compile(r"(\d{4}-\d\d-\d\d)(?:/(\d{4}-\d\d-\d\d))?", re.ASCII)
_HOURS = re.compile(r"(-?\d{1,12})/(-?\d{1,12})", re.ASCII)
_REPEATED_DAYS = re.compile(r"(\d{1,3})d (rrule .+)", re.ASCII)
_REPEATED_HOURS = re.compile(r"(\d{1,8})s ([^ ]+) (rrule .+)", re.ASCII)
_HOLIDAYS = re.compile(r"holidays:([A-Z0-9]{2,10})(?:-([A-Za-z0-9_ -]{1,40}))?(?:@[0-9A-Za-z.]+)?", re.ASCII)
_EPOCH_DAY = date(1970, 1, 1).toordinal()

Compile = Callable[[str, str], Recurrence]


class Spans:
    """Spans [first, last] that do not touch, sorted."""

    __slots__ = ("_ends", "_starts")

    def __init__(self, spans: Iterable[tuple[int, int]]) -> None:
        merged = merge_spans(spans)
        self._starts = [first for first, _ in merged]
        self._ends = [last for _, last in merged]

    def __bool__(self) -> bool:
        return bool(self._starts)

    def around(self, place: int) -> tuple[int, int] | None:
        """Return the span that a place is in, None when it is in none."""
        index = bisect_right(self._starts, place) - 1
        return (self._starts[index], self._ends[index]) if index >= 0 and place <= self._ends[index] else None


class Exclusions:
    """What resolved texts exclude, in the days of one zone.

    texts: "2026-12-24", "2026-12-20/2027-01-02", "cron ..." (a day that it is due on), "holidays:BG@0.109"; of a calendar file:
    "EPOCH/EPOCH" (from, to and not at), "3d rrule ..." (days from each), "7200s ZONE rrule ..." (seconds from each).
    weekend: days of the week, 0 for Sunday.
    """

    __slots__ = ("_calendars", "_days", "_hours", "_off", "_repeated", "_repeated_hours", "_rules", "_spans", "_weekend")

    def __init__(self, texts: Sequence[str], days: LocalDays, compile_text: Compile, *, weekend: Iterable[int] = ()) -> None:
        self._days = days
        self._weekend = frozenset(weekend)
        self._spans = Spans(span for text in texts if (span := read_span(text)) is not None)
        self._rules = [compile_text(text, days.zone.name) for text in texts if text.startswith("cron ")]
        self._calendars = [holiday_calendar(text) for text in texts if text.startswith("holidays:")]
        hours = [found for text in texts if (found := _HOURS.fullmatch(text))]
        self._hours = Spans((int(found[1]), int(found[2]) - 1) for found in hours)
        self._repeated = [
            (int(found[1]), compile_text(found[2], "UTC")) for text in texts if (found := _REPEATED_DAYS.fullmatch(text))
        ]
        self._repeated_hours = [
            (int(found[1]), compile_text(found[3], found[2])) for text in texts if (found := _REPEATED_HOURS.fullmatch(text))
        ]
        known = len(hours) + len(self._rules) + len(self._calendars) + len(self._repeated) + len(self._repeated_hours)
        if known + sum(read_span(text) is not None for text in texts) != len(texts):
            raise refusal("S109", "an exclusion is of no known kind", "deploy the schedule again with this version")
        self._off: dict[int, bool] = {}

    @property
    def has_hours(self) -> bool:
        """Whether anything is excluded that is not a whole day."""
        return bool(self._repeated_hours or self._hours)

    def is_off(self, day: int) -> bool:
        """Return whether a whole day is excluded, or never was (the zone skipped it)."""
        known = self._off.get(day)
        if known is None:
            if len(self._off) >= _KEPT:
                self._off.clear()
            known = self._off[day] = any(self._reasons(day))
        return known

    def _reasons(self, day: int) -> Iterator[bool]:
        yield (day + 4) % 7 in self._weekend
        yield self._spans.around(day) is not None
        start, end = self._days.start(day), self._days.start(day + 1)
        yield start == end
        for rule in self._rules:
            due = rule.next_after(start - 1)
            yield due is not None and due < end
        for count, rule in self._repeated:
            begun = rule.last_at_or_before(day * DAY)
            yield begun is not None and begun > (day - count) * DAY
        if self._calendars and FIRST_DAY < day < LAST_DAY:
            on = date.fromordinal(day + _EPOCH_DAY)
            yield any(is_holiday(on) for is_holiday in self._calendars)

    def free_after(self, day: int) -> int | None:
        """Return the first day >= day that is not off, None when there is none within STEPS."""
        for _ in range(STEPS):
            if not self.is_off(day):
                return day
            span = self._spans.around(day)
            day = span[1] + 1 if span else day + 1
        return None

    def free_before(self, day: int) -> int | None:
        """Return the last day <= day that is not off, None when there is none within STEPS."""
        for _ in range(STEPS):
            if not self.is_off(day):
                return day
            span = self._spans.around(day)
            day = span[0] - 1 if span else day - 1
        return None

    def hours_around(self, instant: int) -> tuple[int, int] | None:
        """Return the hours off that an instant is in, as [first, last] seconds; None when it is in none."""
        span = self._hours.around(instant)
        for count, rule in self._repeated_hours:
            begun = rule.last_at_or_before(instant)
            if span is None and begun is not None and instant < begun + count:
                span = begun, begun + count - 1
        return span


def merge_spans(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return spans [first, last] sorted, those that overlap or touch as one.

    >>> merge_spans([(5, 6), (1, 2), (3, 3)])
    [(1, 3), (5, 6)]
    """
    merged: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if last < first:
            continue
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(merged[-1][1], last)
        else:
            merged.append((first, last))
    return merged


def read_span(text: str) -> tuple[int, int] | None:
    """Return the days of "2026-12-24" or "2026-12-20/2027-01-02", both ends included; None for anything else.

    Raises: ScheduleError S163 for a date that does not exist, or a span that ends before it begins.
    """
    found = _SPAN.fullmatch(text)
    if not found:
        return None
    try:
        first, last = (date.fromisoformat(found[n] or found[1]).toordinal() - _EPOCH_DAY for n in (1, 2))
    except ValueError:
        raise refusal("S163", f'"{shown(text)}" is in no calendar', "use a date that exists") from None
    if last < first:
        raise refusal("S163", f'"{shown(text)}" ends before it begins', f'"{found[2]}/{found[1]}"')
    return first, last


def span_text(first: int, last: int) -> str:
    """Return the text that read_span reads as (first, last)."""
    begin, end = (date.fromordinal(day + _EPOCH_DAY).isoformat() for day in (first, last))
    return begin if begin == end else f"{begin}/{end}"


def holiday_calendar(text: str) -> Callable[[date], bool]:
    """Return what tells the public holidays of "holidays:BG", "holidays:DE-BY" or of a market, "holidays:NYSE".

    Raises: ScheduleError S163 for one that the holidays package does not know, S167 when it is not installed.
    """
    found = _HOLIDAYS.fullmatch(text)
    if not found:
        raise refusal("S163", f'"{shown(text)}" names no country', '"holidays:BG", or with a region "holidays:DE-BY"')
    try:
        import holidays
    except ImportError:
        raise missing("holidays") from None
    name, region = found[1], found[2]
    try:
        if not region and name in holidays.list_supported_financial():
            calendar = holidays.financial_holidays(name)
        else:
            calendar = holidays.country_holidays(name, subdiv=region)
    except NotImplementedError:  # so the holidays package says that it does not know a place
        raise _unknown_holidays(name, region) from None
    return lambda day: day in calendar


def holidays_text(text: str) -> str:
    """Return the resolved text: with the version of the holidays package, so that another one is another recurrence."""
    holiday_calendar(text)
    from holidays.version import __version__

    return f"{text.partition('@')[0]}@{__version__}"


def _unknown_holidays(name: str, region: str | None) -> Exception:
    import holidays

    known = holidays.list_supported_countries()
    if region and name in known:
        fix = f"use one of {', '.join(known[name][:12])}" if known[name] else f'"holidays:{name}"'
        return refusal("S163", f'the holidays package knows no region "{shown(region)}" of {name}', fix)
    return refusal("S163", f'the holidays package knows no country "{shown(name)}"', 'its ISO 3166 code, as in "holidays:BG"')
