"""One field of a cron expression: text to a set of values and back to its canonical text.

Never knows its neighbours. Follows Debian's cron and the Open Cron Pattern Specification; the fixes it gives can be pasted.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from functools import lru_cache

from offbeat.core.recurrences.crondays import DATES, WEEKDAYS_NEAREST, format_dates, format_nths, read_date, read_nth
from offbeat.core.recurrences.cronseed import Unresolvable, is_hashed, resolve

SHOWN = 40  # characters of somebody's text in a problem

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Field:
    """One position of an expression. low..high are the numbers one may write, low..top the different values they mean."""

    name: str
    low: int
    high: int
    top: int
    names: tuple[str, ...] = ()
    hash_top: int = 0  # the highest number that a bare H takes; 0: no H and no ~ here
    unit: str = ""  # the unit of `every` that its steps seem to mean
    period: str = ""  # what its steps start again with; "" where they do not
    values: int = dataclasses.field(init=False)  # all plain values, as bits

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", (1 << self.top + 1) - (1 << self.low))


SECOND = Field(name="second", low=0, high=59, top=59, hash_top=59, unit="s", period="minute")
MINUTE = Field(name="minute", low=0, high=59, top=59, hash_top=59, unit="m", period="hour")
HOUR = Field(name="hour", low=0, high=23, top=23, hash_top=23, unit="h", period="day")
DAY = Field(name="day-of-month", low=1, high=31, top=31, hash_top=28, unit="d", period="month")
MONTH = Field(name="month", low=1, high=12, top=12, hash_top=12, names=MONTHS, period="year")
WEEKDAY = Field(name="day-of-week", low=0, high=7, top=6, hash_top=6, names=WEEKDAYS, period="week")
YEAR = Field(name="year", low=1970, high=2199, top=2199)
FIELDS = (MINUTE, HOUR, DAY, MONTH, WEEKDAY)
LAYOUTS = {5: FIELDS, 6: (SECOND, *FIELDS), 7: (SECOND, *FIELDS, YEAR)}


class Unreadable(Exception):
    """One field cannot be read. replacement: what the field should say, "" where nobody can know."""

    def __init__(self, what: str, *, fix: str = "", replacement: str = "") -> None:
        super().__init__(what)
        self.what, self.fix, self.replacement = what, fix, replacement


def shown(text: str) -> str:
    """Return somebody's text as a problem shows it: printable, and not too long."""
    printable = ascii(text)[1:-1]
    return printable if len(printable) <= SHOWN else printable[: SHOWN - 3] + "..."


def resolved_field(field: Field, text: str, seed: str) -> str:
    """Return the text of a field with every H and ~ resolved by `seed`. Raises: Unreadable."""
    items = text.split(",")
    for place, item in enumerate(items):
        if is_hashed(item) and item[:3].lower() not in field.names:
            if not field.hash_top:
                raise Unreadable(f'{field.name} "{shown(item)}": H and ~ are not for years', fix="write the years as numbers")
            try:
                items[place] = resolve(item, field.name, place, seed, (field.low, field.top, field.hash_top))
            except Unresolvable as wrong:
                raise Unreadable(f'{field.name} "{shown(item)}" {wrong.what}', fix=wrong.fix) from None
    return ",".join(items)


@lru_cache(maxsize=4096)
def read_field(field: Field, text: str) -> int:
    """Return the set of values of one field. Raises: Unreadable.

    >>> read_field(MINUTE, "0,30") == 1 | 1 << 30
    True
    """
    if text == "*" or text == "?" and field in (DAY, WEEKDAY):
        return field.values
    if text == "?":
        raise Unreadable(f'{field.name} "?" is for the two day fields only', replacement="*")
    if "," not in text:
        return _item(field, text, text)
    mask = nearest = plain = 0
    for item in text.split(","):
        bits = _item(field, item, text)
        mask |= bits
        if field is DAY:
            nearest |= bits & WEEKDAYS_NEAREST
            plain |= bits & ~WEEKDAYS_NEAREST
    if nearest and plain:
        what = f'{field.name} "{shown(text)}" has W in a list with other days'
        raise Unreadable(what, fix="make two entries of it; W stands alone, or in a list of W's")
    return mask


