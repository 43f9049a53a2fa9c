"""The ledger in memory, for runners: from due groups to recorded decisions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf

from offbeat.core.backlog import may_be_late, with_waiting
from offbeat.core.model import Instant, Key, Kind, Lane, Reason, State
from offbeat.core.plan import Group, Heir, Member, PlannedRow, Portion, Window
from offbeat.core.transitions import HEARTBEAT, look_at_clock
from offbeat.ports.ledger_memory.shelves import UNSETTLED, KeptGap, Row, Shard, Version
from offbeat.ports.ledger_memory.slots import SlotsMemory
from offbeat.ports.ledger_values import Claim, Outlook, Runner

RUNNING = (State.DISPATCHED, State.STARTED, State.RETRYING)


class PlanningMemory(SlotsMemory):
    """look, take, record."""

    def look(self, runner: Runner) -> Outlook:
        now = self.clock.now()
        self.belief = look_at_clock(self.belief, now)
        self.beat(runner, now)
        believed = self.belief.holds(now)
        if believed:
            self._give_up_the_dead(now)
        wake_at = self._wake_at(now)
        return Outlook(
            now=now,
            revision=self.revision,
            stamp=self.stamp,
            wake_at=wake_at,
            due=believed and wake_at <= now,
            believed=believed,
            believe_at=self.belief.believe_at,
            failed_at=max((r.finished_at or 0.0 for r in self.rows.values() if r.state is State.FAILED), default=0.0),
            ahead=self.belief.ahead(now),
            deployed=self.deployed,
            marks=dict(self.marks),
            born=self.born,
        )

    def _give_up_the_dead(self, now: Instant) -> None:
        for row in self.rows.values():
            if row.is_command and row.state in RUNNING:
                seen = self.seen.get(row.owner)
                alive_at = max(seen.seen_at if seen else 0.0, row.dispatched_at or 0.0, row.started_at or 0.0)
                if now - alive_at > HEARTBEAT:
                    row.state, row.reason, row.finished_at = State.FAILED, Reason.RUNNER_DIED, now

    def _wake_at(self, now: Instant) -> Instant:
        instants: list[Instant] = [group.next_due for group in self.groups.values() if group.next_due is not None]
        instants.extend(self.try_at(row, now) for row in self.rows.values() if row.state in UNSETTLED)
        return min(instants, default=inf)

    def changed(self) -> bool:
        return True

    def take(self, limit: int) -> Portion:
        now = self.clock.now()
        due: list[tuple[int, int]] = []
        if self.belief.holds(now):
            due = sorted((g.next_due, g.gid) for g in self.groups.values() if g.next_due is not None and g.next_due <= now)
        found: list[tuple[Group, tuple[Member, ...]]] = []
        size = 0
        for _, gid in due[:limit]:
            group = self.groups[gid]
            found.append((self._group(group), self._members(group)))
            size += len(found[-1][1])
            if size >= limit:
                break
        waiting = {eno: self._waiting(eno) for eno in may_be_late(found, now)}
        return Portion(now=now, revision=self.revision, groups=with_waiting(found, waiting))

    def _waiting(self, eno: int) -> int:
        waits = (
            row.key.eno == eno and row.key.kind is Kind.SCHEDULE and row.lane is Lane.CATCH_UP
            for row in self.rows.values()
            if row.state is State.PENDING
        )
        return sum(waits)

    def _group(self, shard: Shard) -> Group:
        return Group(gid=shard.gid, recurrence=shard.recurrence, zone=shard.zone, cursor=shard.cursor, version=shard.version)

    def _members(self, shard: Shard) -> tuple[Member, ...]:
        versions = [v for v in shard.versions if v.yields]
        undecided = [v for v in versions if v.span.last is None or v.span.last > shard.cursor]
        return tuple(self._member(v, shard) for v in sorted(undecided, key=lambda v: v.eno))

    def _member(self, version: Version, shard: Shard) -> Member:
        later = self.versions_of(version.eno)
        later = later[later.index(version) + 1 :]
        heirs = [v.span for v in later if v.yields]
        return Member(
            eno=version.eno,
            name=self.names[version.eno],
            first=version.span.first,
            last=version.span.last,
            policy=(self.open_version(version.eno) or version).entry.policy,
            gone=self._gone(version.eno),
            pauses=self.pauses_of(version.eno, shard.cursor),
            heirs=tuple(Heir(recurrence=s.recurrence, zone=s.zone, first=s.first, last=s.last) for s in heirs),
        )

    def _gone(self, eno: int) -> Reason:
        version = self.open_version(eno)
        if version is None:
            return Reason.REMOVED
        return Reason.NONE if version.entry.timing.enabled else Reason.DISABLED

    def record(self, runner: Runner, windows: Sequence[Window], revision: int) -> Sequence[Claim]:
        now = self.clock.now()
        rows: list[Row] = []
        for window in windows:
            born = self.recorded(runner, window, revision, now)
            rows += self.held_in(runner, window, now) if born is None else born
        return self.claims(rows, now)

    def recorded(self, runner: Runner, window: Window, revision: int, now: Instant) -> list[Row] | None:
        """Write a window and return its rows that are born claimed; None when it does not count (any more)."""
        if revision != self.revision or not self.belief.holds(now) or not self._moved(window, now):
            return None
        self.mark(runner.id)
        return self._written(runner, window, now)

    def held_in(self, runner: Runner, window: Window, now: Instant) -> list[Row]:
        """Return the rows of a window that the runner holds."""
        return list(self.held_by(runner, (Key(eno=row.eno, due_at=row.due_at) for row in window.rows), now))

    def drafted(self, windows: Sequence[Window], runner: Runner, now: Instant) -> Sequence[Claim]:
        """Return what would be born claimed if nothing is in its way; the rows are thrown away.

        A pause that was made after `now` holds them, too.
        """
        rows = (self._row(planned, now) for window in windows for planned in window.rows)
        claims = self.claims([self.hold(row, runner, now) for row in rows if _is_due(row, now)], now)
        fresh = {pause.eno for pause in self.intervals if pause.from_at > now and not pause.once}
        return [replace(claim, paused=claim.paused or not fresh.isdisjoint((None, claim.key.eno))) for claim in claims]

    def _moved(self, window: Window, now: Instant) -> bool:
        group = self.groups.get(window.gid)
        if group is None or (group.cursor, group.version) != (window.after, window.version):
            return False
        if not window.after <= window.until <= now:
            return False
        group.cursor, group.next_due = window.until, window.next_due
        return True

    def _written(self, runner: Runner, window: Window, now: Instant) -> list[Row]:
        for gap in window.gaps:
            self.gaps.append(
                KeptGap(gid=window.gid, eno=gap.eno, after=gap.after, until=gap.until, reason=gap.reason, recorded_at=now)
            )
        born = []
        for planned in window.rows:
            self.last_due[planned.eno] = max(planned.due_at, self.last_due.get(planned.eno, planned.due_at))
            row = self._row(planned, now)
            if row.key in self.rows:
                continue
            self.rows[row.key] = row
            if _is_due(row, now):
                born.append(row)
        return self.begin(born, runner, now)

    def _row(self, planned: PlannedRow, now: Instant) -> Row:
        skipped = planned.reason is not Reason.NONE
        return Row(
            key=Key(eno=planned.eno, due_at=planned.due_at),
            send_at=planned.send_at,
            cause=planned.cause,
            recorded_at=now,
            state=State.SKIPPED if skipped else State.PENDING,
            reason=planned.reason,
            lane=planned.lane,
            next_try_at=float(planned.send_at),
        )


def _is_due(row: Row, now: Instant) -> bool:
    return row.state is State.PENDING and row.send_at <= now and row.lane is Lane.LIVE
