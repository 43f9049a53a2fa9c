"""Calendar files (.ics) as exclusions: each event's days, or its hours, as resolved texts.

Never reads the file: it is given its bytes. icalendar parses them; events that repeat stay rules, so no search is endless.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

from offbeat.core.recurrences.exclusions import span_text
from offbeat.core.recurrences.rrule import compile_rrule
from offbeat.core.recurrences.rruletext import rrule_text
from offbeat.core.recurrences.rule import missing, refusal, shown
from offbeat.core.recurrences.zones import find_zone, is_zone
from offbeat.errors import ScheduleError

LARGEST = 1_048_576  # bytes
MOST = 2000  # events
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_SECOND = timedelta(seconds=1)


def read_ics(content: bytes, name: str, zone: str) -> list[str]:
    """Return what the events of a calendar file exclude, as Exclusions reads it.

    All-day events are days, others hours. Cancelled ones do not count. zone: of times without one.
    Raises: ScheduleError S165 for what is no calendar, or too large; S167 when icalendar is not installed.
    """
    if len(content) > LARGEST:
        raise refusal("S165", f'"{shown(name)}" is larger than {LARGEST} bytes', "keep only the events that are days off")
    try:
        from icalendar import Calendar
    except ImportError:
        raise missing("icalendar") from None
    try:
        events: list[Any] = [event for event in Calendar.from_ical(content).walk("VEVENT") if _counts(event)]
        if len(events) > MOST:
            raise refusal("S165", f'"{shown(name)}" has {len(events)} events, {MOST} are the most', "keep only those to come")
        moved = {(str(event.get("UID")), event["RECURRENCE-ID"].dt) for event in events if "RECURRENCE-ID" in event}
        return [text for event in events for text in _texts(event, zone, moved)]
    except ScheduleError:
        raise
    except Exception as error:
        said = shown(" ".join(str(error).split()) or type(error).__name__)
        raise refusal("S165", f'"{shown(name)}" is no calendar that can be read: {said}', "export it again") from error


def _counts(event: Any) -> bool:
    return "DTSTART" in event and str(event.get("STATUS", "")).upper() != "CANCELLED"


def _texts(event: Any, zone: str, moved: set[tuple[str, Any]]) -> Iterator[str]:
    start = event["DTSTART"].dt
    end = event["DTEND"].dt if "DTEND" in event else None
    lasts = event["DURATION"].dt if "DURATION" in event else None
    if not isinstance(start, datetime):
        days = (end - start).days if end is not None else lasts.days if lasts is not None else 1
        yield from _days_off(event, start, max(days, 1), moved)
        return
    own = str(event["DTSTART"].params.get("TZID", "")) if start.tzinfo is not None else zone
    begin = _instant(start, zone)
    seconds = _instant(end, zone) - begin if end is not None else lasts // _SECOND if lasts is not None else 0
    if seconds > 0:
        yield from _hours_off(event, begin, seconds, zone=own if is_zone(own) else "UTC", moved=moved)


def _days_off(event: Any, start: date, days: int, moved: set[tuple[str, Any]]) -> Iterator[str]:
    if "RRULE" not in event and "RDATE" not in event:
        first = start.toordinal() - _EPOCH_DAY
        yield span_text(first, first + days - 1)
        return
    lines = [f"DTSTART:{start:%Y%m%d}T000000", *_rules(event)]
    dates = [*_listed(event, "EXDATE"), *(at for uid, at in moved if uid == str(event.get("UID")))]
    lines += [f"EXDATE;VALUE=DATE:{at:%Y%m%d}" for at in dates]
    lines += [f"RDATE:{at:%Y%m%d}T000000" for at in [start, *_listed(event, "RDATE")]]
    text = rrule_text("\n".join(lines), "UTC")
    compile_rrule(text.partition(" ")[2], "UTC")
    yield f"{min(days, 999)}d {text}"


def _hours_off(event: Any, begin: int, seconds: int, *, zone: str, moved: set[tuple[str, Any]]) -> Iterator[str]:
    if "RRULE" not in event and "RDATE" not in event:
        yield f"{begin}/{begin + seconds}"
        return
    local = _EPOCH + timedelta(seconds=begin + find_zone(zone).offset_at(begin))
    lines = [f"DTSTART:{local:%Y%m%dT%H%M%S}", *_rules(event)]
    dates = [*_listed(event, "EXDATE"), *(at for uid, at in moved if uid == str(event.get("UID")))]
    lines += [f"EXDATE:{_utc(at, zone)}" for at in dates]
    lines += [f"RDATE:{_utc(at, zone)}" for at in _listed(event, "RDATE")]
    text = rrule_text("\n".join([*lines, f"RDATE:{local:%Y%m%dT%H%M%S}"]), zone)
    compile_rrule(text.partition(" ")[2], zone)
    yield f"{min(seconds, 99_999_999)}s {zone} {text}"


def _rules(event: Any) -> list[str]:
    rules = event.get("RRULE", [])
    return [f"RRULE:{rule.to_ical().decode()}" for rule in (rules if isinstance(rules, list) else [rules])]


def _listed(event: Any, name: str) -> list[Any]:
    found = event.get(name, [])
    return [each.dt for line in (found if isinstance(found, list) else [found]) for each in line.dts]


def _instant(at: Any, zone: str) -> int:
    """Return the instant of a date and time; a date alone is its midnight in `zone`, as is a time without a zone."""
    if not isinstance(at, datetime):
        return find_zone(zone).first_instant((at.toordinal() - _EPOCH_DAY) * 86_400)
    if at.tzinfo is None:
        return find_zone(zone).first_instant((at.replace(tzinfo=UTC) - _EPOCH) // _SECOND)
    return (at - _EPOCH) // _SECOND


def _utc(at: Any, zone: str) -> str:
    return f"{_EPOCH + timedelta(seconds=_instant(at, zone)):%Y%m%dT%H%M%SZ}"