def _item(field: Field, item: str, text: str) -> int:
    """Return the bits of one item of a list."""
    if item.isdigit() and len(item) < 5 and field.low <= (value := int(item)) <= field.high:
        return 1 << value if value != 7 or field is not WEEKDAY else 1
    edges = item[:1] + item[-1:]
    if field is DAY and not edges.isdigit() and (bits := read_date(item)) is not None:
        return bits
    if field is WEEKDAY and ("#" in item or edges[-1:] in "lL") and (bits := read_nth(item, WEEKDAYS)) is not None:
        return bits
    values = _values(field, item, text)
    if values.step > 1:
        bits = sum([1 << value for value in values])
    else:
        bits = (1 << values.stop) - (1 << values.start)
    return bits & WEEKDAY.values | 1 if field is WEEKDAY and bits >> 7 else bits


def _values(field: Field, item: str, text: str) -> range:
    """Return the numbers of one item; 7 may be among those of day-of-week."""
    body, slash, step_text = item.partition("/")
    step = _step(field, step_text, item) if slash else 1
    if body == "*":
        return range(field.low, field.top + 1, step)
    first_text, dash, last_text = body.partition("-")
    first = _value(field, first_text, item, text)
    last = _value(field, last_text, item, text) if dash else first
    if slash and not dash:
        what = f'{field.name} "{shown(item)}" has a step without a range'
        raise Unreadable(what, replacement=_replaced(text, item, f"{body}-{max(field.top, first)}/{step_text}"))
    if first > last:
        what = f'{field.name} range "{shown(item)}" ends before it begins'
        raise Unreadable(what, replacement=_replaced(text, item, _unwrapped(field, first, last, step)))
    return range(first, last + 1, step)


def _replaced(text: str, item: str, better: str) -> str:
    return ",".join(better if each == item else each for each in text.split(","))


def _unwrapped(field: Field, first: int, last: int, step: int) -> str:
    if field.high == 7 and first == 7:  # Sunday opens the week as well
        return f"0-{last}" if step == 1 else f"0-{last}/{step}"
    if step > 1:
        size = field.top - field.low + 1
        values = range(first, last + size + 1, step)
        return ",".join(str((value - field.low) % size + field.low) for value in values)
    if field.high == 7 and last == 0:
        return f"{first}-7"
    tail = str(field.top) if first == field.top else f"{first}-{field.top}"
    head = str(field.low) if last == field.low else f"{field.low}-{last}"
    return f"{tail},{head}"


def _step(field: Field, text: str, item: str) -> int:
    if not _is_number(text):
        what = f'{field.name} "{shown(item)}" has no number after the "/"'
        raise Unreadable(what, fix="write the step as a number, as in */15")
    if len(text) > 9 or not int(text):
        what = f'{field.name} step "{shown(text)}" is not a step'
        raise Unreadable(what, fix=f"use a step from 1 to {field.high - field.low}, as in */{min(field.top, 15)}")
    return int(text)


def _value(field: Field, text: str, item: str, whole: str) -> int:
    if _is_number(text):
        if len(text) <= 9 and field.low <= int(text) <= field.high:
            return int(text)
        article = "an" if field.name == "hour" else "a"
        what = f"{field.name} {shown(text)} is outside {field.low}-{field.high}"
        raise Unreadable(what, fix=f"use {article} {field.name} from {field.low} to {field.high}")
    name = text.lower()
    if name in field.names:
        return field.names.index(name) + field.low
    _refuse_modifiers(field, item, whole)
    if name.isalpha() and name[:3] in field.names:
        what = f'{field.name} "{shown(text)}" is not a name of cron'
        raise Unreadable(what, fix=f'use the first three letters, "{name[:3]}"')
    words = f" or a name from {field.names[0]} to {field.names[-1]}" if field.names else ""
    what = f'{field.name} "{shown(item)}" cannot be read' if item else f"{field.name} has an empty place in its list"
    raise Unreadable(what, fix=f"use numbers from {field.low} to {field.high}{words}, lists 1,2, ranges 1-5, steps */2")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


