"""A runner in a process of its own on a ledger in Redis: plans, records, claims and pushes until SIGTERM. For tests."""

from __future__ import annotations

import signal
import sys
from contextlib import closing

from tests.ports.ledger_world import runner
from tests.ports.redis_place import post, record_and_push

from offbeat.ports.ledger_redis import LedgerRedis, Place
from offbeat.ports.ledger_redis.address import parse


def main(address: str, name: str) -> None:
    """Work until SIGTERM."""
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    queue = f"{{{parse(address).prefix}:queue}}"
    me = runner(name)
    with closing(LedgerRedis(Place(address=address, project="shop"))) as ledger:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while not stopped:
            ledger.look(me)
            for claims in (record_and_push(ledger, me, queue, every=2), ledger.claim(me, 100)):
                ledger.enqueue(me, [post(claim, queue) for claim in claims])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
