"""Cron expressions of five, six and seven fields, and nicknames: text to sets of values and back.

Never works out a due time. Its authority is the Open Cron Pattern Specification; docs/adr/0003 lists where Debian's cron wins.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from offbeat.core.recurrences.cronread import (
    DAY,
    FIELDS,
    HOUR,
    LAYOUTS,
    MINUTE,
    MONTH,
    SECOND,
    WEEKDAY,
    YEAR,
    Field,
    Unreadable,
    format_field,
    read_field,
    resolved_field,
    shown,
)
from offbeat.core.recurrences.durations import parse_duration
from offbeat.errors import Problem, ScheduleError

LONGEST = 4096  # characters of an expression
_PASTED = 200  # characters of a fix
_MENDINGS = 8  # of one field, one after the other

NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
    "@minutely": "* * * * *",
}
_ODD_NICKNAMES = {  # of other programs
    "@secondly": "* * * * * *",
    "@every_second": "* * * * * *",
    "@every_minute": "* * * * *",
    "@quarterly": "0 0 1 1,4,7,10 *",
    "@semiannually": "0 0 1 1,7 *",
    "@weekdays": "0 0 * * 1-5",
    "@weekends": "0 0 * * 0,6",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CronFields:
    """What an expression says. Each set is an int with bit v set for value v; bit 0 of `weekdays` is Sunday.

    days, weekdays: above their plain values, what crondays reads. years: 0 for every year. wildcard: the minute or hour field
    starts with `*`, which decides about daylight saving. either: a day matches if one of its two fields does, else both must.
    """

    seconds: int
    minutes: int
    hours: int
    days: int
    months: int
    weekdays: int
    years: int
    wildcard: bool
    either: bool

    @property
    def text(self) -> str:
        """The canonical text, as format_cron writes it; reads back to equal fields."""
        return format_cron(self)


@lru_cache(maxsize=2048)
def parse_cron(expression: str, *, seed: str = "") -> CronFields:
    """Return what an expression of five, six (seconds first) or seven fields (and a year last) or a nickname says.

    seed: what H and ~ are resolved by; an entry's name.
    Raises: ScheduleError with one Problem for each field that is wrong (S103), or one about the whole (S101, S102, S120).

    >>> parse_cron("30  4 * * MON").text
    '30 4 * * 1'
    >>> parse_cron("H H * * *", seed="nightly").text
    '20 12 * * *'
    >>> parse_cron("0 25 * * *")
    Traceback (most recent call last):
    offbeat.errors.ScheduleError: cron "0 25 * * *": hour 25 is outside 0-23 [S103]
      why: no due time can be worked out from it
      fix: use an hour from 0 to 23
    """
    parts = split_cron(expression)
    sets: dict[Field, int] = {SECOND: 1, YEAR: 0}
    starred: dict[Field, bool] = {}
    also = False
    hard: list[tuple[Field, str]] = []  # to be read with care
    for place, text in zip(LAYOUTS[len(parts)], parts, strict=True):
        if text == "*":
            starred[place], sets[place] = True, place.values
        elif len(text) < 3 and text.isdigit() and place.low <= (value := int(text)) <= place.top:
            starred[place], sets[place] = False, 1 << value
        else:
            if text[0] == "+" and place is WEEKDAY and text[1:2] not in ("", "+"):
                also, text = True, text[1:]
            starred[place] = text[0] in "*?"
            hard.append((place, text))
    if hard:
        _read_hard(parts, hard, seed, sets)
    if sets[YEAR] == YEAR.values and starred[YEAR]:
        sets[YEAR] = 0
    return CronFields(
        seconds=sets[SECOND],
        minutes=sets[MINUTE],
        hours=sets[HOUR],
        days=sets[DAY],
        months=sets[MONTH],
        weekdays=sets[WEEKDAY],
        years=sets[YEAR],
        wildcard=starred[MINUTE] or starred[HOUR],
        either=not (also or starred[DAY] or starred[WEEKDAY]),
    )


def _read_hard(parts: list[str], hard: list[tuple[Field, str]], seed: str, sets: dict[Field, int]) -> None:
    """Read the fields that are no star and no number into `sets`. Raises: ScheduleError with a problem for each wrong one."""
    wrong: dict[Field, Unreadable] = {}
    for place, text in hard:
        try:
            hashes = "~" in text or "H" in text or "h" in text
            sets[place] = read_field(place, resolved_field(place, text, seed) if hashes else text)
        except Unreadable as error:
            wrong[place] = error
    if wrong:
        mended = {place: _mended(place, error.replacement) for place, error in wrong.items()}
        raise ScheduleError(*(_field_problem(parts, place, error, mended) for place, error in wrong.items()))


def _mended(field: Field, text: str) -> str:
    """Return what a field should say, once everything else in it is mended too; "" where nobody can know."""
    for _ in range(_MENDINGS if text else 0):
        try:
            read_field(field, text)
        except Unreadable as wrong:
            text = wrong.replacement
        else:
            return text
    return ""


def _stars(fields: CronFields) -> int:
    """Return the fields to write with a `*`, bit 0 for the second, so that equal schedules get equal texts.

    At the minute and the hour one is enough, in the day fields, too; where none is natural there, minute, hour or a + have to
    say so. Elsewhere what the field holds decides, but for the years: all that can be written are not every year.
    """
    stars = _is_stepped(SECOND, fields.seconds) | _is_stepped(MONTH, fields.months) << 4
    if fields.years != YEAR.values:
        stars |= _is_stepped(YEAR, fields.years) << 6
    if fields.wildcard:
        natural = _is_stepped(MINUTE, fields.minutes) << 1 | _is_stepped(HOUR, fields.hours) << 2
        stars |= natural or (0b010 if fields.minutes & 1 else 0b100)
    if not fields.either:
        stars |= _is_stepped(DAY, fields.days) << 3 | _is_stepped(WEEKDAY, fields.weekdays) << 5
    return stars


@lru_cache(maxsize=1024)
def _is_stepped(field: Field, mask: int) -> bool:
    """Return whether the values are all those of `*`, or of `*/2` and so on, and more than one."""
    values = range(field.low, field.top + 1)
    rest = mask >> field.low + 1
    step = (rest & -rest).bit_length()
    return step > 0 and mask == sum(1 << value for value in values[::step])


@lru_cache(maxsize=2048)
def format_cron(fields: CronFields) -> str:
    """Return the canonical text of what an expression says: 5 fields, 6 where seconds matter, 7 where years do.

    >>> format_cron(parse_cron("0 0,30 9-17/1 ? * +MON-FRI *"))
    '0,30 9-17 * * 1-5'
    """
    stars = _stars(fields)
    sets = (fields.seconds, fields.minutes, fields.hours, fields.days, fields.months, fields.weekdays, fields.years)
    parts = [
        format_field(each, mask, starred=stars >> index & 1 == 1) if mask else ""
        for index, (each, mask) in enumerate(zip(LAYOUTS[7], sets, strict=True))
    ]
    if not fields.either and not stars & 0b101000:
        parts[5] = f"+{parts[5]}"
    if fields.years:
        return " ".join(parts)
    return " ".join(parts[0 if fields.seconds != 1 else 1 : 6])


def split_cron(expression: str) -> list[str]:
    """Return the five, six or seven fields of an expression; a nickname as the fields it stands for.

    Raises: ScheduleError with one problem about the whole.
    """
    if len(expression) > LONGEST:
        raise _whole(expression, "S102", f"it has more than {LONGEST} characters", "shorten it, or make several entries of it")
    text = expression.strip(" \t\r\n")
    if not (text.isascii() and (text.isprintable() or text.replace("\t", " ").isprintable())):
        odd = next(c for c in text if c != "\t" and not (c.isascii() and c.isprintable()))
        fix = "use 0-9, a-z, spaces and * , - / ? # + ~ ( ) only"
        raise _whole(expression, "S102", f"{ascii(odd)} is not a character of cron", fix)
    if text.startswith("@"):
        return _nickname(text).split()
    if text.startswith("cron(") and text.endswith(")"):
        bare = text[5:-1].strip()
        better = next((each for each in (bare, f"0 {bare}") if len(each) <= _PASTED and _is_read(each)), "0 12 * * *")
        raise _whole(text, "S101", "cron( ) around it is Amazon's, and no part of cron", f'take cron( ) off: "{better}"')
    parts = text.split()
    if len(parts) == 6 and "?" in (parts[2], parts[4]):
        better = " ".join(["0", *parts])
        better = better if len(better) <= _PASTED and _is_read(better) else "0 0 12 * * ? *"
        what = "it looks like the six fields of Amazon, which begin with the minute and end with the year"
        raise _whole(text, "S101", what, f'put the second first: "{better}"')
    if len(parts) not in LAYOUTS:
        what = f"it has {len(parts)} fields, not the 5 of minute hour day-of-month month day-of-week"
        missing = " ".join((parts + ["*"] * 5)[:5])
        missing = missing if parts and len(missing) <= _PASTED and _is_read(missing) else "0 * * * *"
        raise _whole(text, "S101", what, f'write 5 fields (6: second first, 7: year last), for example "{missing}"')
    return parts


def _is_read(expression: str) -> bool:
    try:
        parse_cron(expression)
    except ScheduleError:
        return False
    return True


def _nickname(text: str) -> str:
    word, *rest = text.split()
    if text in NICKNAMES:
        return NICKNAMES[text]
    lower = word.lower()
    if lower in NICKNAMES and rest:
        raise _whole(text, "S101", f"{lower} stands alone, without fields", f'write "{lower}"')
    if lower in NICKNAMES:
        raise _whole(text, "S101", f"nicknames are lower case, and {shown(word)} is not", f'write "{lower}"')
    if lower == "@every":
        span = text[6:].strip() if _is_span(text[6:]) else "45m"
        raise _whole(text, "S101", "@every is an interval, not a matter of fields", f'use every = "{span}" in place of cron')
    if lower == "@reboot":
        what = "@reboot names no time: a schedule has no start of a machine to wait for"
        raise _whole(text, "S120", what, "start it where the machine is started, or name a time")
    better = _ODD_NICKNAMES.get(lower, NICKNAMES["@daily"])
    raise _whole(text, "S101", f"{shown(word)} is not a nickname of cron", f'write fields, for example "{better}"')


def _is_span(text: str) -> bool:
    try:
        return bool(parse_duration(text))
    except ScheduleError:
        return False


def _whole(expression: str, code: str, what: str, fix: str) -> ScheduleError:
    why = "no due time can be worked out from it"
    return ScheduleError(Problem(code=code, what=f'cron "{shown(expression)}": {what}', why=why, fix=fix))


def _field_problem(parts: list[str], place: Field, wrong: Unreadable, mended: dict[Field, str]) -> Problem:
    """Return the problem of one field; its fix is the whole expression where every wrong field can be mended."""
    fix = wrong.fix
    if wrong.replacement:
        better = [mended.get(each, text) for each, text in zip(LAYOUTS[len(parts)], parts, strict=True)]
        if WEEKDAY in mended and parts[LAYOUTS[len(parts)].index(WEEKDAY)].startswith("+"):
            better[LAYOUTS[len(parts)].index(WEEKDAY)] = f"+{mended[WEEKDAY]}"
        whole = " ".join(better)
        fix = f"use numbers from {place.low} to {place.high}, rising"
        if all(mended.values()) and len(whole) <= _PASTED:
            fix = f'write "{whole}"'
        elif mended[place] and len(mended[place]) <= _PASTED:
            fix = f"make the {place.name} {mended[place]}"
    what = f'cron "{shown(" ".join(parts))}": {wrong.what}'
    return Problem(code="S103", what=what, why="no due time can be worked out from it", fix=fix)


__all__ = ["DAY", "FIELDS", "LONGEST", "NICKNAMES", "CronFields", "Field", "format_cron", "parse_cron", "shown", "split_cron"]