_RANGE_NTH = re.compile(r"([a-z]{3}|[0-7])-([a-z]{3}|[0-7])(l|#[1-5l])", re.ASCII)


def _refuse_modifiers(field: Field, item: str, text: str) -> None:
    """Raise for what is known from other schedulers, and say how to write it here."""
    low = item[:SHOWN].lower()
    if "?" in low:
        raise Unreadable(f'{field.name} "{shown(item)}": ? stands alone, and means *', replacement="*")
    if "+" in low:
        raise Unreadable(f'{field.name} "{shown(item)}": + is only for the start of day-of-week', fix="leave the + out")
    if field is WEEKDAY:
        _refuse_weekday(item, text, low)
    if field is DAY and ("w" in low or "l" in low):
        fix = "use L, L-3 (up to L-30), LW, L-3W or 15W, each for a single day"
        raise Unreadable(f'day-of-month "{shown(item)}" cannot be read', fix=fix)


def _refuse_weekday(item: str, text: str, low: str) -> None:
    if low == "l":
        what = "day-of-week L says no day: Quartz takes it for saturday, others for the last one of the month"
        raise Unreadable(what, replacement=_replaced(text, item, "6"))
    if "w" in low.replace("wed", ""):
        raise Unreadable(f'day-of-week "{shown(item)}": W is for day-of-month', fix="use 1-5 for monday to friday")
    if found := _RANGE_NTH.fullmatch(low):
        _refuse_range_of_nths(item, text, found)
    if "#" in low:
        fix = "use # with 1 to 5, as in fri#2, or #L for the last"
        raise Unreadable(f'day-of-week "{shown(item)}" cannot be read', fix=fix)


def _refuse_range_of_nths(item: str, text: str, found: re.Match[str]) -> None:
    first, last = (WEEKDAYS.index(day) if day in WEEKDAYS else int(day) if day.isdigit() else 9 for day in found.groups()[:2])
    if first <= last < 8:
        nth = "#" + found[3][-1].upper()
        better = ",".join(f"{day}{nth}" for day in range(first, last + 1))
        raise Unreadable(f'day-of-week "{shown(item)}" has # after a range', replacement=_replaced(text, item, better))


def format_field(field: Field, mask: int, *, starred: bool) -> str:
    """Return the canonical text of a set of values. starred: the text has to start with `*`, which the set allows.

    >>> format_field(MINUTE, 1 | 1 << 20 | 1 << 40 | 1 << 7, starred=True)
    '*/20,7'
    """
    plain = mask & field.values
    if starred and plain == field.values:
        return "*"
    parts = []
    if starred:
        values = range(field.low, field.top + 1)
        steps = (sum(1 << value for value in values[::step]) for step in range(2, len(values) + 1))
        step, covered = next((step, bits) for step, bits in enumerate(steps, 2) if bits & ~plain == 0)
        parts.append(f"*/{step}")
        plain &= ~covered
    if plain:
        parts.append(_format(plain))
    if mask != mask & field.values:
        parts += format_dates(mask & ~DATES) if field is DAY else format_nths(mask)
    return ",".join(parts)


def _format(mask: int) -> str:
    values = [value for value in range(mask.bit_length()) if mask >> value & 1]
    gaps = {after - before for before, after in zip(values, values[1:], strict=False)}
    if len(values) > 2 and len(gaps) == 1 and gaps != {1}:
        return f"{values[0]}-{values[-1]}/{gaps.pop()}"
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    return ",".join(_run(first, last) for first, last in runs)


def _run(first: int, last: int) -> str:
    return f"{first}-{last}" if last > first + 1 else ",".join(map(str, range(first, last + 1)))
