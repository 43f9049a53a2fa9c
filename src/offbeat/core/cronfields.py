"""Five-field cron expressions: text to sets of values and back, and what their author may not have meant.

Never works out a due time. Follows Vixie cron as Debian ships it; the fixes it shows can be pasted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from offbeat.errors import Problem, ScheduleError, Severity

LONGEST = 4096  # characters of an expression
_SHOWN = 40  # characters of somebody's text in a problem
_PASTED = 200  # characters of a fix

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One position of an expression. low..high are the numbers one may write, low..top the different values they mean."""

    name: str
    low: int
    high: int
    top: int
    names: tuple[str, ...] = ()
    later: str = r"(?!)"  # items of the full dialect, which this version refuses by name
    unit: str = ""  # the unit of `every` that its steps seem to mean


FIELDS = (
    Field(name="minute", low=0, high=59, top=59, unit="m"),
    Field(name="hour", low=0, high=23, top=23, unit="h"),
    Field(name="day-of-month", low=1, high=31, top=31, later=r"\?|L|LW|L-\d+W?|WL|\d{1,2}W", unit="d"),
    Field(name="month", low=1, high=12, top=12, names=MONTHS),
    Field(name="day-of-week", low=0, high=7, top=6, names=WEEKDAYS, later=r"\?|\+.*|[A-Z0-9]+#[\dL]|([A-Z]{3}|\d)?L"),
)
_ANY_FIELD_LATER = r"H(\(.*\))?(/\d+)?|.*~.*"


@dataclass(frozen=True, slots=True, kw_only=True)
class CronFields:
    """What an expression says. Each set is an int with bit v set for value v; bit 0 of `weekdays` is Sunday.

    wildcard: the minute or hour field starts with `*`, which decides about daylight saving. either: a day matches if one of
    its two fields does, else both must. text: canonical, reads back to an equal CronFields.
    """

    minutes: int
    hours: int
    days: int
    months: int
    weekdays: int
    wildcard: bool
    either: bool
    text: str


class _Unreadable(Exception):
    """One field cannot be read. replacement: what the field should say, "" where nobody can know."""

    def __init__(self, what: str, *, fix: str = "", replacement: str = "", code: str = "S103") -> None:
        super().__init__(what)
        self.what, self.fix, self.replacement, self.code = what, fix, replacement, code


def parse_cron(expression: str) -> CronFields:
    """Return what a five-field expression says.

    Raises: ScheduleError with one Problem for each field that is wrong (S103), or one about the whole (S101, S102, S120).

    >>> parse_cron("30  4 * * MON").text
    '30 4 * * 1'
    >>> parse_cron("0 25 * * *")
    Traceback (most recent call last):
    offbeat.errors.ScheduleError: cron "0 25 * * *": hour 25 is outside 0-23 [S103]
      why: no due time can be worked out from it
      fix: use an hour from 0 to 23
    """
    parts = _split(expression)
    masks: list[int] = []
    texts: list[str] = []
    problems: list[Problem] = []
    for index, part in enumerate(parts):
        try:
            mask, text = _read_field(index, part)
        except _Unreadable as wrong:
            problems.append(_field_problem(parts, index, wrong))
        else:
            masks.append(mask)
            texts.append(text)
    if problems:
        raise ScheduleError(*problems)
    starred = [text[0] == "*" for text in texts]
    return CronFields(
        minutes=masks[0],
        hours=masks[1],
        days=masks[2],
        months=masks[3],
        weekdays=masks[4],
        wildcard=starred[0] or starred[1],
        either=not (starred[2] or starred[4]),
        text=" ".join(texts),
    )


def _split(expression: str) -> list[str]:
    if len(expression) > LONGEST:
        raise _whole(expression, "S102", f"it has more than {LONGEST} characters", "shorten it, or make several entries of it")
    text = expression.strip(" \t\r\n")
    if not text.isascii() or not text.replace("\t", " ").isprintable():
        odd = next(c for c in text if c != "\t" and not (c.isascii() and c.isprintable()))
        raise _whole(expression, "S102", f"{ascii(odd)} is not a character of cron", "use 0-9, a-z, spaces and * , - / only")
    if text.startswith("@"):
        raise _nickname(text)
    parts = text.split()
    if len(parts) in (6, 7):
        years = " and a year last" if len(parts) == 7 else ""
        what = f"{len(parts)} fields (seconds first{years}) are not yet supported"
        raise _whole(text, "S120", what, f'leave the seconds out: "{" ".join(parts[1:6])}"')
    if len(parts) != 5:
        what = f"it has {len(parts)} fields, not the 5 of minute hour day-of-month month day-of-week"
        missing = " ".join((parts + ["*"] * 5)[:5]) if parts else "0 * * * *"
        raise _whole(text, "S101", what, f'write 5 fields, for example "{shown(missing)}"')
    return parts


