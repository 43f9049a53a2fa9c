"""What is over: entries that are never due again, which only somebody with a clock can tell.

Never reads the clock: `now` is an argument.
"""

from __future__ import annotations

from collections.abc import Iterator

from offbeat.core.model import Entry, Instant, Schedule
from offbeat.core.plan import next_usable
from offbeat.core.recurrence import compile_recurrence
from offbeat.errors import Problem, ScheduleError, Severity


def past_warnings(schedule: Schedule, now: Instant) -> tuple[Problem, ...]:
    """Return a warning for each enabled entry that is never due after `now`, though it was, or might have been, before."""
    return tuple(_warnings(schedule, int(now)))


def _warnings(schedule: Schedule, now: int) -> Iterator[Problem]:
    for entry in schedule.entries:
        if entry.timing.enabled and _is_over(entry, now):
            yield Problem(
                code="S169",
                what=f'entry "{entry.name}": all that it is due by is in the past',
                why="it is loaded, and nothing will be sent",
                fix="remove the entry, or give it another time",
                file=entry.file,
                line=entry.line,
                severity=Severity.WARNING,
                entry=entry.name,
            )


def _is_over(entry: Entry, now: int) -> bool:
    timing = entry.timing
    try:
        rule = compile_recurrence(timing.recurrence, timing.zone)
        first = now + 1 if timing.starts_at is None else timing.starts_at
        if next_usable([(rule, first, timing.ends_at)], now) is not None:
            return False
        return timing.ends_at is not None or rule.last_at_or_before(now) is not None
    except ScheduleError:  # `parse` has told
        return False
