"""Backfill: the due times of an entry in a span of the past, recorded anew and sent at a bounded rate.

Recorded in steps: one that was cut off goes on by being said again. Sends nothing itself: any runner does, behind what is live.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from offbeat.core.identity import fingerprint
from offbeat.core.recurrences.recurrence import compile_recurrence
from offbeat.errors import ConfigError, Problem
from offbeat.ports.ledger_values import unknown_entry

if TYPE_CHECKING:
    from offbeat.core.model import DueTime, Entry, Instant
    from offbeat.runners.site import Site

STEP = 500  # occurrences that are recorded at once
MOST = 1_000_000  # occurrences of one backfill


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """What a backfill is about. first, last: its first and last due time, None without any. seconds: until the last is sent."""

    count: int
    first: DueTime | None
    last: DueTime | None
    seconds: float
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a backfill is. done: occurrences gone through; new: of these, those that were not recorded before."""

    done: int
    new: int
    total: int
    due_at: DueTime
    send_at: DueTime


def backfill_token(name: str) -> str:
    """Return the token of all that is backfilled of an entry without saying "again": it goes once, whatever span names it.

    A token of the span would make another backfill of "--from 12h --to 6h" in each second, and of spans that overlap.
    """
    return fingerprint(f"{name}\0backfill".encode("utf-8", "surrogateescape"))


def measure(site: Site, name: str, after: DueTime, until: DueTime, *, per_minute: float = 60.0, token: str = "") -> Extent:
    """Return what `backfill` would record, and record nothing: the entry's due times in (after, until], by its present
    recurrence, from starts_at to ends_at, not after now (those to come are the schedule's own).

    Raises ConfigError for a name that is no entry, a span that is empty, or more than MOST occurrences.
    """
    span = (after, until)
    return foresee(_entry(site, name), span, site.ledger.status().now, per_minute=per_minute, token=token)


def foresee(entry: Entry, span: tuple[DueTime, DueTime], now: Instant, *, per_minute: float = 60.0, token: str = "") -> Extent:
    """Return what `measure` would of this entry, by no ledger. span: (after, until]."""
    after, until = span
    end = min(until, int(now))
    if after >= until:
        raise ConfigError(_problem("the span is empty: it begins where it ends, or later", "an earlier --from or a later --to"))
    count, first, last = 0, None, None
    for due_at in _due_times(entry, after, end):
        count, first, last = count + 1, due_at if first is None else first, due_at
        if count > MOST:
            what = f'"{entry.name}" is due more than {MOST:,} times in that span'
            raise ConfigError(_problem(what, "do it in shorter spans"))
    seconds = max(count - 1, 0) * 60.0 / per_minute
    return Extent(count=count, first=first, last=last, seconds=seconds, token=token or backfill_token(entry.name))


def backfill(
    site: Site, name: str, after: DueTime, until: DueTime, *, per_minute: float = 60.0, token: str = ""
) -> Iterator[Progress]:
    """Record the occurrences that `measure` counts, STEP at a time; yield after each step. Stopping early is safe.

    per_minute: how many are sent in a minute at most, the first one now. token: a due time goes once for each; without one
    it is the same for all backfills of the entry. What was recorded before stays as it is, and is not sent again; what is
    new follows at the same rate, counted from now. Raises as `measure`, and LedgerError.
    """
    extent = measure(site, name, after, until, per_minute=per_minute, token=token)
    if extent.last is None:
        return
    began, done, new = int(site.ledger.status().now), 0, 0
    due_times = _due_times(_entry(site, name), after, extent.last)
    while due_at_once := list(islice(due_times, STEP)):
        rows = [(due_at, began + int((done + n) * 60.0 / per_minute)) for n, due_at in enumerate(due_at_once)]
        new += site.ledger.backfill(name, extent.token, rows)
        done += len(rows)
        yield Progress(done=done, new=new, total=extent.count, due_at=rows[-1][0], send_at=rows[-1][1])


def _entry(site: Site, name: str) -> Entry:
    found = next((entry for entry, _ in site.ledger.entries() if entry.name == name), None)
    if found is None:
        raise unknown_entry(name, site.ledger.status().where)
    return found


def _due_times(entry: Entry, after: DueTime, until: DueTime) -> Iterator[DueTime]:
    timing = entry.timing
    first = after if timing.starts_at is None else max(after, timing.starts_at - 1)
    last = until if timing.ends_at is None else min(until, timing.ends_at)
    return iter(compile_recurrence(timing.recurrence, timing.zone).due_times(first, last)) if first < last else iter(())


def _problem(what: str, fix: str) -> Problem:
    return Problem(code="L312", what=what, why="nothing was recorded", fix=fix)
