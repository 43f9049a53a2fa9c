"""The days of cron that a month decides: L, L-3, 15W, LW in day-of-month, 5L and FRI#2 in day-of-week; a year's days as bits.

Never reads a whole expression. Follows the Open Cron Pattern Specification 1.3; W moves within its month only.
"""

from __future__ import annotations

import re
from functools import lru_cache

# A set of days is an int. Day-of-month: bit 1-31 a date; from FROM_END on, days before the last; from NEAREST on, the weekday
# nearest to a date; from NEAREST_END on, the one nearest to a day before the last. Day-of-week: bit 0-6 a day, 0 for Sunday;
# from NTH on, six bits for each day: its last one in the month, its first, second ... fifth.
FROM_END, NEAREST, NEAREST_END = 32, 64, 96
NTH = 8
DATES = 0xFFFFFFFE
WEEKDAYS = 0b1111111
WEEKDAYS_NEAREST = (1 << 64) - 1 << NEAREST

_FORM = re.compile(r"L(?:-(?P<before>\d\d?))?(?P<end_w>W)?|W(?P<after_w>\d\d?)|(?P<date>\d\d?)W", re.ASCII)
_NTH = re.compile(r"(?P<day>[A-Z]{3}|\d)(?:L|#(?P<nth>[1-5L]))", re.ASCII)
_MONTH_DAYS = ((31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31), (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31))
_WEEKS = sum(1 << 7 * week for week in range(54))


def read_date(item: str) -> int | None:
    """Return the bit of `L`, `L-3`, `LW`, `L-3W`, `15W` or `W15`, in either case; None for anything else.

    >>> read_date("L-3") == 1 << FROM_END + 3, read_date("15w") == 1 << NEAREST + 15, read_date("L-31")
    (True, True, None)
    """
    found = _FORM.fullmatch(item.upper())
    if not found:
        return None
    if date := found["date"] or found["after_w"]:
        return 1 << NEAREST + int(date) if 1 <= int(date) <= 31 else None
    before = int(found["before"] or 0)
    return 1 << (NEAREST_END if found["end_w"] else FROM_END) + before if before <= 30 else None


def read_nth(item: str, names: tuple[str, ...]) -> int | None:
    """Return the bit of `5L`, `FRIL`, `5#L`, `FRI#2`; None for anything else.

    >>> read_nth("fri#2", ("sun", "mon", "tue", "wed", "thu", "fri", "sat")) == 1 << NTH + 5 * 6 + 2
    True
    """
    found = _NTH.fullmatch(item.upper())
    if not found:
        return None
    day = found["day"].lower()
    if day.isdigit():
        number = int(day)
    elif day in names:
        number = names.index(day)
    else:
        return None
    if number > 7:
        return None
    nth = found["nth"] or "L"
    return 1 << NTH + number % 7 * 6 + (0 if nth == "L" else int(nth))


def format_dates(mask: int) -> list[str]:
    """Return what read_date reads for the bits above the dates."""
    found = []
    for bit in range(FROM_END, mask.bit_length()):
        if mask >> bit & 1:
            before = f"-{bit % 32}" if bit % 32 else ""
            found.append(f"L{before}" if bit < NEAREST else f"{bit - NEAREST}W" if bit < NEAREST_END else f"L{before}W")
    return found


def format_nths(mask: int) -> list[str]:
    """Return what read_nth reads for the bits above the weekdays."""
    found = []
    for bit in range(NTH, mask.bit_length()):
        if mask >> bit & 1:
            day, nth = divmod(bit - NTH, 6)
            found.append(f"{day}#{nth or 'L'}")
    return found


@lru_cache(maxsize=4096)
def days_of_year(days: int, months: int, weekdays: int, *, either: bool, leap: bool, opens: int) -> int:
    """Return the matching days of a year as bits, bit 0 for 1 January, which is weekday `opens` (0: Sunday)."""
    dates = of_week = shown = begins = 0
    plain = weekdays & WEEKDAYS
    week = (plain >> opens | plain << 7 - opens) & WEEKDAYS
    for month, length in enumerate(_MONTH_DAYS[leap], 1):
        if months >> month & 1:
            whole = (1 << length) - 1
            first = (opens + begins) % 7
            dates |= (_dates_of(days, length, first) & whole) << begins
            shown |= whole << begins
            if weekdays >> NTH:
                of_week |= (_nths_of(weekdays >> NTH, length, first) & whole) << begins
        begins += length
    of_week |= week * _WEEKS & shown
    return dates | of_week if either else dates & of_week


def _dates_of(days: int, length: int, first: int) -> int:
    """Return the matching dates of a month as bits, bit 0 for the 1st, which is weekday `first`."""
    found = days >> 1 & 0x7FFFFFFF
    if days >> FROM_END:
        for before in range(31):
            if days >> FROM_END + before & 1 and before < length:
                found |= 1 << length - 1 - before
            if days >> NEAREST + before + 1 & 1 and before < length:
                found |= 1 << _nearest_weekday(before, length, first)
            if days >> NEAREST_END + before & 1 and before < length:
                found |= 1 << _nearest_weekday(length - 1 - before, length, first)
    return found


def _nearest_weekday(day: int, length: int, first: int) -> int:
    """Return the day from Monday to Friday nearest to `day` in the same month; days count from 0."""
    shown = (first + day) % 7
    if shown == 6:
        return day - 1 if day else 2
    if shown == 0:
        return day + 1 if day + 1 < length else day - 2
    return day


def _nths_of(nths: int, length: int, first: int) -> int:
    found = 0
    for weekday in range(7):
        wanted = nths >> weekday * 6 & 0b111111
        earliest = (weekday - first) % 7
        for nth in range(1, 6):
            if wanted >> nth & 1:
                found |= 1 << earliest + 7 * (nth - 1)
        if wanted & 1:
            found |= 1 << earliest + (length - 1 - earliest) // 7 * 7
    return found
