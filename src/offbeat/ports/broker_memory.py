"""A broker in memory, with faults on order; for tests. Nothing leaves the process."""

from __future__ import annotations

import pickle
from collections.abc import Sequence

from offbeat.core.message import Message
from offbeat.ports import broker_faults as faults
from offbeat.ports.broker import Delivery, Push
from offbeat.ports.clock import FakeClock


class BrokerMemory:
    """Keeps what it takes in `sent`, oldest first. Each fault stays until it is taken back.

    down: nothing is taken. down_after: taken are this many messages more, then it is down. no_queue: routing keys without a
    queue. refused: task names whose messages are refused for good. slow: seconds that each message takes, on the clock given.
    lost: this many messages more are taken although the answer is that the broker went down (the confirm was lost). breaks:
    raised before a message with this task id is taken, as a crash of the process would come. no_list: keys that are something
    else than a list, as a push finds out. several: routing keys with more than one queue, so that one push is not enough.
    marks: the attempt under which each id was taken, until it is forgotten; None for a broker that does not remember.
    """

    def __init__(self, clock: FakeClock | None = None, *, server: str = "", remembers: bool = False) -> None:
        """server: what server_id answers; "" is a broker that is no Redis. The ledger beside it pushes with `accept`.

        remembers: it takes an id once until it is told to forget it, as Redis does.
        """
        self.sent: list[Message] = []
        self.down = False
        self.blocked = ""  # why it takes nothing for the time being
        self.down_after: int | None = None
        self.no_queue: set[str] = set()
        self.refused: set[str] = set()
        self.slow = 0.0
        self.lost = 0
        self.breaks: dict[str, BaseException] = {}
        self.no_list: set[str] = set()
        self.several: set[str] = set()
        self.server = server
        self.marks: dict[str, int] | None = {} if remembers else None
        self.calls = 0
        self.closed = 0
        self._clock = clock or FakeClock()

    def server_id(self) -> str | Delivery:
        return faults.down("connection refused") if self.server and (self.down or self.down_after == 0) else self.server

    def prepare(self, messages: Sequence[Message]) -> Sequence[Push | Delivery]:
        return [self._prepare(message) for message in messages]

    def accept(self, push: Push) -> str:
        """Take what was prepared, as the server does by LPUSH; return "", or what it says against it. Never raises."""
        if push.key in self.no_list:
            return "WRONGTYPE Operation against a key holding the wrong kind of value"
        message = pickle.loads(push.payload)
        assert isinstance(message, Message)
        self.sent.append(message)
        return ""

    def publish(self, messages: Sequence[Message], seconds: float) -> Sequence[Delivery]:
        self.calls += 1
        until = self._clock.monotonic() + seconds
        found: list[Delivery] = []
        for message in messages:
            if found and found[-1].down:
                found.append(found[-1])
            elif self._clock.monotonic() >= until:
                found.append(faults.out_of_time())
            else:
                found.append(self._take(message))
        return found

    def remembers(self) -> bool:
        return self.marks is not None and not self.down

    def forget(self, task_ids: Sequence[str]) -> None:
        for task_id in task_ids:
            if self.marks is not None and not self.down:
                self.marks.pop(task_id, None)

    def reach(self, seconds: float) -> Delivery:
        if self.blocked:
            return faults.blocked(self.blocked)
        return faults.down("connection refused") if self.down or self.down_after == 0 else Delivery()

    def close(self) -> None:
        self.closed += 1

    def _prepare(self, message: Message) -> Push | Delivery:
        if self.down or self.down_after == 0:
            return faults.down("connection refused")
        if message.routing_key in self.no_queue:
            return faults.unroutable(message.exchange, message.routing_key)
        if message.headers.get("task") in self.refused:
            return faults.refused("refused by the test", retry=False)
        if message.routing_key in self.several:
            return faults.not_one_push(message.exchange)
        return Push(database=0, key=message.routing_key, payload=pickle.dumps(message))

    def _take(self, message: Message) -> Delivery:
        if message.task_id in self.breaks:
            raise self.breaks.pop(message.task_id)
        self._clock.advance(self.slow)
        if self.blocked:
            return faults.blocked(self.blocked)
        if self.down or self.down_after == 0:
            return faults.down("connection refused")
        if message.routing_key in self.no_queue:
            return faults.unroutable(message.exchange, message.routing_key)
        if message.headers.get("task") in self.refused:
            return faults.refused("refused by the test", retry=False)
        self._remember(message)
        if self.down_after is not None:
            self.down_after -= 1
        if self.lost:
            self.lost -= 1
            return faults.down("connection reset before the confirm came")
        return Delivery()

    def _remember(self, message: Message) -> None:
        if self.marks is not None:
            if message.task_id in self.marks:
                return
            self.marks[message.task_id] = int(str(message.headers.get("offbeat_attempt", 0)))
        self.sent.append(message)
