"""[calendars] and `except` of schedule.toml: names, dates, rules, holidays and calendar files to resolved exclusions.

Never reads a file: the tree brings those that are in it. A calendar that is wrong stops only the entries that name it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime

from offbeat.core.listing import Kind, Text
from offbeat.core.recurrences.cron import cron_warnings
from offbeat.core.recurrences.cronfields import split_cron
from offbeat.core.recurrences.cronwarnings import warning
from offbeat.core.recurrences.exclusions import holidays_text, read_span, span_text
from offbeat.core.recurrences.recurrence import cron_text
from offbeat.core.recurrences.rule import refusal, shown
from offbeat.core.table import Table
from offbeat.errors import Problem, ScheduleError

EXAMPLE = '["2026-12-24", "2026-12-20/2027-01-02", "* * * * sat,sun", "holidays:BG", "closures.ics"]'
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendars:
    """What exclusions may name. named: the items of each calendar. bad: names of calendars that are wrong. files: *.ics."""

    named: Mapping[str, Sequence[str]] = field(default_factory=dict)
    bad: frozenset[str] = frozenset()
    files: tuple[Text, ...] = ()

    def resolve(self, items: Sequence[str], zone: str, seed: str = "", *, within: tuple[str, ...] = ()) -> list[str]:
        """Return the resolved exclusions of what is written. Raises: ScheduleError S163, S164, S165, S167, or cron's."""
        return [text for item in items for text in self._resolve(item, zone, seed, within=within)]

    def _resolve(self, item: str, zone: str, seed: str, *, within: tuple[str, ...]) -> Sequence[str]:
        if span := read_span(item):
            return [span_text(*span)]
        if item.startswith("holidays:"):
            return [holidays_text(item)]
        if item.lower().endswith(".ics"):
            return self._file(item, zone)
        if item in self.named:
            if item in within:
                raise refusal("S164", f'the calendar "{shown(item)}" names itself', "take it out of what it names")
            if item in self.bad:
                raise refusal("S164", f'the calendar "{shown(item)}" is wrong', f"mend {item} in [calendars]")
            return self.resolve(self.named[item], zone, seed, within=(*within, item))
        if not NAME.fullmatch(item):
            return [_by_the_day(item, zone, seed)]
        from difflib import get_close_matches

        near = get_close_matches(item, self.named, n=1)
        fix = f'did you mean "{near[0]}"?' if near else f"name it under [calendars], or write {EXAMPLE}"
        raise refusal("S164", f'there is no calendar "{shown(item)}"', fix)

    def _file(self, name: str, zone: str) -> Sequence[str]:
        from offbeat.core.recurrences.icsfile import read_ics

        for text in self.files:
            if text.path.rpartition("/")[2] == name and text.kind is Kind.FILE:
                return read_ics(text.content, name, zone)
        raise refusal(
            "S165", f'"{shown(name)}" is no file in the tree\'s folder that can be read', "put it beside schedule.toml"
        )


def day_warnings(item: str, seed: str = "") -> Iterator[Problem]:
    """Yield what is odd about a cron expression that excludes days; nothing for what is no cron expression.

    Raises: ScheduleError where _by_the_day does.
    """
    if read_span(item) or NAME.fullmatch(item) or item.startswith("holidays:") or item.lower().endswith(".ics"):
        return
    for problem in cron_warnings(item, seed=seed):
        if problem.code == "S153":
            yield replace(
                problem, what=problem.what.replace("it is never due", "it excludes nothing"), why="no day is left out"
            )
        elif problem.code not in ("S151", "S152", "S157") or not re.search(r": (second|minute|hour) ", problem.what):
            yield problem
    parts = split_cron(item)
    clock = len(parts) - 5 if len(parts) < 7 else 1
    if any(part not in ("*", "?") for part in parts[clock : clock + 2]):
        days = " ".join(["*", "*", *parts[clock + 2 : clock + 5]])
        what = f'the exclusion "{shown(item)}" is by the day: its hour and minute do not matter'
        why = "each day that it is due on is left out, from midnight to midnight"
        yield warning("S171", what, why, f'write "{days}", if whole days are meant')


def _by_the_day(item: str, zone: str, seed: str) -> str:
    if " " not in item.strip() and not item.startswith("@"):
        raise refusal("S163", f'"{shown(item)}" is no date, date range, cron expression, calendar or file', EXAMPLE)
    text = cron_text(item, zone=zone, seed=seed)
    if not text.startswith("cron "):
        raise refusal("S163", f'"{shown(item)}" is no cron expression of days', '"* * * * sat,sun"')
    return text


def read_calendars(top: Table, zone: str, files: tuple[Text, ...]) -> Calendars:
    """Return the calendars that [calendars] names, their problems added."""
    table = top.table("calendars")
    if table is None:
        return Calendars(files=files)
    table.so[""] = "entries that name the calendar are not loaded; the others are"
    named: dict[str, Sequence[str]] = {}
    for name in table.values:
        if not NAME.fullmatch(name):
            table.fail(name, f'"{shown(name)}" is no name of a calendar', code="S132", fix="use letters, digits, - and _")
        named[name] = read_items(table, name) or ()
    calendars = Calendars(named=named, files=files, bad=frozenset(table.bad))
    for name in [name for name in named if name not in table.bad]:
        if table.attempt(name, lambda name=name: calendars.resolve([name], zone), named=True) is not None:  # type: ignore[misc]
            table.adopt(name, [each for item in named[name] if item not in named for each in day_warnings(item)])
    return Calendars(named=named, files=files, bad=frozenset(table.bad))


def read_items(table: Table, key: str) -> list[str] | None:
    """Return the list of texts that a key has, one alone or TOML dates too; None, with a problem, when it is anything else."""
    value = table.values.get(key)
    written = value if isinstance(value, list) else [value]
    items = [each.isoformat() if isinstance(each, date) and not isinstance(each, datetime) else each for each in written]
    texts = [each for each in items if isinstance(each, str)]
    if len(texts) < len(items):
        table.fail(key, f'"{key}" is not a list of texts', code="S144", fix=f"{key} = {EXAMPLE}")
        return None
    table.find_passwords(key)
    return None if key in table.bad else texts


def read_excluded(table: Table, zone: str, seed: str, calendars: Calendars) -> Sequence[str]:
    """Return the resolved exclusions of `except`, every problem added."""
    if "except" not in table.values:
        return ()
    found: list[str] = []
    for item in read_items(table, "except") or ():
        try:
            found += calendars.resolve([item], zone, seed)
            if item not in calendars.named:
                table.adopt("except", tuple(day_warnings(item, seed)))
        except ScheduleError as error:
            table.adopt("except", error.problems)
    return found
