"""A line to RabbitMQ: windows of letters, each confirmed, returned or refused by the server. Never declares anything there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from offbeat.ports import broker_faults as faults
from offbeat.ports.broker import Delivery
from offbeat.ports.broker_kombu.lines import BrokenLineError, Letter, Until, cut_sockets
from offbeat.ports.clock import Clock

WINDOW = 200  # letters sent to RabbitMQ before their confirms are waited for
HEAVY = 4 * 1024  # bytes; a heavier letter is confirmed alone, because the broker may close the channel over it
CONFIRM = 5.0  # seconds without a single confirm, then the connection counts as broken
LAST = 0.8  # seconds for the confirms of what was sent just before the time was over; without them nobody knows
BLOCKED = 1.0  # seconds without a confirm once the broker has said that it takes nothing
FRESH = 1.0  # seconds; a connection that was used so lately is not asked whether it is still there
NOBODY = "offbeat-nobody-3f0e6a52-2d0c-4b53-9d5e-6f3f0c1f7b1e"  # a routing key without a queue
HEADER_FRAME = 20  # bytes of a frame with headers beside the headers themselves
TOO_LARGE = re.compile(r"message size (\d+) is larger")  # RabbitMQ's words when it closes a channel over a letter
UNSAID = "the broker closed the channel over another message before it said whether it took this one"
ALONE = {"CC", "BCC"}  # headers that RabbitMQ reads itself, and closes the channel over


class ConfirmedLine:
    """RabbitMQ: taken is what the server confirmed and did not return.

    forbidden: why this user may not publish to queues by their names, "" who may.
    """

    def __init__(self, connection: Any, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._channel: Any = None
        self._tag = 0  # of the newest letter on this channel
        self._waiting: dict[int, Letter] = {}  # by tag, in order
        self._returned: set[str] = set()  # task ids
        self._found: dict[int, Delivery] = {}
        self._asked = 0  # the tag of a question that is not answered
        self.blocked = ""
        self.forbidden = ""
        self._listen_for_blocked()
        self._ask()

    def send(self, letters: Sequence[Letter], until: Until, found: dict[int, Delivery]) -> None:
        import amqp

        self._found = found
        windows = list(_windows(letters))
        while windows and not until.is_over() and not self.blocked:
            window = windows.pop(0)
            try:
                self._send(window, until)
            except amqp.ChannelError as exc:
                sent = {letter.number for letter in self._waiting.values()} | found.keys()
                unsent = [letter for letter in window if letter.number not in sent]
                windows = [*([letter] for letter in self._channel_closed(exc)), *([unsent] if unsent else []), *windows]
            except BlockingIOError as exc:  # the socket's own timeout has passed
                raise BrokenLineError(TimeoutError("the broker does not read what it is sent")) from exc
            except (amqp.AMQPError, OSError) as exc:
                raise BrokenLineError(exc) from exc
        if self.blocked:
            found.update({letter.number: faults.blocked(self.blocked) for letter in letters if letter.number not in found})

    def check(self, idle: float) -> None:
        amqp_connection = self._connection.connection
        for _ in range(100):  # frames that came since: heartbeats, or the server's farewell
            try:
                amqp_connection.drain_events(timeout=0)
            except TimeoutError:
                break
        if idle > FRESH and not self.blocked:
            self._ask()

    def _ask(self) -> None:
        """Ask whether the broker takes messages, with an empty one that no queue can get. Return when it answers.

        An alarm is told only to who publishes, and what is published then is taken once it is over, whoever has left: with a
        letter of ours, that would be a task sent twice.
        """
        import amqp

        if self._channel is None:
            self._channel = self._open()
        self._tag += 1
        self._asked = self._tag
        self.forbidden = ""
        try:
            self._channel.basic_publish(amqp.Message(b""), exchange="", routing_key=NOBODY, mandatory=True)
            while self._asked and not self.blocked:
                self._connection.connection.drain_events(timeout=CONFIRM)
        except amqp.ChannelError as exc:  # this user may publish to some exchanges only; they will answer
            self.forbidden = str(exc)
            self._forget_channel()

    def cut(self) -> None:
        transport = getattr(getattr(self._connection, "_connection", None), "_transport", None)
        cut_sockets([getattr(transport, "sock", None)])

    def close(self) -> None:
        if self.blocked:  # the broker would not read a farewell
            self.drop()
        else:
            self._connection.release()

    def drop(self) -> None:
        self.cut()
        self._connection.collect()

    def _listen_for_blocked(self) -> None:
        """Be told when the broker takes nothing, and why. The package amqp itself drops the reason, unless this helps it."""
        from amqp import spec

        connection = self._connection.connection
        connection.on_blocked, connection.on_unblocked = self._is_blocked, self._is_unblocked
        with suppress(AttributeError, TypeError):
            connection._METHODS = {**connection._METHODS, spec.Connection.Blocked: spec.method(spec.Connection.Blocked, "s")}
            connection._callbacks[spec.Connection.Blocked] = self._is_blocked

    def _is_blocked(self, reason: str) -> None:
        self.blocked = reason or "no reason given"

    def _is_unblocked(self) -> None:
        self.blocked = ""

    def _open(self) -> Any:
        channel = self._connection.channel()
        channel.events["basic_ack"].add(self._acked)
        channel.events["basic_nack"].add(self._nacked)
        channel.events["basic_return"].add(self._came_back)
        channel.confirm_select()
        self._tag = 0
        return channel

    def _send(self, window: Sequence[Letter], until: Until) -> None:
        self._waiting.clear()
        self._returned.clear()
        if self._channel is None:
            self._channel = self._open()
        for letter in window:
            if until.is_over():
                break
            self._put(letter)
        while self._waiting:
            before = len(self._waiting)
            patience = min(BLOCKED if self.blocked else CONFIRM, max(LAST, until.at - self._clock.monotonic()))
            try:
                self._connection.connection.drain_events(timeout=patience)
            except TimeoutError as exc:
                if self.blocked:
                    return
                if len(self._waiting) == before:
                    raise TimeoutError(f"no confirmation from the broker within {patience:.1f} s") from exc

    def _put(self, letter: Letter) -> None:
        import amqp

        self._tag += 1
        self._waiting[self._tag] = letter
        try:
            addressed = letter.addressed(self._channel)
            _refuse_big_headers(addressed, self._connection.connection.frame_max)
            self._channel.basic_publish(
                addressed,
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
        if self._asked == tag or (multiple and self._asked < tag):
            self._asked = 0
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
        self._returned.add(message.properties.get("correlation_id", ""))

    def _channel_closed(self, error: Any) -> Sequence[Letter]:
        """Answer for the letter that made the server close the channel; return those to be sent again, one by one.

        One that is known to cause it travels alone. Among several it is known by its size, if the server says that: what came
        before it may have been taken, and waits for its next attempt; what came after was not. Else nobody knows which it was:
        that a message may be there twice, with the same id, is better than that one letter stops the others.
        """
        left, self._waiting = list(self._waiting.values()), {}
        self._forget_channel()
        if len(left) > 1 and error.code != 403:
            found = TOO_LARGE.search(str(error))
            size = int(found[1]) if found else -1
            guilty = next((place for place, letter in enumerate(left) if len(letter.body) == size), None)
            if guilty is None:
                return left
            self._found.update({letter.number: faults.refused(UNSAID, retry=True) for letter in left[:guilty]})
            self._found[left[guilty].number] = faults.refused(str(error), retry=False)
            return left[guilty + 1 :]
        for letter in left:
            if error.code == 404:
                self._found[letter.number] = faults.unroutable(letter.message.exchange, letter.message.routing_key, str(error))
            else:  # 406 is about the letter itself: too large
                self._found[letter.number] = faults.refused(str(error), retry=error.code != 406)
        return []

    def _forget_channel(self) -> None:
        closed, self._channel, self._asked = self._channel, None, 0
        with suppress(Exception):  # it is closed
            closed.close()


def _windows(letters: Sequence[Letter]) -> Iterator[Sequence[Letter]]:
    window: list[Letter] = []
    for letter in letters:
        alone = _travels_alone(letter)
        if window and (alone or len(window) == WINDOW):
            yield window
            window = []
        if alone:
            yield [letter]
        else:
            window.append(letter)
    if window:
        yield window


def _travels_alone(letter: Letter) -> bool:
    return bool(letter.message.exchange) or len(letter.body) > HEAVY or bool(ALONE & letter.message.headers.keys())


def _refuse_big_headers(message: Any, frame_max: int) -> None:
    """Raise ValueError for headers that do not fit into one frame: the server would close the connection over them.

    A body may take many frames, headers may not.
    """
    if 4 * len(repr(message.properties)) < frame_max:  # a character has at most four bytes, so nobody need count them
        return
    size = len(message._serialize_properties()) + HEADER_FRAME
    if size > frame_max:
        raise ValueError(f"its headers have {size} bytes, and this broker takes {frame_max} at most")
