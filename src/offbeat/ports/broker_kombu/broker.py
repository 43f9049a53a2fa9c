"""The broker through kombu: Redis, RabbitMQ, the filesystem and whatever else kombu speaks. Loaded at the first publish.

Never declares a queue, never imports Celery or a task, never retries by itself, never lets an address with its secrets out.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from offbeat.core.message import Message
from offbeat.core.model import BrokerSettings
from offbeat.ports import broker_faults as faults
from offbeat.ports.broker import Delivery, Push
from offbeat.ports.broker_kombu.address import SHORTEST, TIMEOUT, fault_of, is_redis, options_for, patience_for, ssl_for
from offbeat.ports.broker_kombu.connect import connect
from offbeat.ports.broker_kombu.deadline import within
from offbeat.ports.broker_kombu.line_rabbitmq import ConfirmedLine
from offbeat.ports.broker_kombu.line_redis import RedisLine
from offbeat.ports.broker_kombu.lines import BrokenLineError, Letter, Line, Until
from offbeat.ports.clock import Clock
from offbeat.ports.stop import Stop

IDLE = 30.0  # seconds; a connection unused for longer is opened anew, because what is between may have forgotten it
CHECK = 2.0  # seconds for a connection that was used before to show that it is alive; what is left of TIMEOUT is for a new one
FAREWELL = 1.0  # seconds for a connection to part politely
OVER = 1.0  # seconds beyond its time that a batch may take to end by itself
LONGEST_EXPIRATION = 2**32 - 1  # milliseconds; RabbitMQ closes the channel over a longer one


class BrokerKombu:
    """One broker, one connection, one thread."""

    def __init__(
        self, url: str, settings: BrokerSettings, *, clock: Clock, root: Path | None = None, stop: Stop | None = None
    ) -> None:
        """url: with its secrets. root: of the repository, for relative paths in [broker]; the working directory without.

        stop: what ends a publish early; what was not tried by then is told as not tried.
        """
        self._url = url
        self._settings = settings
        self._clock = clock
        self._root = root or Path.cwd()
        self._stop = stop or Stop()
        self._words = faults.Words(url, settings.transport_options, settings.ssl, _of_environment(url))
        self._line: Line | None = None
        self._used_at = 0.0

    def __repr__(self) -> str:
        return f"BrokerKombu({self.where!r})"

    @property
    def where(self) -> str:
        """Return the address as it may be shown."""
        return faults.redact(self._url)

    def publish(self, messages: Sequence[Message], seconds: float) -> Sequence[Delivery]:
        """Publish in order; one Delivery each. See Broker.publish."""
        if seconds <= 0:
            return [faults.out_of_time()] * len(messages)
        until = self._clock.monotonic() + seconds
        line = self._open(seconds)
        if isinstance(line, Delivery):
            return [line] * len(messages)
        letters, found = self._letters(messages)
        found |= self._send(line, letters, until)
        self._used_at = self._clock.monotonic()
        return [found[number] for number in range(len(messages))]

    def server_id(self) -> str | Delivery:
        """Return which Redis or Valkey this is, "" for another broker, or why it does not say. See Broker.server_id."""
        line = self._open(TIMEOUT)
        if isinstance(line, Delivery):
            return line if is_redis(self._url) else ""
        if not isinstance(line, RedisLine):
            return ""
        try:
            found = within(TIMEOUT, line.server_id, cut=line.cut, stop=self._stop)
        except Exception as exc:  # noqa: BLE001 - whatever it is, a new connection will tell
            return self._broke(BrokenLineError(exc))
        except BaseException:
            self._drop()
            raise
        self._used_at = self._clock.monotonic()
        return found

    def prepare(self, messages: Sequence[Message]) -> Sequence[Push | Delivery]:
        """Return what to push for each message, or why it cannot be. See Broker.prepare."""
        line = self._open(TIMEOUT)
        if isinstance(line, Delivery):
            return [line] * len(messages)
        if not isinstance(line, RedisLine):
            return [faults.refused("only Redis has lists to push to", retry=True)] * len(messages)
        letters, refused = self._letters(messages)
        found: dict[int, Push | Delivery] = dict(refused)
        try:
            within(TIMEOUT, lambda: line.prepare(letters, found), cut=line.cut, stop=self._stop)
        except (BrokenLineError, TimeoutError) as exc:
            broken: Push | Delivery = self._broke(exc)
            found = {letter.number: broken for letter in letters} | found.copy()
        self._used_at = self._clock.monotonic()
        pushes = (found[number] for number in range(len(messages)))
        return [push if isinstance(push, Push) else self._cleaned(push) for push in pushes]

    def remembers(self) -> bool:
        """Return whether the server that we are connected to remembers ids. See Broker.remembers."""
        return isinstance(self._line, RedisLine) and not self._line.forgetful

    def forget(self, task_ids: Sequence[str]) -> None:
        """Let go of what is remembered of these messages, if the connection is open still. See Broker.forget."""
        line = self._line
        if not isinstance(line, RedisLine):
            return
        try:
            within(CHECK, lambda: line.forget(task_ids), cut=line.cut)
        except Exception:  # noqa: BLE001 - it goes by itself
            self._drop()
        except BaseException:
            self._drop()
            raise

    def reach(self, seconds: float) -> Delivery:
        """Return whether the broker can be reached and lets us in; sends nothing."""
        line = self._open(seconds)
        if isinstance(line, Delivery):
            return line
        if line.blocked:
            return faults.blocked(self._words.of(Exception(line.blocked), "an alarm"))
        forbidden = line.forbidden if isinstance(line, ConfirmedLine) else ""
        return Delivery(warning=self._words.of(Exception(forbidden), "it refuses them") if forbidden else "")

    def close(self) -> None:
        """Release the connection, within a second or two. Safe to call twice."""
        line, self._line = self._line, None
        if line is not None:
            with suppress(Exception):  # it is gone either way
                within(FAREWELL, line.close, cut=line.cut)

    def _drop(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            with suppress(Exception):
                within(FAREWELL, line.drop, cut=line.cut)

    def _broke(self, error: BrokenLineError | TimeoutError) -> Delivery:
        """Let go of the line; return what its end says."""
        self._drop()
        return faults.connecting(error.cause if isinstance(error, BrokenLineError) else error, self._words)

    def _send(self, line: Line, letters: Sequence[Letter], until: float) -> dict[int, Delivery]:
        found: dict[int, Delivery] = {}
        rest = faults.out_of_time()
        left = max(0.0, until - self._clock.monotonic())
        ends = Until(at=until, clock=self._clock, stop=self._stop)
        try:
            within(left + OVER, lambda: line.send(letters, ends, found), cut=line.cut, stop=self._stop)
        except (BrokenLineError, TimeoutError) as exc:
            rest = self._broke(exc)
        except BaseException:
            self._drop()
            raise
        known = {number: self._cleaned(delivery) for number, delivery in found.copy().items()}
        if isinstance(line, RedisLine) and line.forgetful:
            warning = self._words.of(Exception(line.forgetful), "the user may not do what it takes")
            known = {number: replace(each, warning=warning) if each.taken else each for number, each in known.items()}
        return {letter.number: known.get(letter.number, rest) for letter in letters}

    def _cleaned(self, delivery: Delivery) -> Delivery:
        if delivery.taken:
            return delivery
        return replace(delivery, error=self._words.of(Exception(delivery.error), "the broker did not take the message"))

    def _open(self, seconds: float) -> Line | Delivery:
        """Return the line that is open, or a new one where there is none or it is stale; a Delivery when there is no way."""
        began = self._clock.monotonic()
        self._close_stale(seconds)
        if self._line is not None:
            return self._line
        seconds = min(seconds, TIMEOUT * self._url.count(";") + TIMEOUT) - (self._clock.monotonic() - began)
        if wrong := fault_of(self._url):
            return Delivery(error=wrong, down=True, code=faults.ADDRESS)
        try:
            patience = patience_for(self._url, seconds)
            options = options_for(self._url, self._settings, self._root, patience)
            secure = ssl_for(self._url, self._settings, self._root)
            self._line = within(
                _longest(options, patience) * (self._url.count(";") + 1),
                lambda: connect(self._url, options, secure, clock=self._clock, seconds=patience),
                late=lambda line: line.drop(),
                stop=self._stop,
            )
        except Exception as exc:  # noqa: BLE001 - each transport of kombu has its own errors; Delivery is the one answer
            return faults.connecting(exc, self._words)
        self._used_at = self._clock.monotonic()
        return self._line

    def _close_stale(self, seconds: float) -> None:
        line = self._line
        if line is None:
            return
        idle = self._clock.monotonic() - self._used_at
        if idle > IDLE and not line.blocked:  # one that is blocked will say when it no longer is
            self.close()
            return
        try:
            within(max(SHORTEST, min(CHECK, seconds)), lambda: line.check(idle), cut=line.cut, stop=self._stop)
        except Exception:  # noqa: BLE001 - whatever it is, a new connection will tell
            self._drop()

    def _letters(self, messages: Sequence[Message]) -> tuple[Sequence[Letter], dict[int, Delivery]]:
        """Return what can be sent, and why the others cannot be, by number."""
        both = {number: self._letter(number, message) for number, message in enumerate(messages)}
        refused = {number: each for number, each in both.items() if isinstance(each, Delivery)}
        return [each for each in both.values() if isinstance(each, Letter)], refused

    def _letter(self, number: int, message: Message) -> Letter | Delivery:
        from kombu.serialization import dumps

        try:
            content_type, content_encoding, body = dumps(message.body, serializer=message.serializer)
        except Exception as exc:  # noqa: BLE001 - serializers are plug-ins; this message only is at fault
            words = self._words.of(exc, "its arguments cannot be carried")
            return faults.refused(f'cannot be written as "{message.serializer}": {words}', retry=False)
        expiration = None
        if message.expires_in is not None:
            milliseconds = max(1, int(message.expires_in * 1000))  # with 0 RabbitMQ drops what no worker waits for
            expiration = str(milliseconds) if milliseconds <= LONGEST_EXPIRATION else None  # the worker looks at the header
        return Letter(
            number=number,
            message=message,
            body=body if isinstance(body, bytes) else body.encode("utf-8"),
            content_type=content_type,
            content_encoding=content_encoding,
            expiration=expiration,
        )


def _longest(options: Mapping[str, object], patience: float) -> float:
    """Return the longest of the timeouts for connecting: a user's own may be longer than ours."""
    own = (options.get(name) for name in ("socket_timeout", "socket_connect_timeout", "connect_timeout"))
    return max([patience, *(float(each) for each in own if isinstance(each, int | float))])


def _of_environment(url: str) -> Mapping[str, str]:
    """Return the secrets that the package boto3 takes from the environment, where the address says that it is used."""
    return dict(os.environ) if url.lower().startswith("sqs:") else {}  # only what is named like a secret counts as one