def _nickname(text: str) -> ScheduleError:
    word = text.split()[0].lower()
    if word in NICKNAMES and len(text.split()) == 1:
        return _whole(text, "S120", f"nicknames like {word} are not yet supported", f'write "{NICKNAMES[word]}"')
    if word == "@every":
        span = shown(text[6:].strip()) or "45m"
        return _whole(text, "S120", "@every is not yet supported inside cron", f'use every = "{span}" in place of cron')
    if word == "@reboot":
        return _whole(text, "S120", "@reboot is not supported: a schedule has no boot", "start it where the machine is started")
    return _whole(
        text, "S101", f"{shown(word)} is not a nickname of cron", f'write 5 fields, for example "{NICKNAMES["@daily"]}"'
    )


def _whole(expression: str, code: str, what: str, fix: str) -> ScheduleError:
    why = "no due time can be worked out from it"
    return ScheduleError(Problem(code=code, what=f'cron "{shown(expression)}": {what}', why=why, fix=fix))


def _field_problem(parts: list[str], index: int, wrong: _Unreadable) -> Problem:
    fix = wrong.fix
    if wrong.replacement:
        better = " ".join([*parts[:index], wrong.replacement, *parts[index + 1 :]])
        fix = (
            f'write "{better}"'
            if len(better) <= _PASTED
            else f"use numbers from {FIELDS[index].low} to {FIELDS[index].high}, rising"
        )
    return Problem(
        code=wrong.code,
        what=f'cron "{shown(" ".join(parts))}": {wrong.what}',
        why="no due time can be worked out from it",
        fix=fix,
    )


def shown(text: str) -> str:
    """Return somebody's text as a problem shows it: printable, and not too long."""
    printable = ascii(text)[1:-1]
    return printable if len(printable) <= _SHOWN else printable[: _SHOWN - 3] + "..."


@lru_cache(maxsize=2048)
def _read_field(index: int, text: str) -> tuple[int, str]:
    """Return the set of values and the canonical text of one field; the text starts with `*` iff the field does."""
    field = FIELDS[index]
    mask = 0
    for item in text.split(","):
        for value in _values(field, item, text):
            mask |= 1 << value
    if not text.startswith("*"):
        return mask, _format(mask)
    step = int(text.partition(",")[0].partition("/")[2] or 1)
    covered = sum(1 << value for value in range(field.low, field.top + 1, step))
    if mask == _all(field):
        return mask, "*"
    step = min(step, field.top - field.low + 1)
    return mask, ",".join(filter(None, (f"*/{step}", _format(mask & ~covered))))


def _all(field: Field) -> int:
    return (1 << field.top + 1) - (1 << field.low)


def _values(field: Field, item: str, text: str) -> Iterator[int]:
    body, slash, step_text = item.partition("/")
    step = _step(field, step_text, item) if slash else 1
    if body == "*":
        yield from range(field.low, field.top + 1, step)
        return
    first_text, dash, last_text = body.partition("-")
    first = _value(field, first_text, item)
    last = _value(field, last_text, item) if dash else first
    if slash and not dash:
        what = f'{field.name} "{shown(item)}" has a step without a range'
        raise _Unreadable(what, replacement=_replaced(text, item, f"{body}-{max(field.top, first)}/{step_text}"))
    if first > last:
        what = f'{field.name} range "{shown(item)}" ends before it begins'
        raise _Unreadable(what, replacement=_replaced(text, item, _unwrapped(field, first, last, step)))
    for value in range(first, last + 1, step):
        yield value % 7 if field.high == 7 else value


def _replaced(text: str, item: str, better: str) -> str:
    return ",".join(better if each == item else each for each in text.split(","))


def _unwrapped(field: Field, first: int, last: int, step: int) -> str:
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
        _refuse_later(field, item)
        raise _Unreadable(
            f'{field.name} "{shown(item)}" has no number after the "/"', fix="write the step as a number, as in */15"
        )
    if len(text) > 9 or not int(text):
        what = f'{field.name} step "{shown(text)}" is not a step'
        raise _Unreadable(what, fix=f"use a step from 1 to {field.high - field.low}, as in */{min(field.top, 15)}")
    return int(text)


