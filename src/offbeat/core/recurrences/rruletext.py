"""RFC 5545's recurrence text: RRULE, RDATE, EXDATE and DTSTART to what they say, and back.

Never works out a due time. What RFC 5545 forbids is refused, and so are EXRULE (which it withdrew) and what is far too much.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from offbeat.core.recurrences.localdays import LocalDays
from offbeat.core.recurrences.rule import refusal, shown
from offbeat.core.recurrences.zones import DAY, END, FIRST, Zone, find_zone, is_zone
from offbeat.errors import ScheduleError

LONGEST = 8192  # characters
MOST = 10_000  # of a COUNT, of RDATEs and EXDATEs
MOST_RULES = 20  # RRULE lines
# INTERVALs: of a hundred years, and by the clock, of the forty that a search for one looks through
FARTHEST = {"YEARLY": 100, "MONTHLY": 1200, "WEEKLY": 5200, "DAILY": 36_525, "HOURLY": 350_000}
FREQUENCIES = ("YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY", "SECONDLY")
WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
RANGES: Mapping[str, tuple[int, int]] = {  # a negative low end: from -high to high, without 0
    "BYMONTH": (1, 12),
    "BYWEEKNO": (-1, 53),
    "BYYEARDAY": (-1, 366),
    "BYMONTHDAY": (-1, 31),
    "BYHOUR": (0, 23),
    "BYMINUTE": (0, 59),
    "BYSECOND": (0, 59),
    "BYSETPOS": (-1, 366),
}
ORDER = (*("FREQ", "INTERVAL", "COUNT", "UNTIL", "WKST", "BYMONTH", "BYWEEKNO", "BYYEARDAY", "BYMONTHDAY", "BYDAY"),)
PARTS = (*ORDER, "BYHOUR", "BYMINUTE", "BYSECOND", "BYSETPOS")
MISFITS: Mapping[str, tuple[str, ...]] = {  # what RFC 5545 lets each part not be with
    "BYWEEKNO": ("MONTHLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY", "SECONDLY"),
    "BYYEARDAY": ("MONTHLY", "WEEKLY", "DAILY"),
    "BYMONTHDAY": ("WEEKLY",),
}
EXAMPLE = 'rrule = "FREQ=MONTHLY;BYDAY=2TU;BYHOUR=9"'
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - local time
_LINE = re.compile(r"(RRULE|RDATE|EXDATE|DTSTART|DTEND|DURATION|EXRULE)((?:;[A-Z-]+=[^:;\s]+)*):(\S+)", re.ASCII)
_MOMENT = re.compile(r"(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)(\d\d)(Z?))?", re.ASCII)
_BYDAY = re.compile(r"([+-]?\d{1,2})?(MO|TU|WE|TH|FR|SA|SU)", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One RRULE. until: the last local second that counts. by: its BY parts, sorted; BYDAY as (nth or 0, weekday from 0)."""

    freq: str
    interval: int = 1
    count: int | None = None
    until: int | None = None
    wkst: int = 0
    by: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    byday: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSet:
    """What a text says. All times are local in `zone`, in seconds since 1970-01-01T00:00:00 local.

    has_start: the text had a DTSTART of its own. excluded_days: days from 1970-01-01. instants, excluded_instants: what RDATEs
    and EXDATEs with a Z name that no local time names alone, around a change of the clocks; epoch seconds, UTC.
    """

    zone: str
    start: int
    rules: tuple[Rule, ...]
    dates: tuple[int, ...] = ()
    excluded: tuple[int, ...] = ()
    excluded_days: tuple[int, ...] = ()
    instants: tuple[int, ...] = ()
    excluded_instants: tuple[int, ...] = ()
    has_start: bool = True


def rrule_text(written: str, zone: str) -> str:
    """Return the resolved text: one line, its parts in one order, DTSTART always there.

    Without DTSTART a rule starts at 1970-01-01T00:00:00 local. Raises: ScheduleError S161, S110.

    >>> rrule_text("freq=monthly;byday=2TU;byhour=9", "Europe/Sofia")
    'rrule DTSTART:19700101T000000 RRULE:FREQ=MONTHLY;BYDAY=2TU;BYHOUR=9'
    """
    return f"rrule {format_rules(parse_rules(written, zone), zone)}"


