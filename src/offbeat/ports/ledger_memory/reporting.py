"""The ledger in memory, for whoever runs what was sent."""

from __future__ import annotations

from collections.abc import Sequence

from offbeat.core.model import RANK, Instant, Key, State
from offbeat.core.transitions import Verdict, judge_report
from offbeat.ports.ledger_memory.shelves import Row
from offbeat.ports.ledger_memory.slots import SlotsMemory
from offbeat.ports.ledger_values import LONGEST_HOLD, Report, Runner


class ReportingMemory(SlotsMemory):
    """report, occupy, vacate, admit."""

    def report(self, runner: Runner, reports: Sequence[Report]) -> Sequence[Key]:
        now = self.clock.now()
        self.beat(runner, now)
        return [report.key for report in reports if self._reported(runner, report, now)]

    def _reported(self, runner: Runner, report: Report, now: Instant) -> bool:
        row = self.rows.get(report.key)
        if row is None or row.attempt != report.attempt or row.attempt == 0:
            return False
        verdict = judge_report(row.state, row.reason, report.state, mine=row.owner == runner.id)
        if verdict is Verdict.WRITTEN:
            self._tell(row, report, now)
            row.owner = runner.id
            if RANK[row.state] < RANK[State.SUCCEEDED]:
                self.prolong(row, now)
            else:
                self.free(row, now)
        return verdict is not Verdict.REFUSED

    def _tell(self, row: Row, report: Report, now: Instant) -> None:
        row.state, row.reason = report.state, report.reason
        row.note = report.note or row.note
        if report.state is State.DISPATCHED:
            row.dispatched_at = now if row.dispatched_at is None else row.dispatched_at
        elif RANK[report.state] < RANK[State.SUCCEEDED]:
            row.started_at = now if row.started_at is None else row.started_at
        else:
            row.finished_at, row.exit_status = now, report.exit_status
        if report.output:
            row.output = report.output

    def occupy(self, name: str, owner: str, seconds: float) -> bool:
        now = self.clock.now()
        holder, until_at = self.busy.get(name, (owner, now))
        if holder != owner and now < until_at <= now + LONGEST_HOLD:
            return False
        self.busy[name] = (owner, now + seconds)
        return True

    def vacate(self, name: str, owner: str) -> None:
        if name in self.busy and self.busy[name][0] == owner:
            del self.busy[name]

    def admit(self, occurrence: str, attempt: int) -> bool:
        return self.admitted.setdefault(occurrence, attempt) == attempt
