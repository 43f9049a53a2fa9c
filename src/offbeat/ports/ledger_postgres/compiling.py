"""A new revision becomes versions and groups: worked out in memory, written by the batch.

Whoever calls has the ledger alone: nobody records, claims or changes the revision meanwhile, so numbers are simply counted on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import floor
from typing import Any

from offbeat.core.model import SHARD, Cause, CommandCall, DueTime, Entry, Lane, Overlap, Reason, Schedule, TaskCall, Timing
from offbeat.core.plan import PlannedRow
from offbeat.core.transitions import Span, boundary, bounds, compare, is_in, just_passed, next_due, queue_of
from offbeat.ports.ledger_claims import pauses_of
from offbeat.ports.ledger_postgres.claims import all_pauses
from offbeat.ports.ledger_postgres.connection import Tx
from offbeat.ports.ledger_postgres.covered import covered
from offbeat.ports.ledger_postgres.rows import clean

OPEN = """
SELECT e.name, e.eno, v.vno, v.gid, v.valid_from, v.recurrence, v.zone, v.starts_at, v.ends_at, v.enabled, v.definition
FROM {s}.versions v JOIN {s}.entries e ON e.eno = v.eno WHERE v.valid_until IS NULL ORDER BY v.eno"""
GROUPS = """
SELECT gid, recurrence, zone, cursor, next_due, members FROM {s}.groups WHERE gid = ANY(%(gids)s::bigint[])
UNION
SELECT g.gid, g.recurrence, g.zone, g.cursor, g.next_due, g.members
FROM unnest(%(recurrences)s::text[], %(zones)s::text[]) AS k(recurrence, zone) CROSS JOIN LATERAL (
  SELECT * FROM {s}.groups g WHERE hashtextextended(g.recurrence, 0) = hashtextextended(k.recurrence, 0)
    AND g.recurrence = k.recurrence AND g.zone = k.zone OFFSET 0) g
ORDER BY gid"""
NUMBERS = "SELECT coalesce((SELECT max(gid) FROM {s}.groups), 0), coalesce((SELECT max(vno) FROM {s}.versions), 0)"
NAMES = """
INSERT INTO {s}.entries (name) SELECT k.name FROM unnest(%(names)s::text[]) WITH ORDINALITY AS k(name, place)
LEFT JOIN LATERAL (SELECT true AS is_there FROM {s}.entries e WHERE e.name = k.name LIMIT 1) e ON true
WHERE e.is_there IS NULL ORDER BY k.place ON CONFLICT DO NOTHING"""
ENOS = "SELECT name, eno FROM {s}.entries WHERE name = ANY(%(names)s::text[])"
ENDED = """
SELECT eno, max(valid_until) - 1 FROM {s}.versions
WHERE eno = ANY(%(enos)s::bigint[]) AND valid_until IS NOT NULL GROUP BY eno"""
CLOSE = """
UPDATE {s}.versions v SET valid_until = k.valid_until, last = k.last
FROM unnest(%(vnos)s::bigint[], %(untils)s::bigint[], %(lasts)s::bigint[]) AS k(vno, valid_until, last) WHERE v.vno = k.vno"""
_DEFINITION = "queue, expires, command, catch_up, grace, jitter, jitter_percent, overlap, max_runtime, definition"
_DEFINITIONS = """\
%(queue)s::text[], %(expires)s::bigint[], %(command)s::boolean[], %(catch_up)s::text[], %(grace)s::bigint[],
  %(jitter)s::bigint[], %(jitter_percent)s::bigint[], %(overlap)s::text[], %(max_runtime)s::bigint[], %(definition)s::text[]"""
REDEFINE = f"""
UPDATE {{s}}.versions v SET ({_DEFINITION}) = (SELECT {", ".join("k." + name for name in _DEFINITION.split(", "))})
FROM unnest(%(vnos)s::bigint[], {_DEFINITIONS}) AS k(vno, {_DEFINITION}) WHERE v.vno = k.vno"""
_TIMING = "vno, eno, gid, recurrence, zone, starts_at, ends_at, enabled, valid_from, first, last"
ADD_VERSIONS = f"""
INSERT INTO {{s}}.versions (rev, {_TIMING}, {_DEFINITION})
SELECT %(rev)s, k.* FROM unnest(%(vnos)s::bigint[], %(enos)s::bigint[], %(gids)s::bigint[], %(recurrences)s::text[],
  %(zones)s::text[], %(starts)s::bigint[], %(ends)s::bigint[], %(enabled)s::boolean[], %(froms)s::bigint[],
  %(firsts)s::bigint[], %(lasts)s::bigint[], {_DEFINITIONS}) AS k({_TIMING}, {_DEFINITION})"""
SAVE_GROUPS = """
INSERT INTO {s}.groups AS g (gid, recurrence, zone, cursor, next_due, version, members)
SELECT k.gid, k.recurrence, k.zone, k.cursor, k.next_due, k.touched, k.members FROM unnest(%(gids)s::bigint[],
  %(recurrences)s::text[], %(zones)s::text[], %(cursors)s::bigint[], %(nexts)s::bigint[], %(touched)s::bigint[],
  %(members)s::integer[]) AS k(gid, recurrence, zone, cursor, next_due, touched, members)
