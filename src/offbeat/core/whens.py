"""When an entry is due, as schedule.toml says it: one recurrence, or several, what they leave out and where they move.

Never stops at the first problem. Its keys, and which of them may be in [defaults], are listed here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import cast

from offbeat.core.calendars import Calendars, read_excluded
from offbeat.core.recurrences.composite import DAYS, WEEKEND, Workday, any_text, check_left
from offbeat.core.recurrences.durations import format_duration, parse_signed
from offbeat.core.recurrences.instants import odd_local, parse_instant, utc_text
from offbeat.core.recurrences.own import own_text
from offbeat.core.recurrences.recurrence import at_text, compile_recurrence, every_text
from offbeat.core.recurrences.rruletext import parse_rules, rrule_text
from offbeat.core.recurrences.rule import is_never_due, shown
from offbeat.core.recurrences.solar import solar_text
from offbeat.core.settings import read_cron
from offbeat.core.table import Table, as_json
from offbeat.errors import ScheduleError

RECURRENCES = ("cron", "every", "at", "solar", "rrule", "any", "own")
EXCLUDING = ("except", "workday", "weekend")
SOLAR = ("event", "latitude", "longitude", "offset")
MEMBER = (*RECURRENCES[:5], "own", "offset")  # keys of one recurrence of `any`
MOST_MEMBERS = 100
_EXAMPLES = {
    "solar": 'solar = { event = "sunset", latitude = 42.7, longitude = 23.3 }',
    "any": 'any = [ { cron = "30 4 * * mon" }, { every = "45m" } ]',
    "own": 'own = { kind = "fiscal" }',
}


def read_recurrence(table: Table, zone: str, seed: str, calendars: Calendars) -> str | None:
    """Return the resolved text of what a table is due by; None, with problems, when anything about it is wrong."""
    text = _one(table, zone, seed)
    return None if text is None else with_exclusions(table, text, zone, seed=seed, calendars=calendars)


def with_exclusions(table: Table, text: str, zone: str, *, seed: str, calendars: Calendars) -> str | None:
    """Return a resolved text with the exclusions that a table adds to it; None, with problems, when they are wrong."""
    excluded = read_excluded(table, zone, seed, calendars)
    workday, weekend = _workday(table), _weekend(table)
    if {"except", "workday", "weekend"} & table.bad:
        return None
    if not excluded and workday is None:
        return text
    members = _members_of(text)
    key = "except" if excluded else "workday"

    def left() -> str:
        said = any_text(members, excluded=excluded, workday=workday, weekend=weekend)
        return check_left(said, text, zone, compile_recurrence)

    return table.attempt(key, left)


def _members_of(text: str) -> list[str]:
    if not text.startswith("any "):
        return [text]
    import json

    members: list[str] = json.loads(text[4:])["of"]
    return members


def _one(table: Table, zone: str, seed: str) -> str | None:
    kinds = [key for key in RECURRENCES if key in table.values]
    if len(kinds) > 1:
        counted = "two" if len(kinds) == 2 else "several"
        fix = f"keep one of them, or list them: any = [ {{ {kinds[0]} = ... }}, {{ {kinds[1]} = ... }} ]"
        table.fail(kinds[1], f"it has {' and '.join(kinds)}, {counted} recurrences", code="S147", fix=fix)
    elif not kinds:
        fix = 'say when it is due, for example cron = "30 4 * * mon" or every = "45m"'
        table.fail("", f"it has no recurrence: no {', '.join(RECURRENCES[:-1])} or {RECURRENCES[-1]}", code="S147", fix=fix)
    if "offset" in table.values and "every" not in table.values:
        fix = 'add every = "45m", or remove offset'
        table.fail("offset", '"offset" belongs to "every", which is not there', code="S133", fix=fix)
    results = [text for key in kinds if (text := _READERS[key](table, zone, seed)) is not None]
    return results[0] if len(results) == 1 == len(kinds) else None


def _cron(table: Table, zone: str, seed: str) -> str | None:
    return read_cron(table, "cron", zone, seed)


def _every(table: Table, zone: str, seed: str) -> str | None:
    seconds = table.seconds("every", 1)
    offset = _rising_offset(table, seconds)
    return table.attempt("every", lambda: every_text(seconds, offset)) if seconds is not None else None


def _rising_offset(table: Table, interval: int | None) -> int:
    """Return the offset of an interval, which has no minus: what it means with one is in the fix."""
    value = table.value("offset")
    try:
        back = parse_signed(value) if isinstance(value, str) else value if isinstance(value, int) else 0
    except ScheduleError:
        back = 0
    if back >= 0 or isinstance(value, bool):
        return table.seconds("offset") or 0
    fix = "offset = 0, or leave it out"
    if interval is None:
        fix = "shift it forward, by a duration without a minus"
    elif ahead := back % interval:
        fix = f'offset = "{format_duration(ahead)}", which is the same'
    table.fail("offset", f'"offset" {shown(str(value))} is negative, and an interval is shifted forward', code="S104", fix=fix)
    return 0


def _at(table: Table, zone: str, seed: str) -> str | None:
    value = table.value("at")
    if value is None:
        return None
    written = value if isinstance(value, list) else [value]
    instants = [read_instant(table, "at", each, zone) for each in written]
    if None in instants:
        return None
    for each, instant in zip(written, instants, strict=True):
        if instant is not None and (what := odd_local(cast("str | date", each), instant, zone)):
            why = "such a time is read as cron reads it: after the gap, or in the first pass"
            table.warn("at", f"at: {what}", code="S170", why=why, fix=f'write it in UTC: at = "{utc_text(instant)}"')
    return table.attempt("at", lambda: at_text([instant for instant in instants if instant is not None]))


def read_instant(table: Table, key: str, value: object, zone: str) -> int | None:
    """Return an instant that is written as text or as a date of TOML; None, with a problem, for anything else."""
    if not isinstance(value, str | date):
        table.fail(key, f'"{key}" is not a date and time', code="S144", fix=f'{key} = "2026-03-01T04:30:00"')
        return None
    return table.attempt(key, lambda: parse_instant(value, zone), named=True)


def _solar(table: Table, zone: str, seed: str) -> str | None:
    if not isinstance(table.value("solar"), dict | None):
        table.wrong_type("solar", "a table", _EXAMPLES["solar"])
    inner = table.table("solar")
    if inner is None:
        return None
    inner.check_keys(SOLAR, (), {"lat": 'did you mean "latitude"?', "lon": 'did you mean "longitude"?'})
    event = inner.text("event")
    places = [_degrees(inner, key) for key in ("latitude", "longitude")]
    offset = _signed(inner, "offset")
    for key in SOLAR[:3]:
        if key not in inner.values:
            inner.fail("", f'solar has no "{key}"', fix=_EXAMPLES["solar"])
    text = None
    if not inner.bad and event is not None and places[0] is not None and places[1] is not None:
        latitude, longitude = places[0], places[1]
        text = inner.attempt("event", lambda: _compiled(solar_text(event, latitude, longitude, offset), zone))
    return _from(inner, table, "solar", text)


def _degrees(table: Table, key: str) -> float | None:
    value = table.value(key)
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    table.wrong_type(key, "a number", f"{key} = {'42.7' if key == 'latitude' else '23.3'}")
    return None


def _signed(table: Table, key: str) -> int:
    """Return a duration that may have a minus before it, 0 where it is not there."""
    value = table.value(key)
    if value is None or (value == 0 and not isinstance(value, bool)):
        return 0
    if isinstance(value, int) and not isinstance(value, bool):
        fix = f'{key} = "{value}s" or "{value}m"'
        table.fail(key, f'"{key}" {value} has no unit', code="S104", fix=fix)
        return 0
    if not isinstance(value, str):
        table.wrong_type(key, 'a duration like "-30m"', f'{key} = "-30m"')
        return 0
    return table.attempt(key, lambda: parse_signed(value), named=True) or 0


def _rrule(table: Table, zone: str, seed: str) -> str | None:
    written = table.get("rrule", str)
    if written is None:
        return None
    text = table.attempt("rrule", lambda: _compiled(rrule_text(written, zone), zone))
    if text is not None and is_never_due(compile_recurrence(text, zone)):
        table.warn(
            "rrule",
            "the rule names no day that ever comes, so it is never due",
            code="S153",
            why="the entry is loaded, and nothing will ever be sent",
            fix="use a day that comes, for example FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=28",
        )
    elif text is not None and not parse_rules(written, zone).has_start:
        _warn_of_start(table, written.upper())
    return text


def _warn_of_start(table: Table, written: str) -> None:
    """Say what a rule without DTSTART takes from 1970-01-01, a Thursday."""
    days = any(part in written for part in ("BYDAY", "BYMONTHDAY", "BYYEARDAY", "BYWEEKNO"))
    taken = {"FREQ=WEEKLY": "Thursday", "FREQ=MONTHLY": "the 1st", "FREQ=YEARLY": "the 1st of January"}
    day = next((day for freq, day in taken.items() if freq in written and not days), "")
    if day:
        table.warn(
            "rrule",
            f"the rule names no day and has no DTSTART, so its day is {day}",
            code="S162",
            why="without DTSTART a rule starts at 1970-01-01T00:00:00, and what it does not say is taken from there",
            fix="add BYDAY=MO, or DTSTART:20260105T090000",
        )


def _any(table: Table, zone: str, seed: str) -> str | None:
    value = table.value("any")
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value) or not value:
        table.wrong_type("any", "a list of tables", _EXAMPLES["any"])
        return None
    if len(value) > MOST_MEMBERS:
        table.fail("any", f'"any" has {len(value)} recurrences, {MOST_MEMBERS} are the most', fix="make several entries")
        return None
    texts = []
    for each in value:
        inner = Table(each, (*table.path, "any"), file=table.file, lines=table.lines, problems=table.problems)
        if "any" in each:
            fix = "list its recurrences in the outer one, beside the others"
            table.fail("any", '"any" has an "any" in it, and one alone has them all', code="S133", fix=fix)
            continue
        inner.check_keys(MEMBER)
        text = _one(inner, zone, seed)
        texts.append(_from(inner, table, "any", text))
    found = [text for text in texts if text is not None]
    return table.attempt("any", lambda: any_text(found)) if len(found) == len(value) else None


def _own(table: Table, zone: str, seed: str) -> str | None:
    options = table.json("own", dict)
    if options is None:
        return None
    kind = options.get("kind")
    if not isinstance(kind, str):
        table.fail("own", '"own" names no kind', fix=_EXAMPLES["own"])
        return None
    said = {key: as_json(value) for key, value in options.items() if key != "kind"}
    return table.attempt("own", lambda: _compiled(own_text(kind, said), zone))


def _compiled(text: str, zone: str) -> str:
    """Return the text once it has been compiled, and asked for a due time, here. Raises: ScheduleError."""
    compile_recurrence(text, zone).next_after(0)
    return text


def _from(inner: Table, table: Table, key: str, text: str | None) -> str | None:
    """Return the text that was read from a table inside, None when there is anything wrong with that."""
    if inner.bad:
        table.bad.add(key)
    return None if inner.bad else text


def _workday(table: Table) -> Workday | None:
    value = table.get("workday", str)
    if value is None or value in tuple(Workday):
        return Workday(value) if value is not None else None
    table.fail("workday", f'"workday" is not {", ".join(Workday)}', fix='workday = "next"')
    return None


def _is_day(word: str) -> bool:
    """Return whether a word is a day's name, whole or its first three letters."""
    return word in DAYS or word in ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")


def _weekend(table: Table) -> tuple[int, ...]:
    value = table.value("weekend")
    if value is None:
        return WEEKEND
    if not isinstance(value, list):
        fix = f'weekend = ["{value}"]' if isinstance(value, str) and value.lower()[:3] in DAYS else 'weekend = ["fri", "sat"]'
        table.wrong_type("weekend", "a list of days", fix)
        return ()
    if not all(isinstance(day, str) and _is_day(day.lower()) for day in value):
        table.fail("weekend", '"weekend" is not a list of days', code="S144", fix='weekend = ["sat", "sun"]')
        return ()
    if "workday" not in table.values:
        table.fail("weekend", '"weekend" belongs to "workday", which is not there', code="S133", fix='workday = "next"')
    return tuple(DAYS.index(day.lower()[:3]) for day in value)


_READERS: Mapping[str, Callable[[Table, str, str], str | None]] = {
    "cron": _cron,
    "every": _every,
    "at": _at,
    "solar": _solar,
    "rrule": _rrule,
    "any": _any,
    "own": _own,
}
