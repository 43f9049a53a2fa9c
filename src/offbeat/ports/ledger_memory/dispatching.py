"""The ledger in memory, for runners: from rows to settled rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from offbeat.core.model import Instant, Key, Kind, Lane, State
from offbeat.core.recheck import held_back
from offbeat.core.transitions import Verdict, judge_outcome, shares
from offbeat.ports.ledger_memory.shelves import UNSETTLED, Row
from offbeat.ports.ledger_memory.slots import SlotsMemory
from offbeat.ports.ledger_values import SETTLES, Claim, Outcome, Runner


class DispatchingMemory(SlotsMemory):
    """claim, settle."""

    def claim(self, runner: Runner, limit: int, closed_queues: Collection[str] = ()) -> Sequence[Claim]:
        now = self.clock.now()
        while rows := self.claimable(limit, closed_queues, now):
            self.mark(runner.id, len(rows))
            if begun := self.begin([row for row in rows if not self._held_back(row, now)], runner, now):
                return self.claims(begun, now)
        return []

    def _held_back(self, row: Row, now: Instant) -> bool:
        """Return whether a pause holds the row of a backfill; it is looked at again later then."""
        if row.key.kind is not Kind.BACKFILL or not self.is_paused(row.key.eno, now):
            return False
        row.state, row.owner, row.send_at = State.PENDING, "", held_back(row.send_at, now)
        row.next_try_at = float(row.send_at)
        return True

    def claimable(self, limit: int, closed_queues: Collection[str], now: Instant) -> list[Row]:
        """Return what would be claimed now, lane by lane."""
        if not self.belief.holds(now):
            return []
        lanes: dict[Lane, list[Row]] = {lane: [] for lane in Lane}
        for row in self.rows.values():
            if row.state not in UNSETTLED or self.try_at(row, now) > now:
                continue
            if self.queue_of(row) not in closed_queues:
                lanes[row.lane].append(row)
        for rows in lanes.values():
            rows.sort(key=lambda row: (row.next_try_at, row.key))
        given = shares(limit, [len(rows) for rows in lanes.values()])
        return [row for rows, count in zip(lanes.values(), given, strict=True) for row in rows[:count]]

    def settle(self, runner: Runner, outcomes: Sequence[Outcome]) -> Sequence[Key]:
        now = self.clock.now()
        return [outcome.key for outcome in outcomes if self._settled(runner, outcome, now)]

    def _settled(self, runner: Runner, outcome: Outcome, now: Instant) -> bool:
        assert outcome.state in SETTLES, outcome.state
        row = self.rows.get(outcome.key)
        if row is None or row.attempt != outcome.attempt or row.attempt == 0:
            return False
        same = outcome.reason is row.reason
        if outcome.state is State.PENDING:
            same = (row.next_try_at, row.lane) == (max(outcome.next_try_at, row.send_at), outcome.lane)
        mine = row.owner == runner.id
        verdict = judge_outcome(row.state, outcome.state, same=same, is_command=row.is_command, mine=mine)
        if verdict is Verdict.WRITTEN:
            self.write(row, outcome, now)
        elif verdict is Verdict.STAMPED:
            self.mark(row.owner)
            row.dispatched_at = now if row.dispatched_at is None else row.dispatched_at
            row.task_id = outcome.task_id or row.task_id
        return verdict is not Verdict.REFUSED

    def write(self, row: Row, outcome: Outcome, now: Instant) -> None:
        """Settle the row, and free its entry's slot or hold it on."""
        self.mark(row.owner)
        self._fill(row, outcome, now)
        if outcome.state is State.DISPATCHED:
            self.prolong(row, now)
        else:
            self.free(row, now)

    def _fill(self, row: Row, outcome: Outcome, now: Instant) -> None:
        row.state, row.note = outcome.state, outcome.error
        if outcome.state is State.PENDING:
            row.next_try_at, row.lane, row.owner = max(outcome.next_try_at, row.send_at), outcome.lane, ""
            return
        row.reason = outcome.reason
        sent = outcome.state is State.DISPATCHED
        row.dispatched_at, row.task_id = (now, outcome.task_id) if sent else (None, "")