ON CONFLICT (gid) DO UPDATE SET cursor = excluded.cursor, next_due = excluded.next_due,
  version = g.version + excluded.version, members = excluded.members"""
ADD_SLOTS = "INSERT INTO {s}.slots (eno) SELECT unnest(%(enos)s::bigint[]) ON CONFLICT DO NOTHING"


@dataclass(slots=True, kw_only=True)
class _Open:
    """An open version."""

    eno: int
    vno: int
    gid: int | None
    valid_from: DueTime
    timing: Timing
    definition: str


@dataclass(slots=True, kw_only=True)
class _Group:
    gid: int
    recurrence: str
    zone: str
    cursor: DueTime
    next_due: DueTime | None
    members: int
    is_touched: bool = False


@dataclass(slots=True, kw_only=True)
class _New:
    """A version to be added."""

    vno: int
    eno: int
    gid: int | None
    valid_from: DueTime
    entry: Entry


@dataclass(slots=True)
class Compilation:
    """One activation, in the caller's transaction."""

    tx: Tx
    revision: int
    _groups: dict[int, _Group] = field(default_factory=dict)
    _shards: dict[tuple[str, str], list[_Group]] = field(default_factory=dict)
    _closed: dict[int, tuple[_Open, DueTime]] = field(default_factory=dict)
    _added: list[_New] = field(default_factory=list)
    _top: tuple[int, int] = (0, 0)  # the highest gid and vno

    def run(self, schedule: Schedule) -> list[PlannedRow]:
        """Make the changes, raise the version of each touched group; return what has just passed and is to be recorded."""
        present = {row[0]: _open(row) for row in self.tx.rows(OPEN)}
        changes = compare({name: version.timing for name, version in present.items()}, schedule.entries)
        enos, ended = self._numbers(changes.opened)
        self._load(changes.opened, [present[name] for name in changes.removed], present)
        for name in changes.removed:
            self._close(present[name])
        for entry in changes.opened:
            self._open(entry, present.get(entry.name), enos[entry.name], ended.get(enos[entry.name]))
        self._write()
        self._redefine([(present[entry.name], entry) for entry in changes.kept])
        slotted = [entry for entry in schedule.entries if entry.policy.overlap is not Overlap.ALLOW]
        if slotted:
            numbers = enos | {name: version.eno for name, version in present.items()}
            self.tx.run(ADD_SLOTS, enos=[numbers[entry.name] for entry in slotted])
        return self._passed(changes.opened, enos) if self.revision > 1 else []

    def _numbers(self, opened: Sequence[Entry]) -> tuple[dict[str, int], dict[int, DueTime]]:
        """Return the entries' numbers, new names get one, and until when their earlier versions held."""
        names = [entry.name for entry in opened]
        if not names:
            return {}, {}
        self.tx.run(NAMES, names=names)
        enos: dict[str, int] = dict(self.tx.rows(ENOS, names=names))
        return enos, dict(self.tx.rows(ENDED, enos=list(enos.values())))

    def _load(self, opened: Sequence[Entry], removed: Sequence[_Open], present: dict[str, _Open]) -> None:
        old = [*removed, *(present[entry.name] for entry in opened if entry.name in present)]
        gids = sorted({version.gid for version in old if version.gid is not None})
        rules = sorted({(entry.timing.recurrence, entry.timing.zone) for entry in opened if entry.timing.enabled})
        rows = self.tx.rows(GROUPS, gids=gids, recurrences=[rule for rule, _ in rules], zones=[zone for _, zone in rules])
        for gid, recurrence, zone, cursor, soonest, members in rows:
            group = _Group(gid=gid, recurrence=recurrence, zone=zone, cursor=cursor, next_due=soonest, members=members)
            self._groups[gid] = group
            self._shards.setdefault((recurrence, zone), []).append(group)
        top = self.tx.row(NUMBERS)
        assert top is not None
        self._top = (top[0], top[1])

    def _close(self, version: _Open) -> None:
        cursor = None
        if version.gid is not None:
            group = self._groups[version.gid]
            cursor, group.is_touched = group.cursor, True
            group.members -= 1
        self._closed[version.vno] = (version, boundary(self.tx.now, cursor, version.valid_from - 1))

    def _open(self, entry: Entry, old: _Open | None, eno: int, ended: DueTime | None) -> None:
        if old:
            self._close(old)
        group = self._group_with_room(entry.timing) if entry.timing.enabled else None
        decided = [ended, self._closed[old.vno][1] - 1 if old else None, group.cursor if group else None]
        valid_from = boundary(self.tx.now, *decided)
        if old:
            self._closed[old.vno] = (old, valid_from)
        self._top = (self._top[0], self._top[1] + 1)
        gid = group.gid if group else None
        self._added.append(_New(vno=self._top[1], eno=eno, gid=gid, valid_from=valid_from, entry=entry))
        if group:
            first, last = bounds(entry.timing, valid_from, None)
            span = Span(recurrence=entry.timing.recurrence, zone=entry.timing.zone, first=first, last=last)
            soonest = next_due([span], valid_from - 1)
            group.next_due = min((due for due in (group.next_due, soonest) if due is not None), default=None)
            group.members += 1
            group.is_touched = True

    def _group_with_room(self, timing: Timing) -> _Group:
        """Return a group of this recurrence with room, made anew where there is none."""
        shards = self._shards.setdefault((timing.recurrence, timing.zone), [])
        for group in shards:
            if group.members < SHARD:
                if group.next_due is None or group.next_due > self.tx.now:  # nothing is due in between
                    group.cursor = max(group.cursor, floor(self.tx.now))
                return group
        self._top = (self._top[0] + 1, self._top[1])
        new = _Group(
            gid=self._top[0],
            recurrence=timing.recurrence,
            zone=timing.zone,
            cursor=floor(self.tx.now),
            next_due=None,
            members=0,
        )
        shards.append(new)
        self._groups[new.gid] = new
        return new

    def _write(self) -> None:
        if self._closed:
            closed = list(self._closed.values())
            lasts = [bounds(version.timing, version.valid_from, until)[1] for version, until in closed]
            self.tx.run(CLOSE, vnos=list(self._closed), untils=[until for _, until in closed], lasts=lasts)
        touched = [group for group in self._groups.values() if group.is_touched]
        if touched:
            self.tx.run(SAVE_GROUPS, **_group_columns(touched))
        for start in range(0, len(self._added), 5000):
            self.tx.run(ADD_VERSIONS, rev=self.revision, **_version_columns(self._added[start : start + 5000]))

    def _redefine(self, kept: Iterable[tuple[_Open, Entry]]) -> None:
        from offbeat.core.serial import entry_to_json

        changed = [(version.vno, entry) for version, entry in kept if entry_to_json(entry) != version.definition]
        if changed:
            self.tx.run(REDEFINE, vnos=[vno for vno, _ in changed], **_definitions([entry for _, entry in changed]))

    def _passed(self, opened: Sequence[Entry], enos: dict[str, int]) -> list[PlannedRow]:
        passed = [(enos[entry.name], due_at) for entry in opened for due_at in just_passed(entry.timing, self.tx.now)]
        pauses = all_pauses(self.tx) if passed else []
        return [
            PlannedRow(
                eno=eno,
                due_at=due_at,
                send_at=due_at,
                lane=Lane.LIVE,
                cause=Cause.SCHEDULE,
                reason=Reason.PAUSED if is_in(pauses_of(pauses, eno, due_at), due_at) else Reason.NONE,
            )
            for eno, due_at in passed
            if covered(self.tx, eno, due_at) is None
        ]


