"""Open connections to a broker: one for RabbitMQ with confirms, one for kombu's other transports, one for the filesystem's.

Each sends letters in order and says what became of each. Never retries, never declares anything on a server.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from offbeat.core.message import Message
from offbeat.ports import broker_faults as faults
from offbeat.ports.broker import Delivery
from offbeat.ports.clock import Clock

WINDOW = 200  # letters sent to RabbitMQ before their confirms are waited for
HEAVY = 64 * 1024  # bytes; a heavier letter is confirmed alone, because the broker may close the channel over it
CONFIRM = 5.0  # seconds without a single confirm, then the connection counts as broken
OUT_OF_SERVICE = {"ReadOnlyError", "OutOfMemoryError", "MasterDownError", "ClusterDownError", "AuthenticationError"}  # redis-py
MISCONF = "MISCONF"  # Redis cannot write to its disk; redis-py has no class for it


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


class BrokenLineError(Exception):
    """The connection is of no use any more. found: what is known of letters by now, by number; cause: why."""

    def __init__(self, cause: Exception, found: dict[int, Delivery]) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.found = found


class Line(Protocol):
    """An open connection, of one kind of transport."""

    def send(self, letters: Sequence[Letter], until: float) -> dict[int, Delivery]:
        """Send in order until the clock's monotonic `until`; return what became of those that were tried, by number.

        Raises: BrokenLineError.
        """

    def check(self) -> None:
        """Raise whatever the library raises, unless the other end is still there."""

    def close(self) -> None:
        """Part politely. May raise what the library raises."""

    def drop(self) -> None:
        """Let go of a connection that is broken, without a word to the other end."""


def connect(url: str, options: dict[str, Any], secure: dict[str, Any] | bool, *, clock: Clock, seconds: float) -> Line:
    """Open a connection, each server of a failover list tried once. Raises whatever kombu and its transports raise."""
    import kombu

    if url.startswith(("redis", "sentinel")) and find_spec("redis") is None:
        raise ImportError("the package redis is not installed")  # kombu itself would stumble over it somewhere
    # kombu would take librabbitmq for amqp:// where it is installed, which knows no confirms.
    url = ";".join("py" + part if part.startswith("amqp://") else part for part in url.split(";"))
    staged = _stage(options) if url.startswith("filesystem:") else None
    connection = kombu.Connection(
        url, ssl=secure, transport_options=options, connect_timeout=seconds, failover_strategy="round-robin"
    )
    try:
        connection.ensure_connection(
            max_retries=max(0, len(connection.alt) - 1),
            interval_start=0,
            interval_step=0,
            interval_max=0,
            reraise_as_library_errors=False,
        )
        if connection.transport.driver_type == "amqp":
            return ConfirmedLine(connection, clock)
        if staged is not None:
            return FolderLine(connection, clock, *staged)
        return PlainLine(connection, clock)
    except BaseException:
        with suppress(Exception):  # the first error is the one to tell
            connection.collect()
        raise


def _stage(options: dict[str, Any]) -> tuple[Path, Path]:
    """Let kombu write files where no worker looks, on the same file system; return (there, where they belong)."""
    target = Path(options["data_folder_out"])
    Path(options["data_folder_in"]).mkdir(parents=True, exist_ok=True)
    stage = target / f".sending-{os.getpid()}"
    stage.mkdir(parents=True, exist_ok=True)
    for left in stage.iterdir():
        left.unlink()
    options["data_folder_out"] = str(stage)
    return stage, target


class PlainLine:
    """Redis and kombu's other transports: what was sent without an error was taken."""

    def __init__(self, connection: Any, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._channel = connection.channel()

    def send(self, letters: Sequence[Letter], until: float) -> dict[int, Delivery]:
        found: dict[int, Delivery] = {}
        for letter in letters:
            if self._clock.monotonic() >= until:
                break
            try:
                found[letter.number] = self._send(letter)
            except self._connection.channel_errors as exc:
                if self._stops_all(exc):
                    raise BrokenLineError(exc, found) from exc
                found[letter.number] = faults.refused(str(exc), retry=True)
            except self._connection.connection_errors as exc:
                raise BrokenLineError(exc, found) from exc
            except Exception as exc:  # noqa: BLE001 - this letter cannot be written; there is no list of what that raises
                found[letter.number] = faults.refused(f"cannot be written: {exc}", retry=False)
        return found

    def check(self) -> None:
        if hasattr(self._channel, "conn_or_acquire"):  # Redis
            with self._channel.conn_or_acquire() as client:
                client.ping()

    def close(self) -> None:
        self._connection.release()

    def drop(self) -> None:
        self._connection.collect()

    def _stops_all(self, error: Exception) -> bool:
        """Return whether Redis says no to every message, not to this one."""
        return bool(OUT_OF_SERVICE & {kind.__name__ for kind in type(error).__mro__}) or str(error).startswith(MISCONF)

    def _send(self, letter: Letter) -> Delivery:
        exchange, routing_key = letter.message.exchange, letter.message.routing_key
        if exchange and not self._has_queue(exchange, routing_key):
            return faults.unroutable(exchange, routing_key)
        self._channel.basic_publish(letter.addressed(self._channel), exchange=exchange, routing_key=routing_key)
        return Delivery()

    def _has_queue(self, exchange: str, routing_key: str) -> bool:
        """Return whether a queue would get it. These transports route here, by a table that the workers keep.

        They take an exchange for a direct one unless this process has declared it, which touches no server; workers that
        bind with patterns mean a topic exchange.
        """
        table = self._channel.get_table(exchange)
        patterns = [pattern for _, pattern, _ in table if pattern]
        if patterns and exchange not in self._channel.state.exchanges:
            self._channel.exchange_declare(exchange, type="topic")
        if patterns:
            return any(re.match(pattern, routing_key) for pattern in patterns)
        return any(bound == routing_key for bound, _, _ in table)


class FolderLine(PlainLine):
    """The filesystem transport: each file appears under its name when it is whole, never before."""

    def __init__(self, connection: Any, clock: Clock, stage: Path, target: Path) -> None:
        super().__init__(connection, clock)
        self._stage = stage
        self._target = target

    def check(self) -> None:
        self._stage.stat()
        self._target.stat()

    def close(self) -> None:
        super().close()
        self._stage.rmdir()

    def _stops_all(self, error: Exception) -> bool:
        return True  # disk full, no rights, folder gone

    def _send(self, letter: Letter) -> Delivery:
        if "/" in letter.message.routing_key or "\0" in letter.message.routing_key:
            return faults.refused(f'"{letter.message.routing_key}" cannot be part of a file name', retry=False)
        try:
            delivery = super()._send(letter)
            for file in self._stage.iterdir():
                file.replace(self._target / file.name)
        except BaseException:
            for file in self._stage.glob("*"):  # half a message
                file.unlink()
            raise
        return delivery


class ConfirmedLine:
    """RabbitMQ: taken is what the server confirmed and did not return."""

    def __init__(self, connection: Any, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._channel: Any = None
        self._tag = 0  # of the newest letter on this channel
        self._waiting: dict[int, Letter] = {}  # by tag, in order
        self._returned: set[str] = set()  # task ids
        self._found: dict[int, Delivery] = {}

    def send(self, letters: Sequence[Letter], until: float) -> dict[int, Delivery]:
        import amqp

        self._found = {}
        for window in _windows(letters):
            if self._clock.monotonic() >= until:
                break
            try:
                self._send(window, until)
            except amqp.ChannelError as exc:
                self._channel_closed(exc)
            except (amqp.AMQPError, OSError) as exc:
                raise BrokenLineError(exc, self._found) from exc
        return self._found

    def check(self) -> None:
        amqp_connection = self._connection.connection
        for _ in range(100):  # frames that came since: heartbeats, or the server's farewell
            try:
                amqp_connection.drain_events(timeout=0)
            except TimeoutError:
                return

    def close(self) -> None:
        self._connection.release()

    def drop(self) -> None:
        self._connection.collect()

    def _open(self) -> Any:
        channel = self._connection.channel()
        channel.events["basic_ack"].add(self._acked)
        channel.events["basic_nack"].add(self._nacked)
        channel.events["basic_return"].add(self._came_back)
        channel.confirm_select()
        self._tag = 0
        return channel

    def _send(self, window: Sequence[Letter], until: float) -> None:
        self._waiting.clear()
        self._returned.clear()
        if self._channel is None:
            self._channel = self._open()
        for letter in window:
            if self._clock.monotonic() >= until:
                break
            self._put(letter)
        while self._waiting:
            before = len(self._waiting)
            patience = max(0.05, min(CONFIRM, until - self._clock.monotonic()))
            try:
                self._connection.connection.drain_events(timeout=patience)
            except TimeoutError as exc:
                if len(self._waiting) == before:
                    raise TimeoutError(f"no confirmation from the broker within {patience:.1f} s") from exc

    def _put(self, letter: Letter) -> None:
        import amqp

        self._tag += 1
        self._waiting[self._tag] = letter
        try:
            self._channel.basic_publish(
                letter.addressed(self._channel),
                exchange=letter.message.exchange,
                routing_key=letter.message.routing_key,
                mandatory=True,
            )
        except (amqp.AMQPError, OSError):
            raise
        except Exception as exc:  # noqa: BLE001 - this letter cannot be written, and no byte of it was; AMQP has many limits
            del self._waiting[self._tag]
            self._tag -= 1
            self._found[letter.number] = faults.refused(f"cannot be written: {exc}", retry=False)

    def _settle(self, tag: int, multiple: bool, delivery: Delivery) -> None:
        tags = [other for other in self._waiting if other <= tag] if multiple else [tag]
        for each in tags:
            letter = self._waiting.pop(each, None)
            if letter is None:
                continue
            message = letter.message
            back = message.task_id in self._returned
            self._found[letter.number] = faults.unroutable(message.exchange, message.routing_key) if back else delivery

    def _acked(self, tag: int, multiple: bool) -> None:
        self._settle(tag, multiple, Delivery())

    def _nacked(self, tag: int, multiple: bool) -> None:
        words = "the broker refused it (nack): its queue is full, or the broker is short of something"
        self._settle(tag, multiple, faults.refused(words, retry=True))

    def _came_back(self, error: Exception, exchange: str, routing_key: str, message: Any) -> None:
        self._returned.add(message.properties["correlation_id"])

    def _channel_closed(self, error: Any) -> None:
        """Answer for the letters under way when the server closed the channel. One that can cause it travels alone."""
        for letter in self._waiting.values():
            if error.code == 404:
                self._found[letter.number] = faults.unroutable(letter.message.exchange, letter.message.routing_key)
            else:  # 406 is about the letter itself: too large
                self._found[letter.number] = faults.refused(str(error), retry=error.code != 406)
        self._waiting.clear()
        closed, self._channel = self._channel, None
        closed.close()


def _windows(letters: Sequence[Letter]) -> Iterator[Sequence[Letter]]:
    window: list[Letter] = []
    for letter in letters:
        alone = bool(letter.message.exchange) or len(letter.body) > HEAVY
        if window and (alone or len(window) == WINDOW):
            yield window
            window = []
        if alone:
            yield [letter]
        else:
            window.append(letter)
    if window:
        yield window
