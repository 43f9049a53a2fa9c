"""The broker's interface: messages in, one delivery each out. Never declares a queue, never uses a result backend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from offbeat.core.message import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What the broker said of one message. error: its words without any secret, "" when it took the message.

    retry: the same message may be taken later. down: the broker itself is out of reach, so others need not be tried.
    unroutable: there is no such queue or exchange (RabbitMQ's return). tried: False when the time was over before its turn.
    code: of docs/reference/errors.md, "" when taken. warning: why this broker, which could, does not remember what it took, so
    that another try of the same message is one more. blocked: it is down only in that it takes nothing for the time being, and
    says when it does again: asking costs nothing.
    """

    error: str = ""
    retry: bool = True
    down: bool = False
    unroutable: bool = False
    tried: bool = True
    code: str = ""
    warning: str = ""
    blocked: bool = False

    @property
    def taken(self) -> bool:
        """Return whether the broker has the message, confirmed where it can confirm."""
        return not self.error


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """A message as a Redis list takes it: LPUSH key payload, in this database of the broker's server."""

    database: int
    key: str
    payload: bytes


class Broker(Protocol):
    """Where messages go."""

    def server_id(self) -> str | Delivery:
        """Return which Redis server this is (its run_id), "" for any other broker and for a user who may not ask. Never raises.

        A Delivery that is down for a Redis that does not answer just now: which one it is, is not known then.
        Asked anew on every connection, so that a server that was exchanged is another one.
        """

    def prepare(self, messages: Sequence[Message]) -> Sequence[Push | Delivery]:
        """Return for each message what to push, or why it cannot be: not built, unroutable. Only where `server_id` is known.

        Reads the server (the table of bindings) and writes nothing. Never raises for the broker's faults. An answer that was
        not `tried` is of a message that one push is not enough for (an exchange with several queues): to be published instead.
        """

    def publish(self, messages: Sequence[Message], seconds: float) -> Sequence[Delivery]:
        """Publish in order; return one Delivery for each message, in the same order. Never raises for the broker's faults.

        Stops after `seconds` (monotonic): what was not tried by then has the error "not tried: out of time", retry. After a
        delivery that is `down`, the rest are answered like it without being tried. One message that cannot be built, routed
        or is refused does not stop the others. A connection is opened when needed, kept for the next call, and opened anew
        after a fault.

        A broker that can remember what it took (Redis) takes a message whose id it remembers without sending it again, and
        nothing after `seconds`, however long the messages were on their way: by then others may have tried.
        """

    def remembers(self) -> bool:
        """Return whether what is taken now is remembered until it is forgotten: trying it again sends nothing. Never raises.

        False also while there is no connection, since nobody knows.
        """

    def forget(self, task_ids: Sequence[str]) -> None:
        """Say that the ledger has settled these messages: they are not tried again, and need not be remembered. Never raises.

        Harmless if it is not said: what is remembered goes by itself, after a day.
        """

    def reach(self, seconds: float) -> Delivery:
        """Return whether the broker can be reached, lets us in and takes messages; sends none. Never raises for its faults.

        Its warning says why this user may not publish to queues by their names, where that is known.
        """

    def close(self) -> None:
        """Release the connection. Safe to call twice."""
