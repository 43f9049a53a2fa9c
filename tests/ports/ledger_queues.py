"""The stores that hold the broker's queues, one after the other, for tests that hold all of them to the same."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from tests.ports.ledger_stores import Ground
from tests.ports.redis_place import own_place

from offbeat.ports.broker import Push
from offbeat.ports.ledger import Enqueuing, Ledger
from offbeat.ports.ledger_memory import LedgerMemory
from offbeat.ports.ledger_redis import LedgerRedis


@dataclass(slots=True, kw_only=True)
class Queues:
    """The broker's queues beside a ledger. name: of the one that is pushed into. spoil: let it refuse pushes, or no more."""

    ledger: Ledger
    server_id: str
    name: str
    payloads: Callable[[], list[bytes]]
    spoil: Callable[[bool], object]

    @property
    def fused(self) -> Enqueuing:
        """Return the part that pushes."""
        found = self.ledger.enqueuing()
        assert found is not None
        return found


class Wire:
    """Keeps what is pushed; refuses while it is spoilt."""

    def __init__(self) -> None:
        self.pushed: list[Push] = []
        self.is_spoilt = False

    def accept(self, push: Push) -> str:
        if self.is_spoilt:
            return "it is of the type string"
        self.pushed.append(push)
        return ""

    def spoil(self, now: bool) -> None:
        self.is_spoilt = now


def in_memory(ground: Ground) -> Queues:
    wire = Wire()
    return Queues(
        ledger=LedgerMemory(clock=ground.clock, wire=wire, server_id="server 1"),
        server_id="server 1",
        name="celery",
        payloads=lambda: [push.payload for push in wire.pushed],
        spoil=wire.spoil,
    )


def in_redis(ground: Ground) -> Queues:
    import redis

    address = ground.request.getfixturevalue("durable_redis_address")
    place = ground.stack.enter_context(own_place(address))
    client = ground.stack.enter_context(redis.Redis.from_url(f"{address}/0"))
    name = f"{{{place.address.rpartition('=')[2]}:queue}}"  # swept with the place
    return Queues(
        ledger=ground.stack.enter_context(closing(LedgerRedis(place, horizon=ground.clock))),
        server_id=client.info("server")["run_id"],
        name=name,
        payloads=lambda: client.lrange(name, 0, -1),
        spoil=lambda now: client.set(name, "text") if now else client.delete(name),
    )


PLACES: dict[str, Callable[[Ground], Queues]] = {"memory": in_memory, "redis": in_redis}
