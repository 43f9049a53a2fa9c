"""RFC 5545 recurrence rules in words: a resolved rrule as one English sentence.

Never works out a due time and never judges a rule. Raises ValueError for what it has no words for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime

from offbeat.core.explain_cron import MONTHS, MOST_TIMES, WEEKDAYS, listed, ordinal

_FREQUENCIES = ("SECONDLY", "MINUTELY", "HOURLY", "DAILY", "WEEKLY", "MONTHLY", "YEARLY")
_UNITS = ("second", "minute", "hour", "day", "week", "month", "year")
_DAYS = ("SU", "MO", "TU", "WE", "TH", "FR", "SA")
_LINE = re.compile(r"(DTSTART|RRULE|RDATE|EXDATE)((?:;[A-Z-]+=[^:;\s]+)*):(\S+)")
_KNOWN = {
    *("FREQ", "INTERVAL", "COUNT", "UNTIL", "WKST", "BYMONTH", "BYWEEKNO", "BYYEARDAY", "BYMONTHDAY", "BYDAY"),
    *("BYHOUR", "BYMINUTE", "BYSECOND", "BYSETPOS"),
}


def rrule_words(text: str, zone: str) -> str:
    """Return the lines of a resolved rrule in words.

    Raises: ValueError, LookupError.

    >>> rrule_words("DTSTART:19700101T000000 RRULE:FREQ=MONTHLY;BYDAY=2TU;BYHOUR=9", "Europe/Sofia")
    'Every month, on the second Tuesday, at 09:00, Europe/Sofia time'
    """
    lines = [_LINE.fullmatch(each) for each in text.split()]
    found = [line.groups() for line in lines if line]
    ((parameters, start),) = [(parameters, value) for name, parameters, value in found if name == "DTSTART"]
    if zoned := re.search(r";TZID=([^;]+)", parameters):
        zone = zoned[1]
    elif start.endswith("Z"):
        zone = "UTC"
    begin = _moment(start)
    rules = [_rule(value, begin) for name, _, value in found if name == "RRULE"]
    words = "; or ".join([rules[0], *(rule[0].lower() + rule[1:] for rule in rules[1:])]) if rules else ""
    for name, once, several in (("RDATE", "{} once more", "{} more times"), ("EXDATE", "without {}", "without {} dates")):
        moments = [each for line, _, value in found if line == name for each in value.split(",")]
        if name == "RDATE" and rules and start in moments:  # counts whether the rule says so or not: once
            moments = [each for each in moments if each != start]
            words += f", {_words(start.removesuffix('Z'))} included"
        if moments:
            told = listed(map(_words, moments)) if len(moments) <= 3 else ""
            words += ", " + (once.format(told) if told else several.format(len(moments)))
    return f"{words.removeprefix(', ')}, {zone} time"


def _moment(text: str) -> datetime:
    return datetime.strptime(text[:15].ljust(15, "0") if "T" in text else f"{text}T000000", "%Y%m%dT%H%M%S").replace(tzinfo=UTC)


def _words(text: str) -> str:
    at = _moment(text)
    return f"{at:%a} {at.day} {at:%b %Y}" + (f" {at:%H:%M}" if "T" in text else "") + (" UTC" if text.endswith("Z") else "")


def _rule(value: str, begin: datetime) -> str:
    said = dict(part.split("=", 1) for part in value.split(";"))
    if set(said) - _KNOWN:
        raise ValueError(value)
    level = _FREQUENCIES.index(said["FREQ"])
    interval = int(said.get("INTERVAL", 1))
    head = f"Every {_UNITS[level]}" if interval == 1 else f"Every {interval} {_UNITS[level]}s"
    if interval > 1:
        head += f" from {_words(f'{begin:%Y%m%dT%H%M%S}')}"
    parts = [head, *_days(_with_start(said, level, begin)), *_times(said, level, begin)]
    if "BYSETPOS" in said:
        parts.append(f"only {listed(map(_place, _numbers(said['BYSETPOS'])))} of these")
    if interval == 1 and begin.year > 1970:
        parts.append(f"from {_words(f'{begin:%Y%m%dT%H%M%S}')}")
    if "UNTIL" in said:
        parts.append(f"until {_words(said['UNTIL'])}")
    if "COUNT" in said:
        parts.append("once" if said["COUNT"] == "1" else f"{said['COUNT']} times in all")
    return ", ".join(parts)


def _with_start(said: Mapping[str, str], level: int, begin: datetime) -> Mapping[str, str]:
    """Return the parts with the days that a rule takes from its start, where it names none of its own."""
    if any(name in said for name in ("BYDAY", "BYMONTHDAY", "BYYEARDAY", "BYWEEKNO")):
        return said
    if said["FREQ"] == "WEEKLY":
        return {**said, "BYDAY": _DAYS[(begin.weekday() + 1) % 7]}
    if level < _FREQUENCIES.index("MONTHLY"):
        return said
    month = {"BYMONTH": str(begin.month)} if said["FREQ"] == "YEARLY" and "BYMONTH" not in said else {}
    return {**said, **month, "BYMONTHDAY": str(begin.day)}


def _days(said: Mapping[str, str]) -> Iterator[str]:
    if "BYDAY" in said:
        yield f"on {listed(_day(each) for each in said['BYDAY'].split(','))}"
    if "BYMONTHDAY" in said:
        ends = {-1: "the last day"}
        days = [ends.get(day) or (f"day {day}" if day > 0 else f"{_place(day)} day") for day in _numbers(said["BYMONTHDAY"])]
        yield f"{'but only where that is' if 'BYDAY' in said else 'on'} {listed(days)} of the month"
    for name, unit in (("BYYEARDAY", "day"), ("BYWEEKNO", "week")):
        if name in said:
            yield f"in {unit} {listed(map(str, _numbers(said[name])))} of the year"
    if "BYMONTH" in said:
        yield f"only in {listed(MONTHS[month - 1] for month in _numbers(said['BYMONTH']))}"


def _day(item: str) -> str:
    name = WEEKDAYS[_DAYS.index(item[-2:])]
    return f"{_place(int(item[:-2]))} {name}" if item[:-2] else name


def _place(number: int) -> str:
    """Return "the second", "the last", "the second to last"."""
    if number == -1:
        return "the last"
    nth = {1: "first", 2: "second", 3: "third", 4: "fourth", 5: "fifth"}.get(abs(number), ordinal(abs(number)))
    return f"the {nth}" if number > 0 else f"the {nth} to last"


def _times(said: Mapping[str, str], level: int, begin: datetime) -> Iterator[str]:
    """Yield when on a day; what a rule does not name it takes from its start, as far as its frequency does not step there."""
    names: tuple[tuple[str, int, Callable[[], int]], ...] = (
        ("BYHOUR", 2, lambda: begin.hour),
        ("BYMINUTE", 1, lambda: begin.minute),
        ("BYSECOND", 0, lambda: begin.second),
    )
    hours, minutes, seconds = (
        _numbers(said[name]) if name in said else [start()] if level > unit else None for name, unit, start in names
    )
    if hours and minutes and seconds and len(hours) * len(minutes) * len(seconds) <= MOST_TIMES:
        shown = [f"{h:02}:{m:02}" + (f":{s:02}" if seconds != [0] else "") for h in hours for m in minutes for s in seconds]
        yield f"at {listed(shown)}"
        return
    for values, unit in ((seconds, "second"), (minutes, "minute"), (hours, "hour")):
        if values and not (unit == "second" and values == [0]):
            yield f"at {unit} {listed(map(str, values))}" if unit != "hour" else f"in hour {listed(map(str, values))}"


def _numbers(text: str) -> list[int]:
    return [int(each) for each in text.split(",")]
