"""The ledger in memory, for runners: from rows to settled rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from offbeat.core.model import Instant, Key, Lane, LedgerSettings, State
from offbeat.core.transitions import Verdict, judge_outcome, prunable, shares
from offbeat.ports.ledger import KEEP
from offbeat.ports.ledger_memory.shelves import UNSETTLED, Row, Shelves
from offbeat.ports.ledger_values import LEASE, LONGEST_WAIT, SETTLES, Claim, Outcome, Runner


class DispatchingMemory(Shelves):
    """claim, settle, prune."""

    def claim(self, runner: Runner, limit: int, closed_queues: Collection[str] = ()) -> Sequence[Claim]:
        now = self.clock.now()
        rows = [self.hold(row, runner, now) for row in self.claimable(limit, closed_queues, now)]
        return self.claims(rows, now)

    def claimable(self, limit: int, closed_queues: Collection[str], now: Instant) -> list[Row]:
        """Return what would be claimed now, lane by lane."""
        if not self.belief.holds(now):
            return []
        lanes: dict[Lane, list[Row]] = {lane: [] for lane in Lane}
        for row in self.rows.values():
            if self._has_come(row, now) and (not (queue := self.queue_of(row)) or queue not in closed_queues):
                lanes[row.lane].append(row)
        for rows in lanes.values():
            rows.sort(key=lambda row: (row.next_try_at, row.key))
        given = shares(limit, [len(rows) for rows in lanes.values()])
        return [row for rows, count in zip(lanes.values(), given, strict=True) for row in rows[:count]]

    def _has_come(self, row: Row, now: Instant) -> bool:
        if row.state is State.CLAIMED:
            return row.lease_until <= now or (row.lease_until > now + 2 * LEASE and row.send_at <= now)
        if row.state is State.PENDING:
            return row.next_try_at <= now or (row.next_try_at > now + LONGEST_WAIT and row.send_at <= now)
        return False

    def settle(self, runner: Runner, outcomes: Sequence[Outcome]) -> Sequence[Key]:
        now = self.clock.now()
        return [outcome.key for outcome in outcomes if self._settled(outcome, now)]

    def _settled(self, outcome: Outcome, now: Instant) -> bool:
        assert outcome.state in SETTLES, outcome.state
        row = self.rows.get(outcome.key)
        if row is None or row.attempt != outcome.attempt or row.attempt == 0:
            return False
        same = outcome.reason is row.reason
        if outcome.state is State.PENDING:
            same = (row.next_try_at, row.lane) == (max(outcome.next_try_at, row.send_at), outcome.lane)
        verdict = judge_outcome(row.state, outcome.state, same=same, is_command=row.is_command)
        if verdict is Verdict.WRITTEN:
            self._write(row, outcome, now)
        elif verdict is Verdict.STAMPED:
            row.dispatched_at = now if row.dispatched_at is None else row.dispatched_at
            row.task_id = outcome.task_id or row.task_id
        return verdict is not Verdict.REFUSED

    def _write(self, row: Row, outcome: Outcome, now: Instant) -> None:
        row.state, row.note = outcome.state, outcome.error
        if outcome.state is State.PENDING:
            row.next_try_at, row.lane, row.owner = max(outcome.next_try_at, row.send_at), outcome.lane, ""
            return
        row.reason = outcome.reason
        sent = outcome.state is State.DISPATCHED
        row.dispatched_at, row.task_id = (now, outcome.task_id) if sent else (None, "")

    def prune(self, limit: int, keep: LedgerSettings = KEEP) -> int:
        now = self.clock.now()
        if not self.belief.holds(now):
            return 0
        through = prunable(now, self.soonest_due())
        self.pruned_through = through = max(through, through if self.pruned_through is None else self.pruned_through)
        old = [row.key for row in self.rows.values() if row.key.due_at <= through and row.state not in UNSETTLED]
        for key in sorted(old, key=lambda key: (key.due_at, key))[:limit]:
            del self.rows[key]
        gone = min(len(old), limit)
        past = sorted((gap for gap in self.gaps if gap.until <= through), key=lambda gap: gap.until)
        ended = past[: limit - gone]
        self.gaps = [gap for gap in self.gaps if gap not in ended]
        self.intervals = [pause for pause in self.intervals if pause.until_at is None or pause.until_at > through]
        return gone + len(ended)
