"""The ledger in memory: the ways back from a wrong future, and from an older state."""

from __future__ import annotations

from math import floor

from offbeat.core.marks import lost, merged
from offbeat.core.model import DueTime, Instant, Kind, Reason, State
from offbeat.core.transitions import Belief, as_far_back, next_due, set_back
from offbeat.ports.ledger_memory.shelves import UNSETTLED, KeptGap, Shard
from offbeat.ports.ledger_memory.slots import SlotsMemory
from offbeat.ports.ledger_values import Rewound, Runner, Told, clock_not_believed


class MendingMemory(SlotsMemory):
    """rewind, restored."""

    def rewind(self, to: DueTime, who: str) -> int:
        began = min((versions[0].valid_from for versions in self.versions.values() if versions), default=None)
        to = as_far_back(to, self.pruned_through, began, self.clock.now())
        moved = {gid for gid, group in self.groups.items() if group.cursor > to}
        touched = moved | self._set_versions_back(to, self.clock.now())
        for gid in touched:
            group = self.groups[gid]
            group.cursor, group.version = min(group.cursor, to), group.version + 1
            group.next_due = self._soonest(group)
        for row in [r for r in self.rows.values() if r.key.due_at > to and r.key.kind is Kind.SCHEDULE and not r.attempt]:
            del self.rows[row.key]
        self.gaps = [gap for gap in self.gaps if gap.after < to]
        for gap in self.gaps:
            gap.until = min(gap.until, to)
        self.last_due = {eno: min(last_due, to) for eno, last_due in self.last_due.items()}
        self.pruned_through = None if self.pruned_through is None else min(self.pruned_through, to)
        now = self.clock.now()
        self.belief, self.rewound = Belief(newest=now), Rewound(at=now, to=to, who=who)
        self.mark(who)
        return len(moved)

    def _set_versions_back(self, to: DueTime, now: Instant) -> set[int]:
        touched = set()
        for version in (version for versions in self.versions.values() for version in versions):
            validity = version.valid_from, version.valid_until
            version.valid_from, version.valid_until = set_back(validity, to, now)
            if validity != (version.valid_from, version.valid_until) and version.gid is not None:
                touched.add(version.gid)
        return touched

    def _soonest(self, group: Shard) -> DueTime | None:
        return next_due([version.span for version in group.versions if version.yields], group.cursor)

    def restored(self, runner: Runner, told: Told, *, skip: bool) -> bool:
        now = self.clock.now()
        if not lost(told.marks, self.marks):
            return False
        if skip and not self.belief.holds(now):
            raise clock_not_believed(self.where)
        self.marks, self.restored_at = dict(merged(self.marks, told.marks)), now
        self.mark(runner.id)
        if not skip:
            return True
        until = floor(min(now, told.heard_at))
        for row in self.rows.values():
            if row.state in UNSETTLED and row.send_at <= until:
                row.state, row.reason = State.SKIPPED, Reason.RESTORED
                self.slots = {eno: held for eno, held in self.slots.items() if held.key != row.key}
        for group in self.groups.values():
            self._forget(group, until, now)
        return True

    def _forget(self, group: Shard, until: DueTime, now: float) -> None:
        if group.cursor >= until:
            return
        if group.next_due is None or group.next_due > until:  # nothing was due in between
            group.cursor = until
            return
        self.gaps.append(
            KeptGap(gid=group.gid, eno=None, after=group.cursor, until=until, reason=Reason.RESTORED, recorded_at=now)
        )
        group.cursor = until
        group.next_due = self._soonest(group)