def _value(field: Field, text: str, item: str) -> int:
    if _is_number(text):
        if len(text) <= 9 and field.low <= int(text) <= field.high:
            return int(text)
        article = "an" if field.name == "hour" else "a"
        what = f"{field.name} {shown(text)} is outside {field.low}-{field.high}"
        raise _Unreadable(what, fix=f"use {article} {field.name} from {field.low} to {field.high}")
    name = text.lower()
    if name in field.names:
        return field.names.index(name) + field.low
    _refuse_later(field, item)
    if name.isalpha() and name[:3] in field.names:
        raise _Unreadable(
            f'{field.name} "{shown(text)}" is not a name of cron', fix=f'use the first three letters, "{name[:3]}"'
        )
    words = f" or a name from {field.names[0]} to {field.names[-1]}" if field.names else ""
    what = f'{field.name} "{shown(item)}" cannot be read' if item else f"{field.name} has an empty place in its list"
    raise _Unreadable(what, fix=f"use numbers from {field.low} to {field.high}{words}, lists 1,2, ranges 1-5, steps */2")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _refuse_later(field: Field, item: str) -> None:
    if len(item) <= _SHOWN and re.fullmatch(f"{field.later}|{_ANY_FIELD_LATER}", item.upper()):
        what = f'{field.name} "{shown(item)}" is not yet supported (nor are L, W, #, ?, +, H and ~ elsewhere)'
        raise _Unreadable(
            what, fix="use numbers, names, lists, ranges and steps", replacement="*" if item == "?" else "", code="S120"
        )


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


def warnings_of(expression: str) -> Iterator[Problem]:
    """Yield a warning for each step and pair of fields that works, but probably not as its author thinks.

    Raises: ScheduleError where parse_cron does.
    """
    fields = parse_cron(expression)
    parts = expression.split()
    for index, part in enumerate(parts):
        for item in part.split(","):
            if warning := _step_warning(parts, index, item):
                yield warning
    head = f'cron "{shown(" ".join(parts))}": both day fields are restricted'
    restricted = fields.days != _all(FIELDS[2]) and fields.weekdays != _all(FIELDS[4])
    if not restricted:
        return
    fix = f'leave one out: "{" ".join([*parts[:4], "*"])}" or "{" ".join([*parts[:2], "*", *parts[3:]])}"'
    if fields.either:
        why = "most people mean days that match both; cron needs only one"
        yield _warning("S154", f"{head}: it is due on a day that matches either of them", why, fix)
    else:
        why = "without the leading * it would be enough that one of them matches"
        yield _warning("S154", f"{head}, and one starts with *: a day must match both of them", why, fix)


def _step_warning(parts: list[str], index: int, item: str) -> Problem | None:
    field = FIELDS[index]
    body, _, text = item.partition("/")
    step = int(text or 1)
    mask, _ = _read_field(index, item)
    values = [value for value in range(field.top + 1) if mask >> value & 1]
    head = f'cron "{shown(" ".join(parts))}": {field.name} {shown(item)}'
    if step > 1 and len(values) == 1:
        why = "the step is larger than the range, so only the first value is left"
        return _warning(
            "S152", f"{head} means {values[0]} and nothing else", why, f'write {values[0]} in place of "{shown(item)}"'
        )
    if body != "*" or (field.top - field.low + 1) % step == 0:
        return None
    alone = all(other == "*" for place, other in enumerate(parts) if place > index)
    spelled = ",".join(map(str, values))
    listed = _listed(field, values)
    fix = f'use every = "{step}{field.unit}"' if field.unit and alone else f'write "{spelled}" if that is what you mean'
    why = f"the step starts again with each {_PERIODS[index][1]}, which {step} does not divide"
    return _warning("S151", f"{head} is {listed}, not every {step} {_PERIODS[index][0]}s", why, fix)


_PERIODS = (("minute", "hour"), ("hour", "day"), ("day", "month"), ("month", "year"), ("day", "week"))


def _listed(field: Field, values: list[int]) -> str:
    words = [
        f":{value:02}" if field.name == "minute" else field.names[value - field.low] if field.names else str(value)
        for value in values
    ]
    if len(words) > 4:
        return f"{', '.join(words[:3])} ... {words[-1]}"
    return " and ".join([", ".join(words[:-1]), words[-1]])


def _warning(code: str, what: str, why: str, fix: str) -> Problem:
    return Problem(code=code, what=what, why=why, fix=fix, severity=Severity.WARNING)
