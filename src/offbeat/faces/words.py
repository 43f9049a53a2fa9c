"""How instants, spans of time, states and names are written for people, and read from them.

Never reads the clock and never prints: `now` is an argument, text is the result. Its authority is docs/reference/cli.md.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import tzinfo

UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
WIDEST = 72  # characters of a recurrence in a table
LONGEST_TIME = 40  # characters of an instant or a span that a person names
EARLIEST, LATEST = -62_135_510_400, 253_402_214_400  # 0001-01-02 to 9999-12-31, UTC: a day more or less in any zone
_SPAN = re.compile(r"(\d+)\s*(w|d|h|min|m|s)")
_SPAN_SECONDS = {"w": 604_800, "d": 86_400, "h": 3_600, "min": 60, "m": 60, "s": 1}
_CLOCK = re.compile(r"([01]?\d|2[0-3]):[0-5]\d(:[0-5]\d)?", re.ASCII)


def format_utc(instant: float | None) -> str:
    """Return `2026-03-01T02:30:00Z`; "" for None. Fractions of a second are cut off.

    >>> format_utc(1772332200.9)
    '2026-03-01T02:30:00Z'
    """
    if instant is None:
        return ""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(instant))


def format_local(instant: float, zone: str) -> str:
    """Return the instant in its zone with its offset, ISO 8601.

    >>> format_local(1772332200, "Europe/Sofia")
    '2026-03-01T04:30:00+02:00'
    """
    from datetime import datetime

    return datetime.fromtimestamp(int(instant), _zone(zone)).isoformat()


def format_local_words(instant: float, zone: str) -> str:
    """Return the instant in its zone as people read it.

    >>> format_local_words(1772332200, "Europe/Sofia")
    'Sun 2026-03-01 04:30:00 +02:00'
    """
    from datetime import datetime

    local = datetime.fromtimestamp(int(instant), _zone(zone))
    return f"{local:%a} {local.isoformat(sep=' ')[:19]} {local.isoformat()[19:]}"


def format_duration(seconds: float) -> str:
    """Return a span in at most its two largest units.

    >>> format_duration(5400), format_duration(59.7), format_duration(0), format_duration(90061)
    ('1 h 30 min', '59 s', '0 s', '1 d 1 h')
    """
    left = int(seconds)
    parts: list[str] = []
    for unit, size in UNITS:
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
        if len(parts) == 2 or (parts and not count):
            break
    return " ".join(parts) or "0 s"


def format_relative(instant: float, now: float) -> str:
    """Return how far away an instant is.

    >>> format_relative(10860, 60), format_relative(0, 300), format_relative(60, 60)
    ('in 3 h', '5 min ago', 'now')
    """
    away = int(instant - now)
    if away == 0:
        return "now"
    return f"in {format_duration(away)}" if away > 0 else f"{format_duration(-away)} ago"


def format_recurrence(recurrence: str) -> str:
    """Return a resolved recurrence as people write it.

    >>> format_recurrence("cron 30 4 * * 1"), format_recurrence("every 2700 0"), format_recurrence("at 1767225600")
    ('cron 30 4 * * 1', 'every 45m', 'at 2026-01-01T00:00:00Z')
    """
    kind, _, rest = recurrence.partition(" ")
    if kind == "every":
        period, _, offset = rest.partition(" ")
        return f"every {compact(int(period))}" + (f" + {compact(int(offset))}" if int(offset or 0) else "")
    if kind == "at":
        return "at " + ", ".join(format_utc(int(instant)) for instant in rest.split(","))
    return recurrence


def recurrence_words(recurrence: str, zone: str) -> str:
    """Return a resolved recurrence for a column of a table: as people write it, or in words where nobody writes it so.

    >>> recurrence_words("cron 30 4 * * 1", "UTC"), recurrence_words('any {"of":["every 2700 0","at 1767225600"]}', "UTC")[:21]
    ('cron 30 4 * * 1', 'Any of: every 45 minu')
    """
    text = format_recurrence(recurrence)
    if recurrence.partition(" ")[0] in {"any", "solar", "rrule"}:
        from offbeat.core.explain import explain

        text = explain(recurrence, zone).removesuffix(f", {zone} time").partition("; a day on which")[0]
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 3]}..."


def compact(seconds: int) -> str:
    """Return a span as schedule.toml writes it.

    >>> compact(2700), compact(5400), compact(10), compact(86400)
    ('45m', '1h30m', '10s', '1d')
    """
    parts = ""
    for unit, size in UNITS:
        count, seconds = divmod(seconds, size)
        parts += f"{count}{unit[0]}" if count else ""
    return parts or "0s"


def parse_span(text: str) -> int | None:
    """Return the seconds of "45m", "1h30m", "2 h 5 min", "1d"; None when it is not a span.

    >>> parse_span("1h30m"), parse_span("2 d"), parse_span("soon"), parse_span("1h 30")
    (5400, 172800, None, None)
    """
    found = _SPAN.findall(text) if len(text) <= LONGEST_TIME else []
    if not found or _SPAN.sub("", text).strip():
        return None
    return sum(int(count) * _SPAN_SECONDS[unit] for count, unit in found)


def parse_instant(text: str, now: float, zone: str = "UTC") -> int | None:
    """Return the instant that a person named: "now", "@1767225600", or ISO 8601; None when it is none of them.

    Without an offset it is read in `zone`. A date alone is its midnight.
    """
    from datetime import datetime

    text = text.strip()
    if text == "now":
        return int(now)
    try:
        if text.startswith("@") and text[1:].isdecimal() and len(text) <= LONGEST_TIME:
            return _in_the_calendar(int(text[1:]))
        moment = datetime.fromisoformat(text)
        return _in_the_calendar(int((moment if moment.tzinfo else moment.replace(tzinfo=_zone(zone))).timestamp()))
    except (ValueError, OverflowError):
        return None


def _in_the_calendar(instant: int) -> int | None:
    """Return the instant if every zone can write its date, None else."""
    return instant if EARLIEST <= instant <= LATEST else None


def parse_when(text: str, now: float, zone: str = "UTC", *, past: bool = False) -> int | None:
    """Return the instant that a person named relative to `now`: also a span ("2h") or a time of day ("09:00") of `zone`.

    Both count forward from now, or, with `past`, back. None when it is none of them.

    >>> parse_when("2h", 60), parse_when("2h", 7260, past=True), parse_when("00:05", 60), parse_when("00:05", 360)
    (7260, 60, 300, 86700)
    """
    text = text.strip()
    if (span := parse_span(text)) is not None:
        return _in_the_calendar(int(now) - span if past else int(now) + span)
    if _CLOCK.fullmatch(text):
        from datetime import datetime, timedelta

        local = datetime.fromtimestamp(int(now), _zone(zone)).date()
        days = [parse_instant(f"{local + timedelta(days=day)}T{text.zfill(5)}", now, zone) or 0 for day in (-1, 0, 1)]
        return max(day for day in days if day <= now) if past else min(day for day in days if day > now)
    return parse_instant(text, now, zone)


@lru_cache(maxsize=64)
def _zone(zone: str) -> tzinfo:
    """Return the zone; UTC for one that this machine does not know (check reports it)."""
    from datetime import UTC

    if zone == "UTC":
        return UTC
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        return UTC


def printable(text: str) -> str:
    """Return the text with control characters and undecodable bytes spelled out, so that no name can steer a terminal.

    >>> printable("a\\x1b[31m\\n")
    'a\\\\x1b[31m\\\\n'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def conceal(text: str) -> str:
    """Return the text without the passwords of any address in it.

    >>> conceal("redis://me:pa@ss@host/0 is down")
    'redis://me:***@host/0 is down'
    """
    if "://" not in text:
        return text
    from offbeat.core.passwords import masked

    return masked(text)


def count_of(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun.

    >>> count_of(1, "entry", "entries"), count_of(2, "problem")
    ('1 entry', '2 problems')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {plural or noun + 's'}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean "x"?`, or "" when nothing is close."""
    from difflib import get_close_matches

    close = get_close_matches(word, list(known), n=3)
    return "; did you mean " + " or ".join(f'"{printable(name)}"' for name in close) + "?" if close else ""


def align(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a plain table: two spaces between columns, nothing after the last.

    >>> align(("ENTRY", "AT"), [("a", "1"), ("longer", "2")])
    ['ENTRY   AT', 'a       1', 'longer  2']
    """
    table = [tuple(columns), *(tuple(printable(cell) for cell in row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
