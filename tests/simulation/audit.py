"""The audit at the end of a run: every due time is known, exactly once, each skip has a cause, and what was sent was pushed.

Reads the ledger as a person does, through `history`, and holds it against the checker's book.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulation.book import inside, is_late, spread_at_most

from offbeat.core.identity import occurrence_id
from offbeat.core.model import CatchUp, Kind, Overlap, Reason, State
from offbeat.ports.ledger_values import LEASE, HistoryRow

if TYPE_CHECKING:
    from tests.simulation.scenario import Run

SENT = (State.DISPATCHED, State.STARTED, State.RETRYING, State.SUCCEEDED, State.FAILED)
LIVE = (State.PENDING, State.CLAIMED, State.WAITING)


class Audit:
    """Looks at everything. settled_by: the instant by which a live row that was due before must have been settled."""

    def __init__(self, run: Run, *, calm_from: float, slack: float, poll: float) -> None:
        self.run, self.checker, self.book = run, run.checker, run.checker.book
        self.calm_from, self.slack, self.poll = calm_from, slack, poll
        self.now = run.clock.now()
        self.horizon = int(self.now - slack)
        self.looked_at: dict[float, float] = {}
        for recorded, looked in self.checker.decided:
            self.looked_at[recorded] = max(looked, self.looked_at.get(recorded, looked))

    def check(self) -> None:
        """Look at every row and gap, entry by entry."""
        rows: dict[str, list[HistoryRow]] = {}
        for row in self.run.store.history(limit=10**9):
            rows.setdefault(row.entry, []).append(row)
        for name in sorted({*rows, *self.book.versions}):
            mine = rows.get(name, [])
            self._once(name, [row for row in mine if row.kind == Kind.SCHEDULE])
            for row in mine:
                if row.until is None:
                    self._row(name, row)

    def _once(self, name: str, mine: list[HistoryRow]) -> None:
        """Every due time up to the horizon is exactly one of row, gap and pruned, and nothing else is (I1)."""
        top = int(max(self.checker.newest, self.now))
        bottom = self.run.pruned_before()
        sure = self.book.due(name, max(int(self.run.world.began) - 100_000, bottom), self.horizon, sure=True)
        may = self.book.due(name, int(self.run.world.began) - 100_000, top, sure=False)
        known = self._rows_known(name, mine, may)
        for gap in (row for row in mine if row.until is not None):
            assert gap.until is not None
            covered = [at for at in inside(may, gap.due_at, gap.until) if at not in known or known[at] > 100]
            self._gap(name, gap, covered)
            for at in covered:
                known[at] = known.get(at, 0) + 1000
        for at in sure:
            times = known.get(at, 0)
            if not times and not self._may_be_swallowed(name, at):
                self.checker.wrong("LOSS", "a due time of which the ledger knows nothing", name, at)
            elif times not in (0, 1, 1000):
                self.checker.wrong("I1", "a due time that is known more than once", name, at, times)

    def _rows_known(self, name: str, mine: list[HistoryRow], may: list[int]) -> dict[int, int]:
        """Return how many rows each due time has."""
        known: dict[int, int] = {}
        for row in (row for row in mine if row.until is None):
            known[row.due_at] = known.get(row.due_at, 0) + 1
            if not inside(may, row.due_at, row.due_at) and row.key not in self.checker.by_hand:
                where = (name, row.due_at, row.state, row.reason, row.recorded_at)
                self.checker.wrong("I1", "a row for what was never due", *where)
        return known

    def _may_be_swallowed(self, name: str, at: int) -> bool:
        """Return whether a change brought this instant late, where the gap of a restore may span it already."""
        return bool(self.run.restores) and any(at in version.passed for version in self.book.versions[name])

    def _gap(self, name: str, gap: HistoryRow, covered: list[int]) -> None:
        for at in covered:
            if not self._has_cause(name, at, gap.reason, gap.recorded_at or 0.0):
                self.checker.wrong("LOSS", "in a gap without a cause", name, at, gap.reason, gap.recorded_at)
                return

    def _row(self, name: str, row: HistoryRow) -> None:
        assert row.key is not None
        occurrence = occurrence_id("sim", name, row.due_at, row.key.kind, row.key.kind_id)
        pushed = self.checker.pushes.get(occurrence, [])
        if row.state in SENT and not pushed:
            self.checker.wrong("LOSS", "the ledger says that it was sent, and it was not", name, row.due_at)
        if row.state is State.SKIPPED and row.attempt == 0 and row.kind == Kind.SCHEDULE:
            if not self._has_cause(name, row.due_at, row.reason, row.recorded_at or 0.0):
                self.checker.wrong("LOSS", "skipped without a cause", name, row.due_at, row.reason, row.recorded_at)
        if row.state in LIVE and (row.send_at or 0) < self.horizon and not self._waits(row):
            self.checker.wrong("I9", "not settled long after the world was well again", name, row.due_at, row.state)
        self._send_time(name, row)
        self._paused(name, row)
        self._promptness(name, row)

    def _send_time(self, name: str, row: HistoryRow) -> None:
        if row.kind != Kind.SCHEDULE or row.send_at is None or row.state is State.SKIPPED or row.key in self.checker.by_hand:
            return
        late = row.send_at - row.due_at
        limits = (
            [
                spread_at_most(version.timing, policy, row.due_at)
                for version in self.book.versions.get(name, ())
                for policy in self.book.policies.get(name, ())
            ]
            if late
            else []
        )
        if late and not 0 < late <= max(limits, default=0):
            self.checker.wrong("I4", "a send time that its jitter does not allow", name, row.due_at, late)

    def _paused(self, name: str, row: HistoryRow) -> None:
        """What was due in a pause is skipped: time spent paused is neither sent nor missed."""
        if row.kind != Kind.SCHEDULE or row.key in self.checker.by_hand or row.state is State.SKIPPED:
            return
        if self.book.is_paused(name, row.due_at, sure=True):
            self.checker.wrong("I4", "due in a pause, and not skipped", name, row.due_at, row.state)

    def _promptness(self, name: str, row: HistoryRow) -> None:
        """While all is well a live row settles within a lease and two polls (I9)."""
        if row.send_at is None or row.dispatched_at is None or row.kind != Kind.SCHEDULE or row.attempt != 1:
            return
        if self.checker.highest > self.now:  # the store's clock was ahead: much was decided early
            return
        limit = LEASE + 2 * self.poll + 1
        alone = all(policy.overlap is not Overlap.WAIT for policy in self.book.policies.get(name, ()))
        if row.send_at > self.calm_from and alone and row.dispatched_at - row.send_at > limit:
            self.checker.wrong("I9", "late while all was well", name, row.due_at, row.dispatched_at - row.send_at)

    def _waits(self, row: HistoryRow) -> bool:
        """Return whether a row may still wait for another one's end."""
        return row.state is State.WAITING and (row.send_at or 0) > self.now - 900

    def _has_cause(self, name: str, at: int, reason: Reason, recorded: float) -> bool:
        """Return whether a due time may have been skipped for this reason when it was recorded."""
        looked = self.looked_at.get(recorded, recorded)
        policies = self.book.policies.get(name, ())
        if reason is Reason.COALESCED:
            latest = any(policy.catch_up is CatchUp.LATEST for policy in policies)
            return latest and is_late(at, looked) and self.book.has_usable(name, at, looked, sure=False)
        if reason is Reason.MISSED:
            return is_late(at, looked) and any(policy.catch_up is CatchUp.NONE for policy in policies)
        if reason is Reason.TOO_LATE:
            return any(policy.grace is not None and at + policy.grace < looked for policy in policies)
        if reason is Reason.PAUSED:
            return self.book.was_paused(name, at)
        if reason in (Reason.REMOVED, Reason.DISABLED):
            return name in self.book.removed
        if reason is Reason.OVERLAP:
            return any(policy.overlap is not Overlap.ALLOW for policy in policies)
        if reason is Reason.BY_HAND:
            return (name, at) in self.book.skipped
        return reason is Reason.RESTORED and bool(self.run.restores)
