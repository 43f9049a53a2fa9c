"""What a cron expression says that its author, or another scheduler, probably reads in another way.

Never refuses anything: what is wrong is parse_cron's. Who reads what how was tried out, not guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from offbeat.core.recurrences.crondays import read_date
from offbeat.core.recurrences.cronfields import CronFields, parse_cron, shown, split_cron
from offbeat.core.recurrences.cronread import DAY, LAYOUTS, MINUTE, SECOND, WEEKDAY, WEEKDAYS, Field, read_field
from offbeat.core.recurrences.cronseed import is_hashed
from offbeat.errors import Problem, Severity

_PASTED = 200  # characters of an expression in a fix


def warnings_of(expression: str, seed: str) -> Iterator[Problem]:
    """Yield a warning for each step, range and pair of fields that works, but probably not as its author thinks.

    Raises: ScheduleError where parse_cron does.
    """
    fields = parse_cron(expression, seed=seed)
    parts = split_cron(expression)
    head = f'cron "{shown(" ".join(parts))}":'
    for index, part in enumerate(parts):
        for item in part.removeprefix("+").split(","):
            if not is_hashed(item) or item[:3].lower() in WEEKDAYS:
                yield from _item_warnings(head, parts, index, item)
    yield from _quartz_warning(head, parts)
    yield from _both_days_warning(head, parts, fields)


def _item_warnings(head: str, parts: list[str], index: int, item: str) -> Iterator[Problem]:
    field = LAYOUTS[len(parts)][index]
    yield from _step_warning(head, parts, index, item)
    first, dash, last = item.partition("/")[0].partition("-")
    if dash and first == last and first.isalnum() and "L" not in first.upper():
        why = f"croniter reads a range of one value as the whole range, every {field.name}"
        yield warning("S157", f"{head} {field.name} {shown(item)} is {shown(first)} alone", why, f'write "{first}"')
    if field is DAY and (date := read_date(item)) is not None and date.bit_length() - 1 in (93, 94, 95):
        number = date.bit_length() - 65
        what = f"{head} {field.name} {shown(item)} is not due in a month without a {number}{'st' if number == 31 else 'th'}"
        why = "other schedulers take the last weekday of such a month"
        yield warning("S156", what, why, 'write "LW" for the last weekday of every month')


def _step_warning(head: str, parts: list[str], index: int, item: str) -> Iterator[Problem]:
    field = LAYOUTS[len(parts)][index]
    body, slash, text = item.partition("/")
    if not slash or item == "?":
        return
    step = int(text)
    mask = read_field(field, item)
    values = [value for value in range(field.low, field.top + 1) if mask >> value & 1]
    if step > 1 and len(values) == 1:
        why = "the step is larger than the range, so only the first value is left"
        fix = f'write {values[0]} in place of "{shown(item)}"'
        yield warning("S152", f"{head} {field.name} {shown(item)} means {values[0]} and nothing else", why, fix)
        return
    if body != "*" or not field.period or (field.top - field.low + 1) % step == 0:
        return
    unit = "day" if field in (DAY, WEEKDAY) else field.name
    alone = all(other in ("*", "?") for place, other in enumerate(parts) if place > index)
    fix = f'write "{",".join(map(str, values))}" if that is what you mean'
    if field.unit and alone:
        fix = f'use every = "{step}{field.unit}"'
    why = f"the step starts again with each {field.period}, which {step} does not divide"
    yield warning("S151", f"{head} {field.name} {shown(item)} is {_listed(field, values)}, not every {step} {unit}s", why, fix)


def _quartz_warning(head: str, parts: list[str]) -> Iterator[Problem]:
    """Six or seven fields with a `?` come from Quartz, where the numbers of the days of the week are others."""
    if len(parts) == 5 or "?" not in (parts[3], parts[5]):
        return
    text = parts[5]
    days = [item.partition("#")[0].partition("/")[0].rstrip("lL") for item in text.removeprefix("+").split(",")]
    numbers = [int(number) for day in days for number in day.split("-") if number.isdigit()]
    if not numbers:
        return
    here, there = (WEEKDAYS[number % 7] for number in (numbers[0], numbers[0] + 6))
    names = [_in_names(text, back) for back in (0, 6)]
    what = f"{head} day-of-week {shown(text)} counts from sun = 0, so {numbers[0]} is {here}"
    why = f"Quartz, which this looks like, counts from sun = 1 and reads {numbers[0]} as {there}"
    yield warning("S155", what, why, f'write names, which are the same everywhere: "{names[0]}" or "{names[1]}"')


def _in_names(text: str, back: int) -> str:
    """Return a day-of-week field with names in place of its numbers, from which so many days are counted on."""
    return re.sub(r"(?<![#/\d])\d", lambda found: WEEKDAYS[(int(found[0]) + back) % 7], text)


def _both_days_warning(head: str, parts: list[str], fields: CronFields) -> Iterator[Problem]:
    if fields.days & DAY.values == DAY.values or fields.weekdays & WEEKDAY.values == WEEKDAY.values:
        return
    start = len(parts) != 5
    day, weekday = 2 + start, 4 + start
    without = [" ".join(["*" if place == index else part for place, part in enumerate(parts)]) for index in (weekday, day)]
    short = max(map(len, without)) < _PASTED
    fix = f'leave one out: "{without[0]}" or "{without[1].replace("+", "")}"' if short else "make one of them *"
    head = f"{head} both day fields are restricted"
    if fields.either:
        both = " ".join([*parts[:weekday], f"+{parts[weekday]}", *parts[weekday + 1 :]])
        why = "most people mean days that match both, and celery and APScheduler want both; cron needs only one"
        fix = f'{fix}; for both: "{both}"' if short else f"{fix}, or put a + before day-of-week"
        yield warning("S154", f"{head}: it is due on a day that matches either of them", why, fix)
    elif not parts[weekday].startswith("+"):
        why = "without the leading * it would be enough that one of them matches, and many schedulers read it so"
        yield warning("S154", f"{head}, and one starts with *: a day must match both of them", why, fix)


def _listed(field: Field, values: list[int]) -> str:
    if field in (SECOND, MINUTE):
        words = [f":{value:02}" for value in values]
    else:
        words = [field.names[value - field.low] if field.names else str(value) for value in values]
    if len(words) > 4:
        return f"{', '.join(words[:3])} ... {words[-1]}"
    return " and ".join([", ".join(words[:-1]), words[-1]])


def never_due(expression: str) -> Problem:
    """Return the warning that no date of an expression ever comes."""
    parts = split_cron(expression)
    start = len(parts) != 5
    year = "" if len(parts) < 7 else " of its years"
    what = f'cron "{shown(" ".join(parts))}": no month{year} has such a day, so it is never due'
    why = "the entry is loaded, and nothing will ever be sent; cronsim and celery refuse such a date"
    parts[2 + start] = "28"
    parts[4 + start] = "*"
    if len(parts) == 7:
        parts[6] = "*"
    better = " ".join(parts)
    fix = f'use a day that comes, for example "{better}"' if len(better) <= _PASTED else "use a day that comes"
    return warning("S153", what, why, fix)


def warning(code: str, what: str, why: str, fix: str) -> Problem:
    """Return a problem that stops nothing."""
    return Problem(code=code, what=what, why=why, fix=fix, severity=Severity.WARNING)