def parse_rules(written: str, zone: str) -> RuleSet:
    """Return what a text says: lines of an iCalendar file, or the value of an RRULE alone. Raises: ScheduleError S161, S110."""
    if len(written) > LONGEST:
        raise _wrong("the text is longer than 8192 characters", EXAMPLE)
    lines = _lines(written)
    starts = [line for line in lines if line[0] == "DTSTART"]
    if len(starts) > 1:
        raise _wrong("it has more than one DTSTART", "keep one")
    if not any(name in ("RRULE", "RDATE") for name, _, _ in lines):
        raise _wrong("it has neither RRULE nor RDATE", EXAMPLE)
    zone = _zone_of(starts, zone)
    place = find_zone(zone)
    start = _moments(starts[0], place)[0] if starts else 0
    written_rules = [value for name, _, value in lines if name == "RRULE"]
    if len(written_rules) > MOST_RULES:
        raise _wrong(f"it has more than {MOST_RULES} RRULEs", "make several entries of it")
    rules = tuple(_rule(value, place) for value in written_rules)
    if sum(rule.count or 0 for rule in rules) > MOST:
        raise _wrong(f"its COUNTs are more than {MOST} together", "use UNTIL")
    if not starts and any(rule.count for rule in rules):
        raise _wrong("COUNT counts from DTSTART, which is not there", "add DTSTART:20260101T090000, or use UNTIL")
    lines, instants, excluded_instants = _without_instants(lines, place)
    excluded = [line for line in lines if line[0] == "EXDATE"]
    dates = [at for line in lines if line[0] == "RDATE" for at in _moments(line, place, days_at=start % DAY)]
    whole = {at // DAY for line in excluded if _is_date(line) for at in _moments(line, place)}
    singly = {at for line in excluded if not _is_date(line) for at in _moments(line, place)}
    if max(len(dates), len(whole), len(singly)) > MOST:
        raise _wrong(f"it has more than {MOST} dates", "use a rule")
    return RuleSet(
        zone=zone,
        start=start,
        rules=rules,
        dates=tuple(sorted(set(dates))),
        excluded=tuple(sorted(singly)),
        excluded_days=tuple(sorted(whole)),
        instants=instants,
        excluded_instants=excluded_instants,
        has_start=bool(starts),
    )


def format_rules(rules: RuleSet, zone: str) -> str:
    """Return the text that parse_rules(text, zone) reads as `rules`: one line, its parts in one order."""
    mark, parameter = ("Z", "") if rules.zone == "UTC" != zone else ("", f";TZID={rules.zone}" if rules.zone != zone else "")
    parts = [f"DTSTART{parameter}:{_moment(rules.start)}{mark}"]
    parts += [f"RRULE:{_format_rule(rule)}" for rule in rules.rules]
    listed = (("RDATE", rules.dates, rules.instants), ("EXDATE", rules.excluded, rules.excluded_instants))
    for name, moments, instants in listed:
        told = [*map(_moment, moments), *(f"{_moment(at)}Z" for at in instants)]
        if told:
            parts.append(f"{name}:{','.join(told)}")
    if rules.excluded_days:
        parts.append(f"EXDATE;VALUE=DATE:{','.join(_moment(day * DAY)[:8] for day in rules.excluded_days)}")
    return " ".join(parts)


def _format_rule(rule: Rule) -> str:
    said: dict[str, str] = {"FREQ": rule.freq}
    if rule.interval != 1:
        said["INTERVAL"] = str(rule.interval)
    if rule.count is not None:
        said["COUNT"] = str(rule.count)
    if rule.until is not None:
        said["UNTIL"] = _moment(rule.until)
    if rule.wkst:
        said["WKST"] = WEEKDAYS[rule.wkst]
    said |= {name: ",".join(map(str, values)) for name, values in rule.by.items()}
    if rule.byday:
        said["BYDAY"] = ",".join(f"{nth or ''}{WEEKDAYS[day]}" for nth, day in rule.byday)
    return ";".join(f"{name}={said[name]}" for name in PARTS if name in said)


def _moment(local: int) -> str:
    at = _EPOCH + timedelta(seconds=local)
    return f"{at.year:04d}{at.month:02d}{at.day:02d}T{at.hour:02d}{at.minute:02d}{at.second:02d}"


def _lines(written: str) -> list[tuple[str, str, str]]:
    """Return (name, parameters, value) of each line; lines may also be parted by spaces, and folded ones are joined."""
    text = re.sub(r"\r?\n[ \t]", "", written.strip()).upper()
    found = []
    for each in text.split():
        line = each if ":" in each else f"RRULE:{each}"
        match = _LINE.fullmatch(line)
        if not match or match[1] in ("EXRULE", "DTEND", "DURATION"):
            raise _wrong(f'"{shown(each)}" is no DTSTART, RRULE, RDATE or EXDATE', EXAMPLE)
        found.append((match[1], match[2], match[3]))
    return found


def _parameter(line: tuple[str, str, str], name: str) -> str:
    found = re.search(rf";{name}=([^;]+)", line[1])
    return found[1].strip('"') if found else ""


def _is_date(line: tuple[str, str, str]) -> bool:
    return _parameter(line, "VALUE") == "DATE" or all(len(each) == 8 for each in line[2].split(","))


def _zone_of(starts: Sequence[tuple[str, str, str]], zone: str) -> str:
    if not starts:
        return zone
    named = _parameter(starts[0], "TZID")
    if named:
        return _zone_named(named)
    return "UTC" if starts[0][2].endswith("Z") else zone


def _zone_named(name: str) -> str:
    """Return the zone of a TZID, of which the letters were made large."""
    if is_zone(name):
        return name
    from offbeat.core.recurrences.zones import near_zones

    found = next((each for each in near_zones(name) if each.upper() == name), name)
    find_zone(found)
    return found


def _without_instants(
    lines: Sequence[tuple[str, str, str]], zone: Zone
) -> tuple[list[tuple[str, str, str]], tuple[int, ...], tuple[int, ...]]:
    """Return the lines without the moments that only an instant says, and these: of RDATEs and of EXDATEs."""
    kept, found = [], {"RDATE": set[int](), "EXDATE": set[int]()}
    for name, parameters, value in lines:
        said = []
        for each in value.split(","):
            instant = _instant_of(each) if name in found else None
            if instant is None or _is_told_by_local(instant, zone):
                said.append(each)
            else:
                found[name].add(instant)
        if said:
            kept.append((name, parameters, ",".join(said)))
    return kept, tuple(sorted(found["RDATE"])), tuple(sorted(found["EXDATE"]))


def _instant_of(text: str) -> int | None:
    """Return the instant of a moment with a Z, None for any other text."""
    match = _MOMENT.fullmatch(text)
    return _local(match, text) if match and match[7] else None


def _is_told_by_local(instant: int, zone: Zone) -> bool:
    """Return whether the local time at an instant means that instant, and is the only one that does."""
    if zone.is_utc or not FIRST + 3 * DAY < instant < END - 365 * DAY:
        return True
    local = instant + zone.offset_at(instant)
    return zone.first_instant(local) == instant and zone.first_instant(local - 1) == instant - 1


def _moments(line: tuple[str, str, str], zone: Zone, *, days_at: int = 0) -> list[int]:
    """Return the times of a line as local seconds in `zone`. days_at: the time of day that a date alone means."""
    if _parameter(line, "VALUE") == "PERIOD":
        raise _wrong("RDATE with periods is not supported", "RDATE:20260301T090000")
    own = _parameter(line, "TZID")
    source = find_zone(_zone_named(own)) if own else zone
    found = [_read_moment(each, zone, source, days_at=days_at) for each in line[2].split(",")]
    if max(found) >= END - 365 * DAY:
        raise _wrong(f"{line[0]} is after the year 9998", "write it like 20260301T090000")
    return found


def _read_moment(text: str, zone: Zone, source: Zone, *, days_at: int = 0) -> int:
    found = _MOMENT.fullmatch(text)
    local = _local(found, text)
    if found is None or found[4] is None:
        return local + days_at
    if found[7]:
        return local + zone.offset_at(local)
    if source.name == zone.name:
        return local
    instant = source.first_instant(local)
    return instant + zone.offset_at(instant)


def _local(found: re.Match[str] | None, text: str) -> int:
    """Return the seconds from 1970-01-01T00:00:00 of what a moment says, whatever its zone. Raises: ScheduleError S161."""
    try:
        if not found:
            raise ValueError
        return (datetime(*(int(part or 0) for part in found.groups()[:6])) - _EPOCH) // timedelta(seconds=1)  # type: ignore[arg-type]  # noqa: DTZ001
    except ValueError:
        raise _wrong(f'"{shown(text)}" is no date and time', "write it like 20260301T090000") from None


def _until(text: str, zone: Zone) -> int:
    """Return the last local time that UNTIL lets through: one with a Z, all that the clock has reached by then."""
    instant = _instant_of(text)
    return _read_moment(text, zone, zone) if instant is None else LocalDays(zone).reached(instant)


def _rule(value: str, zone: Zone) -> Rule:
    said: dict[str, str] = {}
    for part in value.rstrip(";").split(";"):
        name, _, text = part.partition("=")
        if name not in PARTS or not text:
            raise _wrong(f'"{shown(part)}" is no part of an RRULE', f"use {', '.join(PARTS)}")
        if name in said:
            raise _wrong(f"{name} is there twice", f"keep one {name}")
        said[name] = text
    if said.get("FREQ") not in FREQUENCIES:
        raise _wrong(f'FREQ is "{shown(said.get("FREQ", ""))}"', f"use one of {', '.join(FREQUENCIES)}")
    _check_together(said)
    return Rule(
        freq=said["FREQ"],
        interval=_number(said, "INTERVAL", FARTHEST.get(said["FREQ"], 1_000_000)) or 1,
        count=_number(said, "COUNT", MOST),
        until=_until(said["UNTIL"], zone) if "UNTIL" in said else None,
        wkst=_weekday(said.get("WKST", "MO")),
        by={name: _numbers(name, said[name]) for name in RANGES if name in said},
        byday=_bydays(said) if "BYDAY" in said else (),
    )


def _number(said: Mapping[str, str], name: str, most: int) -> int | None:
    text = said.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII) or not 1 <= int(text) <= most:
        raise _wrong(f'{name} "{shown(text)}" is not from 1 to {most}', f"{name}=2")
    return int(text)