def definition_columns(call: TaskCall | CommandCall) -> tuple[str, int | None, bool]:
    """Return queue, expires, command."""
    return queue_of(call), call.expires if isinstance(call, TaskCall) else None, isinstance(call, CommandCall)


def _open(row: Sequence[Any]) -> _Open:
    _, eno, vno, gid, valid_from, recurrence, zone, starts_at, ends_at, enabled, definition = row
    timing = Timing(recurrence=recurrence, zone=zone, starts_at=starts_at, ends_at=ends_at, enabled=enabled)
    return _Open(eno=eno, vno=vno, gid=gid, valid_from=valid_from, timing=timing, definition=definition)


def _definitions(entries: Sequence[Entry]) -> dict[str, list[Any]]:
    from offbeat.core.serial import entry_to_json

    calls = [definition_columns(entry.call) for entry in entries]
    return {
        "queue": [queue for queue, _, _ in calls],
        "expires": [expires for _, expires, _ in calls],
        "command": [command for _, _, command in calls],
        "catch_up": [str(entry.policy.catch_up) for entry in entries],
        "grace": [entry.policy.grace for entry in entries],
        "jitter": [entry.policy.jitter for entry in entries],
        "jitter_percent": [entry.policy.jitter_percent for entry in entries],
        "overlap": [str(entry.policy.overlap) for entry in entries],
        "max_runtime": [entry.policy.max_runtime for entry in entries],
        "definition": [clean(entry_to_json(entry)) for entry in entries],
    }


def _version_columns(added: Sequence[_New]) -> dict[str, list[Any]]:
    timings = [new.entry.timing for new in added]
    ends = [bounds(new.entry.timing, new.valid_from, None) for new in added]
    return {
        "vnos": [new.vno for new in added],
        "enos": [new.eno for new in added],
        "gids": [new.gid for new in added],
        "recurrences": [timing.recurrence for timing in timings],
        "zones": [timing.zone for timing in timings],
        "starts": [timing.starts_at for timing in timings],
        "ends": [timing.ends_at for timing in timings],
        "enabled": [timing.enabled for timing in timings],
        "froms": [new.valid_from for new in added],
        "firsts": [first for first, _ in ends],
        "lasts": [last for _, last in ends],
        **_definitions([new.entry for new in added]),
    }


def _group_columns(groups: Sequence[_Group]) -> dict[str, list[Any]]:
    return {
        "gids": [group.gid for group in groups],
        "recurrences": [group.recurrence for group in groups],
        "zones": [group.zone for group in groups],
        "cursors": [group.cursor for group in groups],
        "nexts": [group.next_due for group in groups],
        "touched": [1] * len(groups),
        "members": [group.members for group in groups],
    }
