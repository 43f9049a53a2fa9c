"""What differs between two schedules, entry by entry, with the next due times before and after.

Never reads a clock: `now` is an argument. Where an entry is written (file and line) is no difference.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from enum import StrEnum
from itertools import islice

from offbeat.core.model import DueTime, Entry, Schedule, Timing
from offbeat.core.recurrences.recurrence import compile_recurrence
from offbeat.errors import ScheduleError

SHOWN = 3  # due times before and after
COMMON = ("timezone", "task_prefix", "default_queue", "routes", "broker", "ledger")  # of a schedule, beside its entries


class ChangeKind(StrEnum):
    """What became of an entry."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryChange:
    """One entry that differs. fields: what of it, by the model's words. before, after: its next due times by each schedule."""

    name: str
    kind: ChangeKind
    fields: tuple[str, ...] = ()
    before: tuple[DueTime, ...] = ()
    after: tuple[DueTime, ...] = ()
    old: Entry | None = None
    new: Entry | None = None


def compare_schedules(old: Schedule | None, new: Schedule, now: DueTime) -> Iterator[EntryChange]:
    """Yield what differs from `old` (None: nothing yet) to `new`, by name. now: the due times told are after it."""
    before = {entry.name: entry for entry in old.entries} if old else {}
    after = {entry.name: entry for entry in new.entries}
    for name in sorted({*before, *after}):
        was, is_ = before.get(name), after.get(name)
        changed = changed_fields(was, is_) if was and is_ else ()
        if was and is_ and not changed:
            continue
        yield EntryChange(
            name=name,
            kind=ChangeKind.ADDED if was is None else ChangeKind.REMOVED if is_ is None else ChangeKind.CHANGED,
            fields=changed,
            before=next_due_times(was.timing, now) if was else (),
            after=next_due_times(is_.timing, now) if is_ else (),
            old=was,
            new=is_,
        )


def changed_settings(old: Schedule | None, new: Schedule) -> tuple[str, ...]:
    """Return which of the settings that all entries share differ, by the model's words."""
    return tuple(name for name in COMMON if old is not None and getattr(old, name) != getattr(new, name))


def changed_fields(old: Entry, new: Entry) -> tuple[str, ...]:
    """Return what of an entry differs: "recurrence", "kwargs", "grace" ...; "call" when a task became a command."""
    changed: list[str] = []
    for part in ("timing", "call", "policy"):
        was, is_ = getattr(old, part), getattr(new, part)
        if type(was) is not type(is_):
            changed.append(part)
        elif was != is_:
            changed += [field.name for field in fields(was) if getattr(was, field.name) != getattr(is_, field.name)]
    return (*changed, *(("description",) if old.description != new.description else ()))


def next_due_times(timing: Timing, now: DueTime, count: int = SHOWN) -> tuple[DueTime, ...]:
    """Return the next due times after `now`, at most `count`; none when it is disabled or cannot be worked out here."""
    if not timing.enabled:
        return ()
    try:
        return tuple(islice(_due_times(timing, now), count))
    except ScheduleError:  # `check` tells
        return ()


def _due_times(timing: Timing, now: DueTime) -> Iterator[DueTime]:
    rule = compile_recurrence(timing.recurrence, timing.zone)
    at = rule.next_after(now if timing.starts_at is None else max(now, timing.starts_at - 1))
    while at is not None and (timing.ends_at is None or at <= timing.ends_at):
        yield at
        at = rule.next_after(at)