def _numbers(name: str, text: str) -> tuple[int, ...]:
    low, high = RANGES[name]
    found = set()
    for each in text.split(","):
        least = -high if low < 0 else low
        if not re.fullmatch(r"[+-]?\d{1,3}", each, re.ASCII) or not least <= int(each) <= high:
            raise _wrong(f'{name} "{shown(each)}" is outside {least} to {high}', f"{name}={max(low, 1)}")
        found.add(int(each))
    if low < 0 and 0 in found:
        raise _wrong(f"{name} 0 names nothing", f"{name}=1")
    return tuple(sorted(found))


def _weekday(text: str) -> int:
    if text not in WEEKDAYS:
        raise _wrong(f'"{shown(text)}" is no day of the week', f"use {', '.join(WEEKDAYS)}")
    return WEEKDAYS.index(text)


def _bydays(said: Mapping[str, str]) -> tuple[tuple[int, int], ...]:
    found = set()
    for each in said["BYDAY"].split(","):
        match = _BYDAY.fullmatch(each)
        if not match or (match[1] and not 1 <= abs(int(match[1])) <= 53):
            raise _wrong(f'BYDAY "{shown(each)}" is no day of the week', "BYDAY=MO, or BYDAY=2TU for the second Tuesday")
        found.add((int(match[1] or 0), WEEKDAYS.index(match[2])))
    if any(nth for nth, _ in found) and (said["FREQ"] not in ("YEARLY", "MONTHLY") or "BYWEEKNO" in said):
        raise _wrong("BYDAY with a number is for FREQ=MONTHLY and YEARLY, without BYWEEKNO", "BYDAY=TU")
    return tuple(sorted(found))


def _check_together(said: Mapping[str, str]) -> None:
    if "COUNT" in said and "UNTIL" in said:
        raise _wrong("COUNT and UNTIL are both there", "keep one of them")
    for name, misfits in MISFITS.items():
        if name in said and said["FREQ"] in misfits:
            raise _wrong(f"{name} does not go with FREQ={said['FREQ']}", "see RFC 5545, 3.3.10")
    if "BYSETPOS" in said:
        if not any(name.startswith("BY") and name != "BYSETPOS" for name in said):
            raise _wrong("BYSETPOS needs another BY part to choose from", "BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1")
        if said["FREQ"] in FREQUENCIES[4:] or any("," in said.get(name, "") for name in ("BYHOUR", "BYMINUTE", "BYSECOND")):
            raise _wrong("BYSETPOS among times of a day is not supported", "BYSETPOS among days, at one time: BYHOUR=9")


def _wrong(what: str, fix: str) -> ScheduleError:
    return refusal("S161", f"rrule: {what}", fix)
