"""Recurrences: resolved text to due times, behind one door.

Never reads the clock. All spans are (after, until]; cutting one in two changes no due time.
"""

from __future__ import annotations

import re
from functools import lru_cache

from offbeat.core.cron import CronRecurrence, every_nickname
from offbeat.core.cronfields import parse_cron
from offbeat.core.durations import LONGEST, format_duration, parse_duration
from offbeat.core.instants import parse_instant
from offbeat.core.interval import EveryRecurrence, every_text
from offbeat.core.moments import AtRecurrence, at_text
from offbeat.core.rule import Recurrence, refusal, shown
from offbeat.core.zones import find_zone
from offbeat.errors import Problem, ScheduleError

__all__ = [
    "LONGEST",
    "AtRecurrence",
    "EveryRecurrence",
    "Recurrence",
    "at_text",
    "compile_recurrence",
    "cron_text",
    "every_text",
    "format_duration",
    "parse_duration",
    "parse_instant",
]


@lru_cache(maxsize=1024)
def compile_recurrence(text: str, zone: str) -> Recurrence:
    """Return the recurrence of a resolved text: "cron M H DOM MON DOW", "every SECONDS OFFSET" or "at EPOCH[,EPOCH...]".

    zone: IANA name; only cron looks at it.
    Raises: ScheduleError, S109 for a text of another form, else what cron_text raises.

    >>> compile_recurrence("every 2700 0", "UTC").next_after(1_767_225_600)
    1767228300
    """
    kind, _, rest = text.partition(" ")
    if kind == "cron":
        return CronRecurrence(parse_cron(rest), find_zone(zone))
    if kind == "every" and re.fullmatch(r"[1-9]\d{0,10} \d{1,10}", rest, re.ASCII):
        seconds, offset = map(int, rest.split())
        return EveryRecurrence(seconds, offset)
    if kind == "at" and re.fullmatch(r"-?\d{1,12}(,-?\d{1,12})*", rest, re.ASCII):
        return AtRecurrence(map(int, rest.split(",")))
    raise refusal("S109", f'recurrence "{shown(text)}" is of no known kind', 'use cron = "...", every = "..." or at = "..."')


def cron_text(expression: str, *, zone: str, seed: str = "") -> str:
    """Return the resolved text of a cron expression. Equal schedules written differently mostly give equal texts.

    seed: what `H` and `~` are resolved by, the entry's name; the text has the numbers that they are resolved to.
    Raises: ScheduleError with all that is wrong with the expression (S101-S104, S120) and the zone (S110).

    >>> cron_text("30  4 * * MON", zone="Europe/Sofia"), cron_text("@every 45m", zone="UTC")
    ('cron 30 4 * * 1', 'every 2700 0')
    >>> cron_text("H 4 * * *", zone="UTC", seed="nightly")
    'cron 20 4 * * *'
    """
    problems: list[Problem] = []
    text = ""
    try:
        seconds = every_nickname(expression)
        text = f"cron {parse_cron(expression, seed=seed).text}" if seconds is None else every_text(seconds)
    except ScheduleError as wrong:
        problems += wrong.problems
    try:
        find_zone(zone)
    except ScheduleError as wrong:
        problems += wrong.problems
    if problems:
        raise ScheduleError(*problems)
    return text
