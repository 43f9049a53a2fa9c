"""Composite recurrences as text: members, what they leave out and where they move, in one canonical line.

Never reads schedule.toml: core/calendars.py does, and resolves what it finds there. Equal composites are equal texts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from offbeat.core.recurrences.exclusions import Compile, Exclusions, merge_spans, read_span, span_text
from offbeat.core.recurrences.localdays import local_days
from offbeat.core.recurrences.rule import Recurrence, refusal
from offbeat.core.recurrences.union import UnionRecurrence
from offbeat.core.recurrences.workday import ExcludingRecurrence, MovingRecurrence

WEEKEND = (0, 6)  # Sunday and Saturday, where an entry says nothing
LONGEST = 65_536  # characters of a composite
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


class Workday(StrEnum):
    """What becomes of a due time on a day that is no working day."""

    NEXT = "next"  # due on the next working day, at the same time
    PREVIOUS = "previous"  # due on the previous one
    SKIP = "skip"  # not due


def any_text(
    members: Sequence[str],
    *,
    excluded: Sequence[str] = (),
    workday: Workday | None = None,
    weekend: Sequence[int] = WEEKEND,
) -> str:
    """Return the resolved text of a composite; that of its only member when there is nothing else to it.

    weekend: days of the week that are off, 0 for Sunday; counts with `workday` only.
    Raises: ScheduleError S163 when the text is far too long.

    >>> any_text(["every 60 0", "at 5", "at 5"], excluded=["2026-12-25", "2026-12-24"])
    'any {"except":["2026-12-24/2026-12-25"],"of":["at 5","every 60 0"]}'
    """
    of = sorted(set(members))
    spans = merge_spans(span for text in excluded if (span := read_span(text)) is not None)
    others = sorted({text for text in excluded if read_span(text) is None})
    said: dict[str, Any] = {"of": of}
    if spans or others:
        said["except"] = [*(span_text(*span) for span in spans), *others]
    if workday is not None:
        said |= {"workday": workday.value, "weekend": sorted(set(weekend))}
    if len(of) == 1 and len(said) == 1:
        return of[0]
    text = "any " + json.dumps(said, sort_keys=True, separators=(",", ":"))
    if len(text) > LONGEST:
        what = f"its recurrences and exclusions are {len(text)} characters long, {LONGEST} are the most"
        raise refusal("S163", what, "use date ranges or cron expressions instead of many single dates")
    return text


def check_left(text: str, bare: str, zone: str, compile_text: Compile) -> str:
    """Return the text of a composite; bare: the same without its exclusions.

    Raises: ScheduleError S166 when its exclusions leave nothing of what it is due by without them.
    """
    if compile_text(text, zone).next_after(0) is None and compile_text(bare, zone).next_after(0) is not None:
        raise refusal("S166", "its exclusions leave nothing that it could be due at", "exclude less, or remove the entry")
    return text


def without_exclusions(text: str) -> str:
    """Return the resolved text of the same recurrences without exclusions and working days.

    >>> without_exclusions('any {"except":["2026-12-24"],"of":["every 60 0"]}'), without_exclusions("at 5")
    ('every 60 0', 'at 5')
    """
    return any_text(json.loads(text[4:])["of"]) if text.startswith("any ") else text


def compile_any(text: str, zone: str, compile_text: Compile) -> Recurrence | None:
    """Return the recurrence of what follows "any " in a resolved text, None when it is of another form.

    Raises: ScheduleError of what is in it.
    """
    try:
        said = json.loads(text)
        members, excluded = said["of"], said.get("except", [])
        workday = Workday(said["workday"]) if "workday" in said else None
        weekend = [int(day) for day in said.get("weekend", ())]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    if not isinstance(members, list) or not isinstance(excluded, list) or not members:
        return None
    if not all(isinstance(each, str) and not each.startswith("any ") for each in (*members, *excluded)):
        return None
    compiled = [compile_text(each, zone) for each in members]
    inner = compiled[0] if len(compiled) == 1 else UnionRecurrence(compiled)
    if not excluded and workday is None:
        return inner
    days = local_days(zone)
    exclusions = Exclusions(excluded, days, compile_text, weekend=weekend)
    if workday in (Workday.NEXT, Workday.PREVIOUS):
        return MovingRecurrence(inner, exclusions, days, forward=workday is Workday.NEXT)
    return ExcludingRecurrence(inner, exclusions, days)
