"""Durations: "45m" and "1h30m" to seconds and back.

Never knows a month or a year: those have no length, and cron has them.
"""

from __future__ import annotations

import re

from offbeat.core.recurrences.rule import refusal, shown
from offbeat.errors import ScheduleError

DAY = 86_400
UNITS = {"w": 604_800, "d": DAY, "h": 3600, "m": 60, "s": 1}
LONGEST = 36_525 * DAY  # a hundred years

_DURATION = r"(?:(\d{1,10})w)?(?:(\d{1,10})d)?(?:(\d{1,10})h)?(?:(\d{1,10})m)?(?:(\d{1,10})s)?"


_MONTHS = r"[+-]?(?:([1-9]|1[012])M|\d{1,6}(?:\.\d+)? *(?:((?i:mos?|mons?|months?))|(?i:y|yrs?|years?)))"  # 45M is of minutes


def parse_duration(text: str | int) -> int:
    """Return the seconds of a duration: "45m", "1h30m", "90s", "2d", "1w" (largest unit first), or of a program's number.

    Digits alone are no text of a duration: who writes 45 may mean minutes.

    Raises: ScheduleError S104 for anything else, and for what is not from 1 second to a hundred years.

    >>> parse_duration("1h30m"), parse_duration(90)
    (5400, 90)
    """
    seconds = 0
    if isinstance(text, int) and not isinstance(text, bool):
        seconds = text
    elif isinstance(text, str):
        compact = text.strip().replace(" ", "")
        if found := re.fullmatch(_DURATION, compact, re.ASCII):
            seconds = sum(int(count) * unit for count, unit in zip(found.groups("0"), UNITS.values(), strict=True))
        elif is_bare(compact):
            raise refusal("S104", f'duration "{compact}" has no unit', f'"{compact}s" or "{compact}m"')
    if 1 <= seconds <= LONGEST:
        return seconds
    fix = _likely_duration(text) if isinstance(text, str) else ""
    if isinstance(text, str) and (found := re.fullmatch(_MONTHS, text[:64].strip(), re.ASCII)):
        unit, field = ("months", "30 4 1 * *") if found[1] or found[2] else ("years", "30 4 1 1 *")
        what = f'duration "{shown(text)}" is of {unit}, which have no length'
        raise refusal("S104", what, f'use cron = "{field}", or rrule = "FREQ={unit[:-1].upper()}LY"')
    what = f'duration "{shown(str(text))}" is not a span from 1 second to 100 years'
    raise refusal(
        "S104", what, f'did you mean "{fix}"?' if fix else 'use w, d, h, m and s, largest first, for example "45m" or "1h30m"'
    )


def parse_signed(text: str) -> int:
    """Return the seconds of a duration that may have a sign before it, or that is 0.

    Raises: ScheduleError S104 for anything else.

    >>> parse_signed("-30m"), parse_signed("0s")
    (-1800, 0)
    """
    compact = text.strip()
    if compact.lstrip("+-").strip() in ("0", "0s"):
        return 0
    sign = compact[:1] if compact[:1] in ("+", "-") else ""
    try:
        seconds = parse_duration(compact.removeprefix(sign))
    except ScheduleError as error:
        if sign and is_bare(compact[1:]):
            number = compact[1:].strip()
            fix = f'"{sign}{number}s" or "{sign}{number}m"'
            raise refusal("S104", f'duration "{shown(compact)}" has no unit', fix) from None
        raise error
    return -seconds if sign == "-" else seconds


def is_bare(written: str | int) -> bool:
    """Return whether a duration would be read with a unit after it.

    >>> is_bare(45), is_bare(" 45 "), is_bare("45m"), is_bare(0)
    (True, True, False, False)
    """
    if isinstance(written, int):
        return 1 <= written <= LONGEST
    digits = written[:64].strip()
    return len(written) <= 64 and bool(re.fullmatch(r"\d{1,10}", digits, re.ASCII)) and is_bare(int(digits))


def _likely_duration(text: str) -> str:
    """Return "5m" for what people write in other places ("5 minutes", "PT5M", "1.5h"), "" when nobody can tell."""
    found = re.fullmatch(r"\s*(?:pt)?(\d{1,6})(\.5)?\s*(w|d|h|m|s)[a-z]*\.?\s*", text[:64].lower(), re.ASCII)
    if not found or text.lower().strip().endswith(("ms", "month", "months", "millis", "milliseconds")):
        return ""
    seconds = int(found[1]) * UNITS[found[3]] + (UNITS[found[3]] // 2 if found[2] else 0)
    return format_duration(seconds) if 1 <= seconds <= LONGEST else ""


def format_duration(seconds: int) -> str:
    """Return the shortest text that parse_duration reads as `seconds`.

    >>> format_duration(5400), format_duration(604800)
    ('1h30m', '1w')
    """
    parts = []
    for unit, size in UNITS.items():
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
