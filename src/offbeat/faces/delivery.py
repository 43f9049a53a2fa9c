"""What is promised of delivery here and now: by the kind of the ledger, its broker, and the guards that were seen.

Never decides anything; its words are those of docs/explanation/what-is-promised.md.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from offbeat.errors import OffbeatError

if TYPE_CHECKING:
    from offbeat.ports.ledger import Ledger
    from offbeat.ports.ledger_values import LedgerStatus, SeenRunner
    from offbeat.runners.site import Site

WORKER = "worker"  # the role of a worker with the guard
KINDS = {
    "sqlite": "SQLite",
    "postgresql": "PostgreSQL",
    "postgres": "PostgreSQL",
    **dict.fromkeys(("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "valkey", "valkeys"), "Redis"),
    "memory": "memory",
}
LIMITS = {
    "SQLite": "it is this host's own: runners of other hosts cannot share it, and it is lost with its disk",
    "PostgreSQL": "it forgets nothing that it has acknowledged; restored from a backup it has forgotten what came after",
    "Redis": "it forgets what its server loses: with appendfsync everysec, up to the last second before a crash",
    "memory": "it is gone when the process ends",
}


class Delivery(StrEnum):
    """How often an occurrence can reach a worker, as far as is known."""

    ONE_ENQUEUE = "one_enqueue"  # ledger and broker are one Redis: recorded and pushed in one step
    ONE_START = "one_start"  # the workers' guard lets one of several messages start
    AT_LEAST_ONCE = "at_least_once"  # a crash may repeat a message, with the same id


WORDS = {
    Delivery.ONE_ENQUEUE: "exactly one enqueue: ledger and broker are one Redis",
    Delivery.ONE_START: "one start: the workers' guard lets one message of each occurrence go",
    Delivery.AT_LEAST_ONCE: "at-least-once; no worker with the guard was seen in the last day",
}


def ledger_kind(where: str) -> str:
    """Return what kind of ledger an address is of.

    >>> ledger_kind("sqlite:////var/a.db"), ledger_kind("rediss://h/0"), ledger_kind("x://")
    ('SQLite', 'Redis', 'x')
    """
    scheme = where.partition(":")[0].lower()
    return KINDS.get(scheme, scheme)


def guards_seen(told: LedgerStatus) -> list[SeenRunner]:
    """Return the workers with the guard that were seen lately, newest first."""
    return [seen for seen in told.runners if seen.runner.role == WORKER]


def delivery_of(site: Site, ledger: Ledger, told: LedgerStatus) -> Delivery:
    """Return what is known of delivery. Asks the broker only where the ledger can hold its queues."""
    if _is_one_server(site, ledger):
        return Delivery.ONE_ENQUEUE
    return Delivery.ONE_START if guards_seen(told) else Delivery.AT_LEAST_ONCE


def _is_one_server(site: Site, ledger: Ledger) -> bool:
    """Return whether the ledger's server is known to be the broker's."""
    store, settings = ledger.enqueuing(), ledger.broker_settings()
    if store is None or settings is None:
        return False
    from offbeat.ports.broker_kombu.address import broker_url
    from offbeat.ports.broker_kombu.broker import BrokerKombu

    try:
        broker = BrokerKombu(broker_url(site.environ, settings, site.root), settings, clock=site.clock, root=site.root)
        try:
            server = broker.server_id()
        finally:
            broker.close()
        return bool(server) and server == store.server_id()
    except OffbeatError:
        return False
