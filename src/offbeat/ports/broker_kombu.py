"""The broker through kombu: Redis, RabbitMQ, the filesystem and whatever else kombu speaks. Loaded at the first publish.

Never declares a queue, never imports Celery or a task, never retries by itself, never lets an address with its secrets out.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from offbeat.core.message import Message
from offbeat.core.model import BrokerSettings
from offbeat.ports import broker_faults as faults
from offbeat.ports.broker import Delivery
from offbeat.ports.broker_address import TIMEOUT, fault_of, options_for, ssl_for
from offbeat.ports.broker_lines import BrokenLineError, Letter, Line, connect
from offbeat.ports.clock import Clock

IDLE = 30.0  # seconds; a connection unused for longer is opened anew, because what is between may have forgotten it


class BrokerKombu:
    """One broker, one connection, one thread."""

    def __init__(self, url: str, settings: BrokerSettings, *, clock: Clock, root: Path | None = None) -> None:
        """url: with its secrets. root: of the repository, for relative paths in [broker]; the working directory without."""
        self._url = url
        self._settings = settings
        self._clock = clock
        self._root = root or Path.cwd()
        self._words = faults.Words(url, settings.transport_options, settings.ssl)
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
        found: dict[int, Delivery] = {}
        letters: list[Letter] = []
        for number, message in enumerate(messages):
            letter = self._letter(number, message)
            if isinstance(letter, Delivery):
                found[number] = letter
            else:
                letters.append(letter)
        found |= self._send(line, letters, until)
        self._used_at = self._clock.monotonic()
        return [found[number] for number in range(len(messages))]

    def reach(self, seconds: float) -> Delivery:
        """Return whether the broker can be reached and lets us in; sends nothing."""
        line = self._open(seconds)
        return line if isinstance(line, Delivery) else Delivery()

    def close(self) -> None:
        """Release the connection. Safe to call twice."""
        line, self._line = self._line, None
        if line is not None:
            with suppress(Exception):  # it is gone either way
                line.close()

    def _drop(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            with suppress(Exception):
                line.drop()

    def _send(self, line: Line, letters: Sequence[Letter], until: float) -> dict[int, Delivery]:
        try:
            found = line.send(letters, until)
            rest = faults.out_of_time()
        except BrokenLineError as broken:
            self._drop()
            found, rest = broken.found, faults.connecting(broken.cause, self._words)
        found = {number: self._cleaned(delivery) for number, delivery in found.items()}
        return {letter.number: found.get(letter.number, rest) for letter in letters}

    def _cleaned(self, delivery: Delivery) -> Delivery:
        if delivery.taken:
            return delivery
        return replace(delivery, error=self._words.of(Exception(delivery.error), "the broker did not take the message"))

    def _open(self, seconds: float) -> Line | Delivery:
        """Return the line that is open, or a new one where there is none or it is stale; a Delivery when there is no way."""
        self._close_stale()
        if self._line is not None:
            return self._line
        if wrong := fault_of(self._url):
            return Delivery(error=wrong, down=True, code=faults.ADDRESS)
        try:
            options = options_for(self._url, self._settings, self._root, seconds)
            secure = ssl_for(self._url, self._settings, self._root)
            self._line = connect(self._url, options, secure, clock=self._clock, seconds=min(TIMEOUT, seconds))
        except Exception as exc:  # noqa: BLE001 - each transport of kombu has its own errors; Delivery is the one answer
            return faults.connecting(exc, self._words)
        self._used_at = self._clock.monotonic()
        return self._line

    def _close_stale(self) -> None:
        if self._line is None:
            return
        if self._clock.monotonic() - self._used_at > IDLE:
            self.close()
            return
        try:
            self._line.check()
        except Exception:  # noqa: BLE001 - whatever it is, a new connection will tell
            self._drop()

    def _letter(self, number: int, message: Message) -> Letter | Delivery:
        from kombu.serialization import dumps

        try:
            content_type, content_encoding, body = dumps(message.body, serializer=message.serializer)
        except Exception as exc:  # noqa: BLE001 - serializers are plug-ins; this message only is at fault
            words = self._words.of(exc, "its arguments cannot be carried")
            return faults.refused(f'cannot be written as "{message.serializer}": {words}', retry=False)
        expiration = None
        if message.expires_at is not None:
            expiration = str(max(0, int((message.expires_at - self._clock.now()) * 1000)))
        return Letter(
            number=number,
            message=message,
            body=body if isinstance(body, bytes) else body.encode("utf-8"),
            content_type=content_type,
            content_encoding=content_encoding,
            expiration=expiration,
        )
