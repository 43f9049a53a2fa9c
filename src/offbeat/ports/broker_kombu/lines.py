"""What a connection to a broker is: letters in, one answer each out; and the plain kind, for most of kombu's transports.

Never retries, never declares anything on a server.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from offbeat.core.message import Message
from offbeat.ports import broker_faults as faults
from offbeat.ports.broker import Delivery
from offbeat.ports.clock import Clock
from offbeat.ports.stop import Stop


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A message as bytes. number: its place in the batch. expiration: milliseconds as text, None without."""

    number: int
    message: Message
    body: bytes
    content_type: str
    content_encoding: str
    expiration: str | None

    def addressed(self, channel: Any) -> Any:
        """Return it in the form that this channel sends; the properties are Celery's, reply_to aside: nobody waits."""
        properties: dict[str, Any] = {"correlation_id": self.message.task_id, "delivery_mode": 2}
        if self.expiration is not None:
            properties["expiration"] = self.expiration
        return channel.prepare_message(
            self.body,
            priority=self.message.priority,
            content_type=self.content_type,
            content_encoding=self.content_encoding,
            headers=dict(self.message.headers),
            properties=properties,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Until:
    """When nothing more is sent: at an instant (`at`, monotonic), or once we are told to stop."""

    at: float
    clock: Clock
    stop: Stop

    def is_over(self) -> bool:
        return self.stop.is_set or self.clock.monotonic() >= self.at


class BrokenLineError(Exception):
    """The connection is of no use any more. cause: why."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Line(Protocol):
    """An open connection, of one kind of transport. Each call may block for as long as the sockets' timeouts let it.

    blocked: why the broker takes nothing for the time being, in its own words; "" while it takes messages, or cannot say.
    """

    blocked: str

    def send(self, letters: Sequence[Letter], until: Until, found: dict[int, Delivery]) -> None:
        """Send in order while `until` is not over; write into `found` what became of each, by number, once known.

        Raises: BrokenLineError.
        """

    def check(self, idle: float) -> None:
        """Raise whatever the library raises, unless the other end is still there. idle: seconds since it was used."""

    def close(self) -> None:
        """Part politely. May raise what the library raises."""

    def drop(self) -> None:
        """Let go of a connection that is broken, without a word to the other end."""

    def cut(self) -> None:
        """End its sockets, so that whoever waits for them, on whatever thread, gets an error. Never blocks, never raises."""


def cut_sockets(found: Iterable[Any]) -> None:
    """Shut down what of this is a socket; for TLS the one below it, which asks nobody."""
    for each in found:
        if isinstance(each, socket.socket):
            with suppress(OSError):
                socket.socket.shutdown(each, socket.SHUT_RDWR)


class PlainLine:
    """kombu's transports without confirms: what was sent without an error was taken."""

    blocked = ""

    def __init__(self, connection: Any, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._channel = connection.channel()

    def send(self, letters: Sequence[Letter], until: Until, found: dict[int, Delivery]) -> None:
        for letter in letters:
            if until.is_over():
                break
            try:
                found[letter.number] = self._send(letter)
            except self._connection.channel_errors as exc:
                if self._stops_all(exc):
                    raise BrokenLineError(exc) from exc
                found[letter.number] = self._refused(letter, exc)
            except self._connection.connection_errors as exc:
                raise BrokenLineError(exc) from exc
            except Exception as exc:  # noqa: BLE001 - this letter cannot be written; there is no list of what that raises
                found[letter.number] = faults.refused(f"cannot be written: {exc}", retry=False)

    def check(self, idle: float) -> None:
        """Nothing to ask: each letter is a request of its own."""

    def close(self) -> None:
        self._connection.release()

    def drop(self) -> None:
        self.cut()
        self._connection.collect()

    def cut(self) -> None:
        """No sockets that we know of."""

    def _stops_all(self, error: Exception) -> bool:
        """Return whether the answer is to every message, not to this one."""
        return False

    def _refused(self, letter: Letter, error: Exception) -> Delivery:
        return faults.refused(str(error), retry=True)

    def _send(self, letter: Letter) -> Delivery:
        exchange, routing_key = letter.message.exchange, letter.message.routing_key
        if exchange and not self._queues(exchange, routing_key, self._channel.get_table(exchange)):
            return faults.unroutable(exchange, routing_key)
        self._channel.basic_publish(letter.addressed(self._channel), exchange=exchange, routing_key=routing_key)
        return Delivery()

    def _queues(self, exchange: str, routing_key: str, table: Iterable[tuple[str, str, str]]) -> set[str]:
        """Return which queues would get it. These transports route here, by a table that the workers keep.

        They take an exchange for a direct one unless this process has declared it, which touches no server; workers that
        bind with patterns mean a topic exchange.
        """
        bindings = list(table)
        if any(pattern for _, pattern, _ in bindings):
            if exchange not in self._channel.state.exchanges:
                self._channel.exchange_declare(exchange, type="topic")
            return {queue for _, pattern, queue in bindings if pattern and re.match(pattern, routing_key)}
        return {queue for bound, _, queue in bindings if bound == routing_key}
