"""Cron in words: a resolved cron expression as one English sentence.

Never works out a due time. cron-descriptor says the fields on which it is right; what it gets wrong or has no words for is
said here: steps that do not divide their period, both day fields at once, several special days, times of many hours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise

WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
MOST_TIMES = 8  # that are said one by one
_PLAIN = r"\d+(-\d+)?(,\d+(-\d+)?)*"
_SPECIAL_DAY = r"LW|L(-\d+W?)?|\d+W"
_SPECIAL_WEEKDAY = r"\d(L|#[1-5L])"
_NTH = ("", "first", "second", "third", "fourth", "fifth")


def cron_words(text: str) -> str:
    """Return a resolved expression of 5, 6 (seconds first) or 7 fields (a year last) in words.

    What cannot be put into words is returned as it is.

    >>> cron_words("30 4 * * 1")
    'At 04:30, only on Monday'
    >>> cron_words("*/45 * * * *")
    'At :00 and :45 of every hour'
    >>> cron_words("0 0 13 * 5")
    'At 00:00, on day 13 of the month or on Friday, whichever comes'
    """
    fields = text.split()
    if len(fields) not in (5, 6, 7):
        return f'cron "{text}"'
    seconds = fields.pop(0) if len(fields) > 5 else "0"
    year = fields.pop() if len(fields) > 5 else "*"
    minute, hour, day, month, weekday = fields
    try:
        parts = [_time_words(seconds, minute, hour), _days_words(day, weekday), _month_words(month)]
        parts.append("" if year == "*" else f"only in {listed(_spans(year))}")
    except ValueError:
        return f'cron "{text}"'
    return ", ".join(filter(None, parts))


def listed(words: Iterable[str], last: str = "and") -> str:
    """Return a list as people write it.

    >>> listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"], "or")
    ('a', 'a and b', 'a, b, or c')
    """
    *before, end = words
    if len(before) < 2:
        return f" {last} ".join([*before, end])
    return f"{', '.join(before)}, {last} {end}"


def ordinal(number: int) -> str:
    """Return "1st", "2nd", "11th".

    >>> ordinal(1), ordinal(12), ordinal(23)
    ('1st', '12th', '23rd')
    """
    ending = "th" if 10 < number % 100 < 14 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


@lru_cache(maxsize=512)
def field_values(field: str, low: int, top: int) -> tuple[int, ...]:
    """Return the numbers of a field: `*`, numbers, ranges, steps and lists of them.

    Raises: ValueError for anything else.

    >>> field_values("*/20,5-6", 0, 59)
    (0, 5, 6, 20, 40)
    """
    found: set[int] = set()
    for item in field.split(","):
        body, _, step = item.partition("/")
        first, dash, last = body.partition("-")
        if body == "*":
            found.update(range(low, top + 1, int(step or 1)))
        else:
            end = int(last) if dash else top if step else int(first)
            found.update(range(int(first), end + 1, int(step or 1)))
    return tuple(sorted(found))


@lru_cache(maxsize=512)
def _described(expression: str) -> str:
    """Return what cron-descriptor says."""
    from cron_descriptor import Options, get_description

    return str(get_description(expression, Options(use_24hour_time_format=True, locale_code="en_US")))


def _time_words(seconds: str, minute: str, hour: str) -> str:
    if seconds == "0":
        return _described(f"{minute} {hour} * * *") if _is_right(minute, hour) else _clock_words(minute, hour)
    if minute == hour == "*" and (re.fullmatch(r"\d+|\*", seconds) or _divides(seconds, 60)):
        return _described(f"{seconds} * * * * *")
    at, minutes, hours = field_values(seconds, 0, 59), field_values(minute, 0, 59), field_values(hour, 0, 23)
    if len(at) * len(minutes) * len(hours) <= MOST_TIMES:
        return "At " + listed(f"{h:02}:{m:02}:{s:02}" for h in hours for m in minutes for s in at)
    where = (
        "every minute" if minute == hour == "*" else _clock_words(minute, hour).removeprefix("At ").replace("Every", "every")
    )
    if len(at) == 60:
        return f"Every second of {where}"
    if _divides(seconds, 60):
        return f"Every {seconds[2:]} seconds of {where}"
    if each := _progression(at, "seconds"):
        return f"{each} of {where}"
    return f"At second {listed(span.replace(':', '') for span in _clock_spans(at))} of {where}"


def _is_right(minute: str, hour: str) -> bool:
    """Return whether cron-descriptor says a minute and an hour field as they are meant, and without a detour."""
    if hour != "*" and not re.fullmatch(_PLAIN, hour):
        return False
    if minute.isdigit():
        return bool(re.fullmatch(r"\*|\d+(,\d+)*|\d+-\d+", hour)) and len(hour.split(",")) <= MOST_TIMES
    if minute == "*" or _divides(minute, 60):
        return bool(re.fullmatch(r"\*|\d+|\d+-\d+", hour))
    return hour == "*" and bool(re.fullmatch(_PLAIN, minute)) and len(minute.split(",")) <= MOST_TIMES


def _divides(field: str, size: int) -> bool:
    found = re.fullmatch(r"\*/([1-9]\d?)", field)
    return bool(found) and size % int(field[2:]) == 0


def _clock_words(minute: str, hour: str) -> str:
    minutes, hours = field_values(minute, 0, 59), field_values(hour, 0, 23)
    if len(minutes) * len(hours) <= MOST_TIMES:
        return "At " + listed(f"{h:02}:{m:02}" for h in hours for m in minutes)
    if len(hours) == 24:
        where = "of every hour"
    elif len(hours) == 1:
        where = f"of the hour {hours[0]:02}"
    else:
        where = f"of the hours {listed(f'{span}' for span in _runs(hours))}"
    if len(minutes) == 60:
        return f"Every minute {where}"
    if _divides(minute, 60):
        return f"Every {minute[2:]} minutes {where}"
    if each := _progression(minutes, "minutes"):
        return f"{each} {where}"
    return f"At {listed(_clock_spans(minutes))} {where}"


def _progression(values: Sequence[int], unit: str) -> str:
    """Return "Every 2 minutes from :01 to :59" for many equal steps, else nothing."""
    steps = {later - before for before, later in pairwise(values)}
    if len(values) <= MOST_TIMES or len(steps) != 1 or steps == {1}:
        return ""
    return f"Every {steps.pop()} {unit} from :{values[0]:02} to :{values[-1]:02}"


def _clock_spans(values: Sequence[int]) -> list[str]:
    return [re.sub(r"(\d+)", r":\1", span) for span in _runs(values)]


def _runs(values: Sequence[int]) -> list[str]:
    """Return "04", "06 to 09": three or more in a row as a range."""
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    texts: list[str] = []
    for run in runs:
        texts += [f"{run[0]:02} to {run[-1]:02}"] if len(run) > 2 else [f"{value:02}" for value in run]
    return texts


def _spans(field: str) -> list[str]:
    return [text.lstrip("0") or "0" for text in _runs(field_values(field, 1970, 2199))]


def _days_words(day: str, weekday: str) -> str:
    """Return the words of both day fields; they say how the two are joined."""
    day, weekday = day.replace("?", "*"), weekday.replace("?", "*")
    both = weekday.startswith("+") or day.startswith("*") or weekday.startswith("*")
    weekday = weekday.removeprefix("+")
    dates = "" if _is_all(day, 1, 31) else _date_words(day)
    names = "" if _is_all(weekday, 0, 6) else _weekday_words(weekday)
    if not (dates and names):
        if not both and not (dates and names):
            return ""  # one of the two is every day, and either is enough
        return dates or (f"only {names}" if names.startswith("on ") else names)
    if both:
        return f"{dates}, but only where that is {_weekday_words(weekday, single=True)}"
    return f"{dates} or {names}, whichever comes"


def _is_all(field: str, low: int, top: int) -> bool:
    return not re.search(r"[LW#]", field) and len({v % 7 if top == 6 else v for v in field_values(field, low, top)}) > top - low


def _date_words(day: str) -> str:
    items = day.split(",")
    special = [item for item in items if re.fullmatch(_SPECIAL_DAY, item)]
    if not special:
        if re.fullmatch(_PLAIN, day):
            return _described(f"0 0 {day} * *").removeprefix("At 00:00, ")
        values = field_values(day, 1, 31)
        if len(values) > MOST_TIMES and len({later - before for before, later in pairwise(values)}) == 1:
            step = ordinal(values[1] - values[0]).replace("2nd", "second").replace("3rd", "third")
            return f"on every {step} day of the month from day {values[0]} to {values[-1]}"
        return f"on day {listed(map(str, values))} of the month"
    if day in special and not re.fullmatch(r"L-\d+W", day):
        return _described(f"0 0 {day} * *").removeprefix("At 00:00, ")
    plain = ",".join(item for item in items if item not in special)
    words = [f"day {value}" for value in field_values(plain, 1, 31)] if plain else []
    return f"on {listed([*words, *map(_special_day, special)])} of the month"


def _special_day(item: str) -> str:
    if item == "L":
        return "the last day"
    if item == "LW":
        return "the last weekday"
    if item.endswith("W") and not item.startswith("L"):
        return f"the weekday nearest day {item[:-1]}"
    count = re.sub(r"\D", "", item)
    before = f"the day that is {count} before the last"
    return f"the weekday nearest {before}" if item.endswith("W") else before


def _weekday_words(weekday: str, *, single: bool = False) -> str:
    """Return "on Monday and Friday", "Monday through Friday", "on the second Friday of the month"; single: "a Monday"."""
    items = weekday.split(",")
    special = [item for item in items if re.fullmatch(_SPECIAL_WEEKDAY, item)]
    plain = ",".join(item for item in items if item not in special)
    days = sorted({value % 7 for value in field_values(plain, 0, 6)}, key=lambda day: day or 7) if plain else []
    if single:
        return listed([*(f"a {WEEKDAYS[day]}" for day in days), *map(_special_weekday, special)], "or")
    if not special and len(days) > 2 and days[-1] - days[0] == len(days) - 1 and days[0]:
        return _described(f"0 0 * * {days[0]}-{days[-1]}").removeprefix("At 00:00, ")
    return f"on {listed([*(WEEKDAYS[day] for day in days), *map(_special_weekday, special)])}"


def _special_weekday(item: str) -> str:
    day = WEEKDAYS[int(item[0]) % 7]
    return f"the {'last' if item.endswith('L') else _NTH[int(item[2:])]} {day} of the month"


def _month_words(month: str) -> str:
    months = field_values(month.replace("?", "*"), 1, 12)
    if len(months) == 12:
        return ""
    if len(months) > 2 and months[-1] - months[0] == len(months) - 1:
        return f"{MONTHS[months[0] - 1]} through {MONTHS[months[-1] - 1]}"
    return f"only in {listed(MONTHS[value - 1] for value in months)}"
