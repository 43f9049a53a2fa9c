"""What is over: entries that are never due again, which only somebody with a clock can tell.

Never reads the clock: `now` is an argument.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from offbeat.core.model import Instant, Schedule, Timing
from offbeat.core.plan import next_usable
from offbeat.core.recurrences.composite import without_exclusions
from offbeat.core.recurrences.recurrence import compile_recurrence
from offbeat.errors import Problem, ScheduleError, Severity


def past_warnings(schedule: Schedule, now: Instant) -> tuple[Problem, ...]:
    """Return a warning for each enabled entry that is never due after `now`, though it was, or might have been, before."""
    return tuple(_warnings(schedule, int(now)))


def _warnings(schedule: Schedule, now: int) -> Iterator[Problem]:
    for entry in schedule.entries:
        if entry.timing.enabled and _is_over(entry.timing, now):
            bare = replace(entry.timing, recurrence=without_exclusions(entry.timing.recurrence))
            excluded = bare != entry.timing and not _is_over(bare, now)
            odd = "its exclusions leave nothing of its time to come" if excluded else "all that it is due by is in the past"
            yield Problem(
                code="S166" if excluded else "S169",
                what=f'entry "{entry.name}": {odd}',
                why="it is loaded, and nothing will be sent",
                fix="exclude less, or remove the entry" if excluded else "remove the entry, or give it another time",
                file=entry.file,
                line=entry.line,
                severity=Severity.WARNING,
                entry=entry.name,
            )


def _is_over(timing: Timing, now: int) -> bool:
    try:
        rule = compile_recurrence(timing.recurrence, timing.zone)
        first = now + 1 if timing.starts_at is None else timing.starts_at
        if next_usable([(rule, first, timing.ends_at)], now) is not None:
            return False
        return timing.ends_at is not None or rule.last_at_or_before(now) is not None
    except ScheduleError:  # `parse` has told
        return False
