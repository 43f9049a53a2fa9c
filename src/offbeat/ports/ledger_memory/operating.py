"""The ledger in memory, for people and for the compile step."""

from __future__ import annotations

from math import floor

from offbeat.core.model import PUNCTUAL, SHARD, Cause, CommandCall, Entry, Instant, Key, Kind, Reason, Schedule, State, TaskCall
from offbeat.core.transitions import boundary, compare, is_in, is_stale, just_passed, next_due
from offbeat.ports.ledger_memory.pausing import PausingMemory
from offbeat.ports.ledger_memory.shelves import Kept, Row, Shard, Version
from offbeat.ports.ledger_memory.slots import SlotsMemory
from offbeat.ports.ledger_values import COMPILED, Origin, Runner, Slot, clock_not_believed, require_rules, unknown_entry


class OperatingMemory(PausingMemory, SlotsMemory):
    """activate, refuse, fire, slot."""

    def activate(
        self, schedule: Schedule, stamp: str, problems: str = "", *, known: str | None = None, origin: Origin = COMPILED
    ) -> int:
        now = self.clock.now()
        if not self.belief.holds(now):
            raise clock_not_believed(self.where)
        if (self.deployed and not origin.deployed) or is_stale(self.stamp, stamp, known):
            return 0
        old = self.rules()
        require_rules(schedule.rules, old, origin, self.where)
        self.deployed = self.deployed or origin.deployed
        self.stamp, self.problems, self.refused_whole = stamp, problems, False
        if self.active is not None and schedule.digest and self.active.digest == schedule.digest:
            self.kept[-1].origin = origin if origin.deployed else self.kept[-1].origin
            return self.revision
        if schedule.rules != old:
            self._work_out_anew()
        self._compile(schedule, now)
        self.kept.append(Kept(schedule=schedule, activated_at=now, origin=origin))
        return self.revision

    def _compile(self, schedule: Schedule, now: Instant) -> None:
        present = {self.names[eno]: v for eno in sorted(self.versions) if (v := self.open_version(eno)) is not None}
        changes = compare({name: version.entry.timing for name, version in present.items()}, schedule.entries)
        touched: set[int] = set()
        for name in changes.removed:
            touched |= self._close(present[name], now)
        for entry in changes.kept:
            present[entry.name].entry = entry
        for entry in changes.opened:
            touched |= self._open(entry, present.get(entry.name), now)
            if self.revision:
                self._record_passed(entry, now)
        for gid in touched:
            self.groups[gid].version += 1

    def _work_out_anew(self) -> None:
        for group in self.groups.values():
            group.next_due = next_due([version.span for version in group.versions if version.yields], group.cursor)
            group.version += 1

    def _close(self, version: Version, now: Instant) -> set[int]:
        cursor = self.groups[version.gid].cursor if version.gid else None
        version.valid_until = boundary(now, cursor, version.valid_from - 1)
        if not version.gid:
            return set()
        self.groups[version.gid].open -= 1
        return {version.gid}

    def _open(self, entry: Entry, old: Version | None, now: Instant) -> set[int]:
        touched = self._close(old, now) if old else set()
        eno = self.number_of(entry.name)
        group = self._group_with_room(entry, now)
        ended = [v.valid_until - 1 for v in self.versions_of(eno) if v.valid_until is not None]
        valid_from = boundary(now, group.cursor if group else None, *ended)
        if old:
            old.valid_until = valid_from
        version = Version(eno=eno, entry=entry, gid=group.gid if group else None, valid_from=valid_from)
        self.versions.setdefault(eno, []).append(version)
        if group:
            group.open += 1
            group.versions.append(version)
            soonest = next_due([version.span], valid_from - 1)
            group.next_due = min((due for due in (group.next_due, soonest) if due is not None), default=None)
            touched.add(group.gid)
        return touched

    def _group_with_room(self, entry: Entry, now: Instant) -> Shard | None:
        if not entry.timing.enabled:
            return None
        recurrence, zone = entry.timing.recurrence, entry.timing.zone
        shards = self.shards.setdefault((recurrence, zone), [])
        for group in shards:
            if group.open < SHARD:
                if group.next_due is None or group.next_due > now:
                    group.cursor = max(group.cursor, floor(now))  # nothing is due in between
                return group
        shards.append(Shard(gid=len(self.groups) + 1, recurrence=recurrence, zone=zone, cursor=floor(now)))
        self.groups[shards[-1].gid] = shards[-1]
        return shards[-1]

    def _record_passed(self, entry: Entry, now: Instant) -> None:
        eno = self.number_of(entry.name)
        for due_at in just_passed(entry.timing, now):
            key = Key(eno=eno, due_at=due_at)
            if key not in self.rows and self.decided_in_gap(eno, due_at) is None:
                self.mark("activate")
                row = Row(key=key, send_at=due_at, cause=Cause.SCHEDULE, recorded_at=now, next_try_at=float(due_at))
                if is_in(self.pauses_of(eno, due_at), due_at):
                    row.state, row.reason = State.SKIPPED, Reason.PAUSED
                self.rows[key] = row
                self.last_due[eno] = max(due_at, self.last_due.get(eno, due_at))

    def refuse(self, stamp: str, problems: str, *, known: str | None = None) -> None:
        if not is_stale(self.stamp, stamp, known):
            self.stamp, self.problems, self.refused_whole = stamp, problems, True

    def fire(self, runner: Runner, name: str, token: str, call: TaskCall | CommandCall | None = None) -> Slot:
        now = self.clock.now()
        if call is None and self.open_version(self.enos.get(name)) is None:
            raise unknown_entry(name, self.where)
        eno = self.number_of(name)
        known = [r for r in self.rows.values() if (r.key.eno, r.key.kind, r.key.kind_id) == (eno, Kind.MANUAL, token)]
        if known:
            return self._held(known[0], runner, now)
        key = Key(eno=eno, due_at=floor(now), kind=Kind.MANUAL, kind_id=token)
        return self._born(Row(key=key, send_at=key.due_at, cause=Cause.MANUAL, recorded_at=now, call=call), runner, now)

    def slot(self, runner: Runner, name: str, due_at: int) -> Slot:
        now = self.clock.now()
        key = Key(eno=self.present(name), due_at=due_at)
        if key in self.rows:
            return self._held(self.rows[key], runner, now)
        if known := self.known(key):
            return known
        self.last_due[key.eno] = due_at
        cause = Cause.CATCH_UP if now - due_at > PUNCTUAL else Cause.SCHEDULE
        return self._born(Row(key=key, send_at=min(due_at, floor(now)), cause=cause, recorded_at=now), runner, now)

    def _held(self, row: Row, runner: Runner, now: Instant) -> Slot:
        held = self.claims(self.held_by(runner, [row.key], now), now)
        return Slot(
            key=row.key,
            claim=held[0] if held else None,
            state=row.state,
            reason=row.reason,
            dispatched_at=row.dispatched_at,
        )

    def _born(self, row: Row, runner: Runner, now: Instant) -> Slot:
        row.next_try_at = float(row.send_at)
        self.rows[row.key] = row
        self.mark(runner.id)
        begun = self.claims(self.begin([row], runner, now), now)
        return Slot(key=row.key, claim=begun[0] if begun else None, state=row.state, reason=row.reason)
