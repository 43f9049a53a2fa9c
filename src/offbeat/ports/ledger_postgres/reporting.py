"""The PostgreSQL ledger, for whoever runs what was sent."""

from __future__ import annotations

from collections.abc import Sequence

from offbeat.core.model import Key
from offbeat.ports.ledger_postgres.connection import MOST_ROWS, Tx
from offbeat.ports.ledger_postgres.inbox import Inbox
from offbeat.ports.ledger_postgres.rows import rounds
from offbeat.ports.ledger_postgres.telling import Heard, report_all
from offbeat.ports.ledger_values import LONGEST_HOLD, Report, Runner

OCCUPY = """
INSERT INTO {s}.busy AS b (name, owner, until_at) VALUES (%(name)s, %(owner)s, %(until)s)
ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, until_at = excluded.until_at
WHERE b.owner = excluded.owner OR b.until_at <= %(now)s OR b.until_at > %(longest)s"""
ADMIT = """
INSERT INTO {s}.admitted AS a (occurrence, attempt, admitted_at) VALUES (%(occurrence)s, %(attempt)s, %(now)s)
ON CONFLICT (occurrence) DO UPDATE SET attempt = a.attempt RETURNING attempt"""


class ReportingPostgres(Inbox):
    """report, occupy, vacate, admit."""

    def report(self, runner: Runner, reports: Sequence[Report]) -> Sequence[Key]:
        self.ensure(report.key.due_at for report in reports)
        if not reports:
            self.write(lambda tx: self.beat(tx, runner))
        accepted: list[Key] = []
        for some in rounds(reports, [report.key for report in reports], MOST_ROWS):
            accepted.extend(self.write(lambda tx, some=some: self._report(tx, runner, some)))  # type: ignore[misc]
        return accepted

    def _report(self, tx: Tx, runner: Runner, reports: Sequence[Report]) -> list[Key]:
        self.beat(tx, runner)
        return report_all(tx, runner.id, [Heard(report=report, owner=runner.id, at=tx.now) for report in reports])

    def occupy(self, name: str, owner: str, seconds: float) -> bool:
        def work(tx: Tx) -> bool:
            until = tx.now + seconds
            return tx.run(OCCUPY, name=name, owner=owner, until=until, now=tx.now, longest=tx.now + LONGEST_HOLD) == 1

        return self.write(work)

    def vacate(self, name: str, owner: str) -> None:
        self.write(
            lambda tx: tx.run("DELETE FROM {s}.busy WHERE name = %(name)s AND owner = %(owner)s", name=name, owner=owner)
        )

    def admit(self, occurrence: str, attempt: int) -> bool:
        def work(tx: Tx) -> bool:
            row = tx.row(ADMIT, occurrence=occurrence, attempt=attempt, now=tx.now)
            return row is not None and bool(row[0] == attempt)

        return self.write(work)
