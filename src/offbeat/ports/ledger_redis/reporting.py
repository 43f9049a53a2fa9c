"""The ledger in Redis, for whoever runs what was sent."""

from __future__ import annotations

from collections.abc import Sequence

from offbeat.core.model import Key
from offbeat.ports.ledger_problems import storable
from offbeat.ports.ledger_redis.store import MOST_ROWS, Store
from offbeat.ports.ledger_redis.values import details, encoded, id_of, micros, tag
from offbeat.ports.ledger_values import LONGEST_HOLD, Report, Runner

ADMITTED = 30 * 86_400  # seconds that an admission is remembered; ledger rule 20 asks for 7 days at least


class ReportingRedis(Store):
    """report, occupy, vacate, admit."""

    def report(self, runner: Runner, reports: Sequence[Report]) -> Sequence[Key]:
        accepted: list[Key] = []
        for start in range(0, len(reports) or 1, MOST_ROWS):
            some = reports[start : start + MOST_ROWS]
            outputs = [report.output for report in some if report.output]
            told, number = [], 0
            for one in some:
                number += bool(one.output)
                ended = (storable(one.note), one.exit_status, number if one.output else 0)
                told.append([id_of(one.key), one.attempt, one.state, one.reason, *ended])
            answers = self.ask("report", tag(runner), details(runner), encoded(told), *outputs).body
            accepted += [one.key for one, answer in zip(some, answers, strict=True) if answer]
        return accepted

    def occupy(self, name: str, owner: str, seconds: float) -> bool:
        return bool(self.ask("slots", name, owner, micros(seconds), micros(LONGEST_HOLD)).body)

    def vacate(self, name: str, owner: str) -> None:
        self.ask("slots", name, owner, "", micros(LONGEST_HOLD))

    def admit(self, occurrence: str, attempt: int) -> bool:
        return bool(self.ask("admit", attempt, ADMITTED, keys=[f"a:{occurrence}"]).body)
