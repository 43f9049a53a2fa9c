"""The ledger in memory, for people: what is not to be sent for a while, or once, and what is to be sent later."""

from __future__ import annotations

from collections.abc import Sequence

from offbeat.core.model import Cause, DueTime, Instant, Key, Kind, Lane, Reason, State
from offbeat.core.transitions import by_whom
from offbeat.ports.ledger_memory.shelves import Pause, Row, Shelves
from offbeat.ports.ledger_values import MOST_BACKFILLED, Paused, Slot, unknown_entry


class PausingMemory(Shelves):
    """pause, resume, skip, pauses, backfill, cancel."""

    def pause(self, name: str, who: str, note: str, until: Instant | None = None) -> None:
        now = self.clock.now()
        eno = self._whom(name)
        for pause in self.intervals:
            if pause.eno == eno and not pause.once and pause.holds(now):
                pause.until_at, pause.who, pause.note = until, who, note
                return
        self.intervals.append(Pause(eno=eno, from_at=now, until_at=until, who=who, note=note))

    def resume(self, name: str) -> None:
        now = self.clock.now()
        eno = self._whom(name)
        for pause in self.intervals:
            if pause.eno == eno and not pause.once and pause.holds(now):
                pause.until_at = now

    def _whom(self, name: str) -> int | None:
        if name and name not in self.enos:
            raise unknown_entry(name, self.where)
        return self.enos[name] if name else None

    def present(self, name: str) -> int:
        """Return the number of an entry of the active revision. Raises: ConfigError."""
        eno = self.enos.get(name)
        if eno is None or self.open_version(eno) is None:
            raise unknown_entry(name, self.where)
        return eno

    def known(self, key: Key) -> Slot | None:
        """Return how an occurrence stands that the ledger knows already."""
        row = self.rows.get(key)
        if row is not None:
            return Slot(key=key, claim=None, state=row.state, reason=row.reason, dispatched_at=row.dispatched_at)
        if gap := self.decided_in_gap(key.eno, key.due_at):
            return Slot(key=key, claim=None, state=State.SKIPPED, reason=gap.reason)
        if key.due_at <= self.last_due.get(key.eno, key.due_at - 1):
            return Slot(key=key, claim=None, state=State.DISPATCHED)
        return None

    def skip(self, name: str, due_at: DueTime, who: str, note: str) -> Slot:
        now = self.clock.now()
        key = Key(eno=self.present(name), due_at=due_at)
        if due_at <= now and key not in self.rows and not self.was_in_force(key.eno, due_at):
            return Slot(key=key, claim=None, state=State.SKIPPED)
        known = self.known(key)
        if known is not None and known.state not in (State.PENDING, State.WAITING):
            return known
        row = self.rows.setdefault(key, Row(key=key, send_at=due_at, cause=Cause.SCHEDULE, recorded_at=now))
        row.state, row.reason, row.note = State.SKIPPED, Reason.BY_HAND, by_whom(who, note)
        once = Pause(eno=key.eno, from_at=float(due_at), until_at=float(due_at + 1), who=who, note=note, once=True)
        self.intervals.append(once)
        self.mark(who)
        return Slot(key=key, claim=None, state=State.SKIPPED, reason=Reason.BY_HAND)

    def pauses(self) -> Sequence[Paused]:
        now = self.clock.now()
        found = [
            Paused(
                name="" if pause.eno is None else self.names[pause.eno],
                from_at=pause.from_at,
                until_at=pause.until_at,
                who=pause.who,
                note=pause.note,
                once=pause.once,
            )
            for pause in self.intervals
            if pause.until_at is None or pause.until_at > now
        ]
        return sorted(found, key=lambda pause: (pause.name, pause.from_at))

    def backfill(self, name: str, token: str, rows: Sequence[tuple[DueTime, DueTime]]) -> int:
        assert len(rows) <= MOST_BACKFILLED, len(rows)
        now = self.clock.now()
        eno = self.present(name)
        new = 0
        for due_at, send_at in rows:
            key = Key(eno=eno, due_at=due_at, kind=Kind.BACKFILL, kind_id=token)
            if key not in self.rows:
                row = Row(key=key, send_at=send_at, cause=Cause.BACKFILL, recorded_at=now, lane=Lane.BACKFILL)
                row.next_try_at = float(send_at)
                self.rows[key] = row
                new += 1
        self.mark(token, new)
        return new

    def cancel(self, name: str, who: str, note: str, limit: int, token: str = "") -> int:
        eno, gone = self._whom(name), 0
        if eno is None:
            raise unknown_entry(name, self.where)
        for row in sorted(self.rows.values(), key=lambda row: row.key):
            is_ours = row.key.eno == eno and row.key.kind is Kind.BACKFILL and token in ("", row.key.kind_id)
            if is_ours and row.state in (State.PENDING, State.WAITING) and gone < limit:
                row.state, row.reason, row.note = State.SKIPPED, Reason.BY_HAND, by_whom(who, note)
                gone += 1
        self.mark(who, gone)
        return gone
