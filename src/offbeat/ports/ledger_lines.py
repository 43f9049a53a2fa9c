"""Lines of history, alike for all stores: from what is stored of a row or a gap to what `Reading.history` answers.

Never asks a store by itself, and never reads a clock. Its authority is the text of Reading.history in ports/ledger.py.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, TypeAlias

from offbeat.core.model import Cause, DueTime, Instant, Key, Kind, Reason, State
from offbeat.core.transitions import Span, Tally, tally
from offbeat.ports.ledger_values import HistoryRow, newest_first

NEVER = -(2**62)  # before every due time
Line: TypeAlias = tuple[HistoryRow, int]  # of a gap with its entry's number
Stretch: TypeAlias = tuple[int, DueTime, DueTime]  # an entry's number, and two due times that belong to it


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredGap:
    """A gap (after, until] as it goes for one version of one entry. span: what that version is due by."""

    eno: int
    name: str
    after: DueTime
    until: DueTime
    span: Span
    reason: Reason
    recorded_at: Instant


def line_of(columns: Sequence[Any]) -> HistoryRow:
    """Return the line of a row.

    columns: name, due_at, kind, state, reason, cause, attempt, task_id, recorded_at, dispatched_at, started_at, finished_at,
    note, exit_status, next_try_at, send_at, eno, kind_id.
    """
    name, due_at, kind, state, reason, cause, attempt, task_id, recorded_at, dispatched_at = columns[:10]
    started_at, finished_at, note, exit_status, next_try_at, send_at, eno, kind_id = columns[10:]
    return HistoryRow(
        entry=name,
        due_at=due_at,
        kind=Kind(kind),
        state=State(state),
        reason=Reason(reason),
        cause=Cause(cause),
        attempt=attempt,
        task_id=task_id,
        recorded_at=recorded_at,
        dispatched_at=dispatched_at,
        started_at=started_at,
        finished_at=finished_at,
        note=note,
        exit_status=exit_status,
        next_try_at=next_try_at,
        send_at=send_at,
        key=Key(eno=eno, due_at=due_at, kind=Kind(kind), kind_id=kind_id),
    )


def gap_line(name: str, counted: Tally, reason: Reason, recorded_at: Instant) -> HistoryRow:
    """Return the line of a gap, as one entry has it."""
    return HistoryRow(
        entry=name,
        due_at=counted.first,
        kind=Kind.SCHEDULE,
        state=State.SKIPPED,
        reason=reason,
        cause=Cause.SCHEDULE,
        attempt=0,
        recorded_at=recorded_at,
        until=counted.last,
        count=counted.count,
    )


def has_gaps(states: Collection[State]) -> bool:
    """Return whether lines of gaps are among those of these states; none stands for all."""
    return not states or State.SKIPPED in states


def newest_lines(
    rows: Iterable[HistoryRow],
    gaps: Iterable[StoredGap],
    rows_between: Callable[[Sequence[Stretch]], Sequence[int]],
    *,
    limit: int,
    since: DueTime,
) -> list[HistoryRow]:
    """Return the newest `limit` lines of rows and gaps, newest first, none before `since`.

    rows: the newest `limit` or more. gaps: newest `until` first; no more of them is asked for than can matter. rows_between:
    how many rows of the schedule there are in each of some stretches: what has a row of its own, from a slot that was sent by
    hand, is not counted in the gap around it. That is asked only of gaps that may be shown.
    """
    lines = [(row, 0) for row in rows]
    rest, found = iter(gaps), list[HistoryRow]()
    while (most := limit - len(found)) > 0:
        some, rest = _enough(rest, most, since)
        lines = sorted([*lines, *some], key=_newest_first)
        if not lines:
            break
        found += _counted(lines[:most], rows_between)
        lines = lines[most:]
    return found


def _newest_first(line: Line) -> tuple[int, Instant, str, str, DueTime, str]:
    return newest_first(line[0])


def _enough(gaps: Iterator[StoredGap], most: int, since: DueTime) -> tuple[list[Line], Iterator[StoredGap]]:
    """Return the lines of gaps, until all that follow are older than the newest `most` of them; and what follows."""
    lines: list[Line] = []
    newest: list[DueTime] = []  # a heap of when the newest `most` of them end
    for gap in gaps:
        if len(newest) == most and newest[0] > gap.until:
            return lines, chain([gap], gaps)
        counted = tally(gap.span, gap.after, gap.until)
        if counted is not None and counted.last >= since:
            (heapq.heappush if len(newest) < most else heapq.heappushpop)(newest, counted.last)
            lines.append((gap_line(gap.name, counted, gap.reason, gap.recorded_at), gap.eno))
    return lines, gaps


def _counted(lines: Sequence[Line], rows_between: Callable[[Sequence[Stretch]], Sequence[int]]) -> Iterator[HistoryRow]:
    """Yield the lines, of the gaps only those in which something is left to be counted."""
    stretches = [(eno, line.due_at, line.until) for line, eno in lines if line.until is not None]
    rows = iter(rows_between(stretches) if stretches else ())
    for line, _ in lines:
        if line.until is None:
            yield line
        elif count := line.count - next(rows):
            yield replace(line, count=count)
