"""The ledger in memory, for pages and commands. Changes nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from offbeat.core.model import BrokerSettings, DueTime, Entry, Instant, Key, Kind, LedgerSettings, Schedule, State
from offbeat.core.plan import Portion
from offbeat.core.transitions import Tally, tally
from offbeat.ports.ledger_lines import gap_line
from offbeat.ports.ledger_memory.dispatching import DispatchingMemory
from offbeat.ports.ledger_memory.planning import PlanningMemory
from offbeat.ports.ledger_memory.shelves import UNSETTLED, KeptGap, Row
from offbeat.ports.ledger_values import (
    COMPILED,
    SEEN_LATELY,
    Claim,
    HistoryRow,
    LedgerStatus,
    Revision,
    SeenRunner,
    newest_first,
)


class ReadingMemory(PlanningMemory, DispatchingMemory):
    """status, schedule, revisions, settings, entries, history, failures, peek, output."""

    def status(self) -> LedgerStatus:
        now = self.clock.now()
        lately = [seen for seen in self.seen.values() if seen.seen_at > now - SEEN_LATELY]
        lately.sort(key=lambda seen: (-seen.seen_at, seen.runner.id))
        states = [row.state for row in self.rows.values()]
        return LedgerStatus(
            where=self.where,
            project=self.project,
            owner=self.owner,
            schema=0,
            revision=self.revision,
            digest=self.active.digest if self.active else "",
            activated_at=self.kept[-1].activated_at if self.kept else None,
            now=now,
            next_due=self.soonest_due(),
            pending=states.count(State.PENDING),
            claimed=states.count(State.CLAIMED),
            undelivered=states.count(State.UNDELIVERED),
            runners=tuple(SeenRunner(runner=seen.runner, seen_at=seen.seen_at) for seen in lately),
            refused=self.problems,
            refused_whole=self.refused_whole,
            ahead=self.belief.ahead(now),
            waiting=states.count(State.WAITING),
            waits_since=self._waits_since(now),
            origin=self.kept[-1].origin if self.kept else COMPILED,
            deployed=self.deployed,
            restored_at=self.restored_at,
            rewound=self.rewound,
            looked_at=self.belief.newest,
        )

    def _waits_since(self, now: Instant) -> DueTime | None:
        waiting = (row.send_at for row in self.rows.values() if row.state in (State.PENDING, State.WAITING))
        return min((send_at for send_at in waiting if send_at <= now), default=None)

    def schedule(self, revision: int | None = None) -> Schedule | None:
        if revision is None:
            return self.active
        return self.kept[revision - 1].schedule if 0 < revision <= len(self.kept) else None

    def revisions(self, limit: int) -> Sequence[Revision]:
        found = [
            Revision(
                number=number,
                digest=kept.schedule.digest,
                activated_at=kept.activated_at,
                origin=kept.origin,
                entries=len(kept.schedule.entries),
                active=number == self.revision,
            )
            for number, kept in enumerate(self.kept, start=1)
        ]
        return found[::-1][:limit]

    def ledger_settings(self) -> LedgerSettings:
        return self.active.ledger if self.active else LedgerSettings()

    def broker_settings(self) -> BrokerSettings | None:
        return self.active.broker if self.active else None

    def entries(self) -> Sequence[tuple[Entry, DueTime | None]]:
        present = [version for eno in self.versions if (version := self.open_version(eno)) is not None]
        versions = sorted(present, key=lambda version: version.entry.name)
        return [(version.entry, self.last_due.get(version.eno)) for version in versions]

    def history(
        self, name: str = "", limit: int = 100, since: DueTime | None = None, *, states: Collection[State] = ()
    ) -> Sequence[HistoryRow]:
        rows = [self._line(row) for row in self.rows.values()]
        for gap in self.gaps:
            rows.extend(self._lines(gap))
        mine = [row for row in rows if name in ("", row.entry) and (not states or row.state in states)]
        recent = [row for row in mine if since is None or (row.due_at if row.until is None else row.until) >= since]
        return sorted(recent, key=newest_first)[:limit]

    def failures(self, since: Instant, limit: int) -> Sequence[HistoryRow]:
        failed = [row for row in self.rows.values() if row.state is State.FAILED and (row.finished_at or 0.0) > since]
        return [self._line(row) for row in sorted(failed, key=lambda row: (row.finished_at, row.key))][:limit]

    def _line(self, row: Row) -> HistoryRow:
        return HistoryRow(
            entry=self.names[row.key.eno],
            due_at=row.key.due_at,
            kind=row.key.kind,
            state=row.state,
            reason=row.reason,
            cause=row.cause,
            attempt=row.attempt,
            task_id=row.task_id,
            recorded_at=row.recorded_at,
            dispatched_at=row.dispatched_at,
            started_at=row.started_at,
            finished_at=row.finished_at,
            note=row.note,
            exit_status=row.exit_status,
            next_try_at=row.next_try_at if row.state is State.PENDING else None,
            send_at=row.send_at,
            key=row.key,
        )

    def _lines(self, gap: KeptGap) -> Iterator[HistoryRow]:
        for version in self.groups[gap.gid].versions:
            if gap.eno not in (None, version.eno):
                continue
            counted = tally(version.span, gap.after, gap.until)
            if counted is not None and (count := counted.count - self._rows_between(version.eno, counted)):
                yield replace(gap_line(self.names[version.eno], counted, gap.reason, gap.recorded_at), count=count)

    def _rows_between(self, eno: int, counted: Tally) -> int:
        """Return how many of a gap's due times have rows of their own, from a slot that was sent by hand."""
        keys = (key for key in self.rows if key.eno == eno and key.kind is Kind.SCHEDULE)
        return sum(1 for key in keys if counted.first <= key.due_at <= counted.last)

    def peek(self, limit: int) -> tuple[Portion, Sequence[Claim]]:
        now = self.clock.now()
        return self.take(limit), self.claims(self.claimable(limit, (), now), now)

    def output(self, key: Key) -> bytes | None:
        row = self.rows.get(key)
        return row.output if row is not None and row.state not in UNSETTLED else None
