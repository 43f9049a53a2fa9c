"""Recurrences: resolved text to due times, behind one door.

Never reads the clock. All spans are (after, until]; cutting one in two changes no due time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache

from offbeat.core.recurrences.cron import CronRecurrence, every_nickname
from offbeat.core.recurrences.cronfields import parse_cron
from offbeat.core.recurrences.durations import LONGEST, format_duration, parse_duration
from offbeat.core.recurrences.instants import parse_instant
from offbeat.core.recurrences.interval import EveryRecurrence, every_text
from offbeat.core.recurrences.moments import AtRecurrence, at_text
from offbeat.core.recurrences.rule import Recurrence, refusal, shown
from offbeat.core.recurrences.zones import find_zone
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
    """Return the recurrence of a resolved text.

    text: "cron ...", "every SECONDS OFFSET", "at EPOCH[,EPOCH...]", "solar EVENT LATITUDE LONGITUDE OFFSET", "rrule ...",
    "any {...}" (a composite) or "own NAME {...}" (a kind of the user's). zone: IANA name; interval, at and solar need none.
    Raises: ScheduleError, S109 for a text of another form, else what is wrong with it, or missing here.

    >>> compile_recurrence("every 2700 0", "UTC").next_after(1_767_225_600)
    1767228300
    """
    kind, _, rest = text.partition(" ")
    compiled = _KINDS[kind](rest, zone) if kind in _KINDS else None
    if compiled is None:
        raise refusal(
            "S109", f'recurrence "{shown(text)}" is of no known kind', 'use cron = "...", every = "..." or at = "..."'
        )
    return compiled


def _every(text: str, zone: str) -> Recurrence | None:
    if not re.fullmatch(r"[1-9]\d{0,10} \d{1,10}", text, re.ASCII):
        return None
    seconds, offset = map(int, text.split())
    return EveryRecurrence(seconds, offset)


def _at(text: str, zone: str) -> Recurrence | None:
    found = re.fullmatch(r"-?\d{1,12}(,-?\d{1,12})*", text, re.ASCII)
    return AtRecurrence(map(int, text.split(","))) if found else None


def _solar(text: str, zone: str) -> Recurrence | None:
    from offbeat.core.recurrences.solar import compile_solar

    return compile_solar(text)


def _rrule(text: str, zone: str) -> Recurrence:
    from offbeat.core.recurrences.rrule import compile_rrule

    return compile_rrule(text, zone)


def _any(text: str, zone: str) -> Recurrence | None:
    from offbeat.core.recurrences.composite import compile_any

    return compile_any(text, zone, compile_recurrence)


def _own(text: str, zone: str) -> Recurrence:
    from offbeat.core.recurrences.own import compile_own

    return compile_own(text, zone)


_KINDS: Mapping[str, Callable[[str, str], Recurrence | None]] = {
    "cron": lambda text, zone: CronRecurrence(parse_cron(text), find_zone(zone)),
    "every": _every,
    "at": _at,
    "solar": _solar,
    "rrule": _rrule,
    "any": _any,
    "own": _own,
}


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
