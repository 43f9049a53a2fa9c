"""Which store a worker's ledger is, by its address. Each is imported when it is asked for. Python 3.8.

Imports nothing of offbeat's but the worker's side of the stores.
"""

from __future__ import annotations

from typing import Protocol, Sequence
from urllib.parse import urlsplit

from offbeat.ports.worker_values import Ask, Me, NoAnswer, Said

POSTGRES = ("postgresql", "postgres")
REDIS = ("redis", "rediss", "unix", "redis+unix", "redis+sentinel", "valkey", "valkeys")


class WorkerStore(Protocol):
    """A connection to a ledger, for one thread at a time. Everything raises NoAnswer, after which it is closed."""

    def admit(self, ask: Ask) -> str:
        """Let one attempt of an occurrence start: the first to ask wins, another one is REFUSED_ATTEMPT.

        Returns: PASSED, also whenever the winner asks again; but ENDED or ALIVE where `judge_again` finds that it is a copy
        of a delivery that has ended or still runs. Of several copies that ask at once one passes.
        """

    def admit_all(self, asks: Sequence[Ask]) -> list[str]:
        """Answer several asks at once, as `admit` would; no occurrence comes twice."""

    def admit_late(self, asks: Sequence[Ask]) -> list[bool]:
        """Write down what was started unasked, each occurrence once; return for each whether no other attempt had won."""

    def winner(self, occurrence: str) -> int:
        """Return the attempt that was let start, 0 when none is known. Nothing is written."""

    def running(self, asks: Sequence[Ask]) -> None:
        """Give a sign of life of what this owner runs, each occurrence once.

        What another owner runs by now, or what has ended, stays as it is.
        """

    def ended(self, ask: Ask, done: bool) -> None:
        """Write down that a delivery runs no more. done: its message is settled; else it may come again, and pass.

        What is settled stays so: a worker that stops gives up what its processes have just ended.
        """

    def report(self, me: Me, said: Said) -> bool:
        """Write what became of an occurrence, by the rules of the ledger's own `report`; return whether it was accepted."""

    def beat(self, me: Me) -> None:
        """Give a sign of life."""

    def close(self) -> None:
        """Release the connection. Safe to call twice."""


def open_store(address: str, project: str) -> WorkerStore:
    """Connect to the ledger at `address`. project: whose part of a shared ledger it is. Raises: NoAnswer."""
    scheme = address.partition(":")[0].lower()
    if scheme == "sqlite":
        try:
            from offbeat.ports.worker_sqlite import WorkerSqlite
        except ImportError as error:
            raise NoAnswer("a ledger in a file is for systems that have fcntl") from error

        return WorkerSqlite(address)
    if scheme in POSTGRES:
        from offbeat.ports.worker_postgres import WorkerPostgres

        return WorkerPostgres(address, project)
    if scheme in REDIS:
        from offbeat.ports.worker_redis import WorkerRedis

        return WorkerRedis(address, project)
    raise NoAnswer(f"no store answers to {shown(address)}")


def shown(address: str) -> str:
    """Return what may be shown of an address: scheme, host, port and path, but no user, password or option.

    Of one in which nobody can tell what is part of a password, only the scheme.

    >>> shown("redis://:hunter2@cache:6379/0?prefix=x"), shown("redis://:hunt/er2@cache:6379/0")
    ('redis://cache:6379/0', 'redis://...')
    """
    try:
        parts = urlsplit(address)
        if not parts.scheme or "://" not in address:
            return "(not an address)"
        user, _, place = parts.netloc.rpartition("@")
        if "@" in parts.path or parts.fragment or ("@" in parts.query and not user) or not _is_hosts(place):
            return f"{parts.scheme}://..."
        return f"{parts.scheme}://{place}{parts.path}"
    except ValueError:
        return "(not an address)"


def _is_hosts(place: str) -> bool:
    """Return whether these are hosts and ports, and not a name with a password."""
    ports = [host.rpartition(":")[2] for host in place.split(",") if ":" in host and not host.endswith("]")]
    return all(port.isdigit() for port in ports)
