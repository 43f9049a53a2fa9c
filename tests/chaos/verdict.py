"""What was due, what the ledger says became of it, what arrived and what was started: counted against each other."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from offbeat.core.identity import occurrence_id
from offbeat.core.model import State
from offbeat.ports.ledger_values import HistoryRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One line of a worker."""

    event: str  # received | started
    occurrence: str
    attempt: int
    redelivered: bool
    at: float
    atomic: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The counts; what is wrong by its occurrences, to look them up.

    dropped: the broker had it for certain, a worker took it, and it was never received: Celery's own transport lost it. On
    Redis a worker that dies, or is cut off, between taking a message and noting that it has it loses the message.
    """

    due: int
    sent: int
    started: int
    accounted: int  # skipped with a reason, or in a gap
    lost: tuple[str, ...]  # due, and neither started nor accounted for
    dropped: tuple[str, ...]
    unknown: tuple[str, ...]  # due, and the ledger says nothing of it
    repeated_starts: tuple[str, ...]
    repeated_enqueues: tuple[str, ...]
    early: tuple[str, ...]  # started before it was due
    lateness: tuple[float, float, float]  # p50, p99, max; seconds from the due time to the start

    def __str__(self) -> str:
        p50, p99, longest = self.lateness
        return (
            f"due {self.due}, sent {self.sent}, started {self.started}, skipped with a reason {self.accounted}, "
            f"lost {len(self.lost)}, dropped by a worker {len(self.dropped)}, unknown to the ledger {len(self.unknown)}, "
            f"repeated starts {len(self.repeated_starts)}, "
            f"repeated enqueues {len(self.repeated_enqueues)}, early {len(self.early)}; "
            f"lateness p50 {p50:.3f} s, p99 {p99:.3f} s, max {longest:.3f} s"
        )


def read_records(path: Path) -> list[Record]:
    """Return what the workers wrote down."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [
        Record(event=e, occurrence=o, attempt=a or 0, redelivered=r, at=t, atomic=once)
        for e, o, a, r, t, once in map(json.loads, lines)
    ]


def judge(
    periods: Mapping[str, int],
    span: tuple[int, int],
    *,
    rows: Iterable[HistoryRow],
    records: Iterable[Record],
    pushed: Callable[[str], bool],
) -> Verdict:
    """Count everything due in (after, until].

    periods: seconds of each entry, anchored to the epoch. pushed: whether the broker has had the message of an occurrence and
    has it no more.
    """
    after, until = span
    expected = {
        occurrence_id("chaos", name, at): (name, at)
        for name, period in periods.items()
        for at in range(after // period * period + period, until + 1, period)
    }
    told, gaps = _told(rows)
    arrivals, starts = _by_occurrence(records, "received"), _by_occurrence(records, "started")
    lost: list[str] = []
    dropped: list[str] = []
    unknown, early, lateness, sent, accounted = [], [], [], 0, 0
    for occurrence, (name, at) in expected.items():
        state = told.get((name, at)) or (State.SKIPPED if any(a <= at <= u for a, u in gaps[name]) else None)
        sent += state is not None and state not in (State.SKIPPED, State.UNDELIVERED)
        accounted += state is State.SKIPPED
        what = f"{name} due {at}: {state}"
        if state is None:
            unknown.append(what)
        if began := starts.get(occurrence):
            first = min(record.at for record in began)
            lateness.append(first - at)
            if first < at:
                early.append(what)
        elif state is not State.SKIPPED:
            (dropped if pushed(occurrence) and occurrence not in arrivals else lost).append(what)
    return Verdict(
        due=len(expected),
        sent=sent,
        started=sum(occurrence in starts for occurrence in expected),
        accounted=accounted,
        lost=tuple(lost),
        dropped=tuple(dropped),
        unknown=tuple(unknown),
        repeated_starts=_started_again(starts, arrivals),
        repeated_enqueues=_sent_again(arrivals),
        early=tuple(early),
        lateness=_percentiles(lateness),
    )


def _told(rows: Iterable[HistoryRow]) -> tuple[dict[tuple[str, int], State], dict[str, list[tuple[int, int]]]]:
    told: dict[tuple[str, int], State] = {}
    gaps: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for row in rows:
        if row.until is not None:
            gaps[row.entry].append((row.due_at, row.until))
        elif row.kind == "schedule":
            assert (row.entry, row.due_at) not in told, f"two rows for {row.entry} due {row.due_at}"
            told[row.entry, row.due_at] = row.state
    return told, gaps


def _by_occurrence(records: Iterable[Record], event: str) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.event == event:
            found[record.occurrence].append(record)
    return found


def _started_again(starts: Mapping[str, list[Record]], arrivals: Mapping[str, list[Record]]) -> tuple[str, ...]:
    """Return the occurrences with more starts than one and its redeliveries.

    One that came again and was refused, since the ledger was away, is sent anew by the guard: it is the redelivery still.
    """
    again = {name: sum(record.redelivered for record in records) for name, records in arrivals.items()}
    return tuple(_told_of(name, found) for name, found in starts.items() if len(found) > 1 + again.get(name, 0))


def _sent_again(arrivals: Mapping[str, list[Record]]) -> tuple[str, ...]:
    """Return the occurrences that arrived under more than one attempt, or twice though recorded and sent in one step.

    Under one attempt the guard itself sends a message again, when the ledger is away.
    """
    return tuple(
        _told_of(name, records)
        for name, records in arrivals.items()
        if len({r.attempt for r in records}) > 1 or (records[0].atomic and sum(not r.redelivered for r in records) > 1)
    )


def _told_of(occurrence: str, records: list[Record]) -> str:
    return f"{occurrence}: " + ", ".join(f"attempt {record.attempt} at {record.at:.3f}" for record in records)


def _percentiles(values: list[float]) -> tuple[float, float, float]:
    ordered = sorted(values) or [0.0]
    return ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)], ordered[-1]
