"""A worker's side of the Redis ledger: one command a question, where it can be. Python 3.8 and redis-py.

Authority: ports/ledger_redis/ for the names of the keys.
"""

from __future__ import annotations

from offbeat.ports.worker_values import NoAnswer, Me, Said


class WorkerRedis:
    def __init__(self, address: str, project: str) -> None:
        raise NoAnswer("later")

    def admit(self, occurrence: str, attempt: int) -> bool:
        raise NotImplementedError

    def report(self, me: Me, said: Said) -> bool:
        raise NotImplementedError

    def beat(self, me: Me) -> None:
        raise NotImplementedError

    def close(self) -> None:
        pass
