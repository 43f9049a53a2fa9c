"""The ledger in memory: which occurrence has its entry's slot (overlap), and what waits for it."""

from __future__ import annotations

from collections.abc import Iterable

from offbeat.core.model import Instant, Policy, Reason, State
from offbeat.core.slots import Turn, judge_slot, slot_seconds, taken
from offbeat.ports.ledger_memory.shelves import Row, Shelves
from offbeat.ports.ledger_values import LEASE, LONGEST_WAIT, Runner


class SlotsMemory(Shelves):
    """Rows become claimed by `begin` only, wherever that happens."""

    def begin(self, rows: Iterable[Row], runner: Runner, now: Instant) -> list[Row]:
        """Give the rows to the runner, one after the other; return those whose turn it is. The others are skipped or wait."""
        return [row for row in rows if self._begun(row, runner, now)]

    def _begun(self, row: Row, runner: Runner, now: Instant) -> bool:
        eno = row.key.eno
        policy = self.policy_of(eno)
        if not slot_seconds(policy, row.key.kind):
            self.hold(row, runner, now)
            return True
        if row.state is State.SKIPPED:  # a newer one of this batch goes, or waits, in its place
            return False
        holder, waiting = self.slots.get(eno), self.waiting_of(eno)
        turn = judge_slot(row.key, policy, holder=holder, waiting=waiting.key if waiting else None, now=now)
        if turn in (Turn.OVERTAKE, Turn.WAIT) and waiting is not None and waiting is not row:
            waiting.state, waiting.reason = State.SKIPPED, Reason.OVERLAP
        if turn in (Turn.GO, Turn.OVERTAKE):
            self.hold(row, runner, now)
            self._take(row, now)
            return True
        if turn is Turn.WAIT and holder is not None:
            row.state, row.owner, row.waited = State.WAITING, "", True
            row.next_try_at = holder.ends(slot_seconds(policy, row.key.kind))
        else:
            row.state, row.reason = State.SKIPPED, Reason.OVERLAP
        return False

    def policy_of(self, eno: int) -> Policy | None:
        """Return the entry's policy that holds now, None when it is not in the active revision."""
        version = self.open_version(eno)
        return version.entry.policy if version else None

    def waiting_of(self, eno: int) -> Row | None:
        """Return what waits for the entry's slot."""
        return next((row for row in self.rows.values() if row.key.eno == eno and row.state is State.WAITING), None)

    def still_waits(self, row: Row, now: Instant) -> bool:
        """Return whether the slot that a WAITING row waits for is not free yet."""
        holder, seconds = self.slots.get(row.key.eno), slot_seconds(self.policy_of(row.key.eno), row.key.kind)
        return row.next_try_at > now and holder is not None and holder.holds(seconds, now)

    def _take(self, row: Row, now: Instant) -> None:
        seconds = slot_seconds(self.policy_of(row.key.eno), row.key.kind)
        if seconds:
            self.slots[row.key.eno] = taken(row.key, seconds, self.slots.get(row.key.eno), now)

    def prolong(self, row: Row, now: Instant) -> None:
        """Hold the slot until max_runtime from now, unless another occurrence has it; what waits waits as long."""
        policy, holder = self.policy_of(row.key.eno), self.slots.get(row.key.eno)
        seconds = slot_seconds(policy, row.key.kind)
        if not seconds or judge_slot(row.key, policy, holder=holder, waiting=None, now=now) is not Turn.GO:
            return
        self._take(row, now)
        if (waiting := self.waiting_of(row.key.eno)) is not None:
            waiting.next_try_at = self.slots[row.key.eno].until

    def free(self, row: Row, now: Instant) -> None:
        """Free the slot if the row has it; what waits for it is to be claimed now."""
        holder = self.slots.get(row.key.eno)
        if holder is None or holder.key != row.key:
            return
        del self.slots[row.key.eno]
        waiting = self.waiting_of(row.key.eno)
        if waiting is not None:
            waiting.next_try_at = max(now, waiting.send_at)

    def try_at(self, row: Row, now: Instant) -> Instant:
        """Return when to claim an unsettled row; what was held in a wrong future is to be claimed at once."""
        if row.state is State.WAITING:
            return row.next_try_at if self.still_waits(row, now) or row.send_at > now else min(row.next_try_at, now)
        claimed = row.state is State.CLAIMED
        instant, longest = (row.lease_until, 2 * LEASE) if claimed else (row.next_try_at, LONGEST_WAIT)
        return now if instant > now + longest and row.send_at <= now else instant
