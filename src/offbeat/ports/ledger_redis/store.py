"""One ledger in one Redis: opened, looked at for what would lose it, and asked by scripts. Its authority: ledger rule 15.

What the program says of entries is read once and kept until the program's version is another one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from offbeat.core.marks import slot_of
from offbeat.core.model import CommandCall, DueTime, Entry, Instant, Kind, Reason, TaskCall
from offbeat.core.slots import slot_seconds
from offbeat.core.transitions import Span, bounds, is_empty
from offbeat.errors import Problem
from offbeat.ports.clock import Clock
from offbeat.ports.ledger_redis import problems, safety, schema
from offbeat.ports.ledger_redis.address import Address, parse
from offbeat.ports.ledger_redis.client import Client, RedisClient
from offbeat.ports.ledger_redis.values import decoded, encoded, instant, micros, text_map
from offbeat.ports.ledger_values import Told

READS = frozenset({"open", "look_only", "take", "book", "status", "rows", "named", "between"})  # scripts that write nothing
DECIDE = frozenset({"take", "record", "claim"})  # scripts upon which something is sent
MOST_ROWS = 500  # of one script: the server does nothing else meanwhile


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Which ledger. address: as in OFFBEAT_LEDGER. owner: kept for people to read; any number of hosts share a ledger."""

    address: str
    project: str = ""
    owner: str = ""
    read_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptPause:
    """A pause as it is kept. eno 0: of all."""

    number: int
    eno: int
    from_at: Instant
    until_at: Instant | None
    who: str
    note: str
    once: bool

    def holds(self, now: Instant) -> bool:
        """Return whether it holds now."""
        return self.from_at <= now and (self.until_at is None or now < self.until_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version of an entry, valid in [valid_from, valid_until). gid 0: disabled, never due."""

    vno: int
    gid: int
    valid_from: DueTime
    valid_until: DueTime | None
    entry: Entry

    @property
    def span(self) -> Span:
        """Return what it is due by."""
        first, last = bounds(self.entry.timing, self.valid_from, self.valid_until)
        return Span(recurrence=self.entry.timing.recurrence, zone=self.entry.timing.zone, first=first, last=last)

    @property
    def yields(self) -> bool:
        """Return whether anything can be due in it."""
        span = self.span
        return self.gid != 0 and not is_empty(span.first, span.last)


@dataclass(frozen=True, kw_only=True)
class Page:
    """What the book says of an entry. What follows from it is worked out once."""

    name: str
    versions: tuple[Version, ...]

    @cached_property
    def open(self) -> Version | None:
        """Return the version in force, None when the entry is not in the active revision."""
        newest = self.versions[-1:]
        return newest[0] if newest and newest[0].valid_until is None else None

    @cached_property
    def entry(self) -> Entry | None:
        """Return the entry as it is in force."""
        return self.open.entry if self.open else None

    @cached_property
    def due_by(self) -> tuple[tuple[Version, Span], ...]:
        """Return each version that something can be due in, and what it is due by, oldest first."""
        return tuple((version, version.span) for version in self.versions if version.yields)

    @cached_property
    def spans(self) -> tuple[Span, ...]:
        """Return what it is due by, oldest first."""
        return tuple(span for _, span in self.due_by)

    @cached_property
    def gone(self) -> Reason:
        """Return why nothing of it is due any more: REMOVED, DISABLED; NONE while something is."""
        if self.entry is None:
            return Reason.REMOVED
        return Reason.NONE if self.entry.timing.enabled else Reason.DISABLED

    @cached_property
    def facts(self) -> tuple[int, int, int]:
        """Return what a claim must know: 1 for a command, seconds to the expiry or -1, seconds for which it has a slot or 0."""
        if self.entry is None:
            return 0, -1, 0
        call, policy = self.entry.call, self.entry.policy
        expires = call.expires if isinstance(call, TaskCall) else None
        return int(isinstance(call, CommandCall)), -1 if expires is None else expires, slot_seconds(policy, Kind.SCHEDULE)


@dataclass(slots=True, kw_only=True)
class Book:
    """What the program says, as far as it was read. pver: of the program."""

    pver: int = -1
    revision: int = 0
    pauses: tuple[KeptPause, ...] = ()
    pages: dict[int, Page] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a script answered. body: after the head."""

    now: Instant
    pver: int
    revision: int
    body: Any


class Store:
    """The connection and what every operation of this store begins with."""

    def __init__(self, place: Place, *, horizon: Clock | None = None, client: Client | None = None) -> None:
        """horizon: a clock that stands for the server's, for tests. client: another way to the server.

        Raises: ConfigError for the address, LedgerError when the server cannot be used or would lose what is recorded.
        """
        self.place = place
        self.address: Address = parse(place.address)
        self.where = self.address.where
        self.horizon = horizon
        self.keys = f"{{{self.address.prefix}:{place.project}}}:"
        self.client: Client = client or RedisClient(self.address)
        self.warnings: tuple[Problem, ...] = ()
        self.book = Book()
        self._checked = -1  # which of the client's connections was looked at
        self._slot = slot_of(os.urandom(8).hex())  # of the marks; nobody else's, mostly
        self._mine = 0  # the highest mark of it that a reply told
        self._told = Told()  # by replies since `told`
        self._open()

    def _open(self) -> None:
        from uuid import uuid4

        place = self.place
        known = (schema.SCHEMA, schema.OLDEST, "1" if place.read_only else "", schema.FIRST)
        found, oldest = self.ask("open", place.project, place.owner, uuid4().hex, *known).body
        if 0 < found < schema.FIRST:
            raise problems.refuse(self.where, problems.UNRELEASED, f"its form is {found}")
        if found > schema.SCHEMA and oldest > schema.SCHEMA:
            raise problems.refuse(self.where, problems.NEWER, f"its form is {found}, this program knows {schema.SCHEMA}")

    def close(self) -> None:
        """Release the connection. Safe to call twice."""
        self.client.close()

    def ask(self, name: str, *args: str | bytes | int, keys: Sequence[str] = (), again: bool = True) -> Reply:
        """Run a script and return its reply; after a new connection, look first where it led to. Raises: LedgerError."""
        assert name in READS or not self.place.read_only or (name, args[0]) == ("claim", 0), f"{name} of a read-only ledger"
        if self._checked != self.client.connections:
            self.warnings = safety.check(self.client, self.address, read_only=self.place.read_only)
            self._checked = self.client.connections
        horizon = "" if self.horizon is None else str(micros(self.horizon.now()))
        words = [one.encode("utf-8", "surrogateescape") if isinstance(one, str) else one for one in args]
        (now, pver, revision, mine), *body = self.client.run(
            schema.script(name),
            [self.keys, *(self.keys + key for key in keys)],
            [f"{self._slot}:{horizon}", *words],
            again=again,
        )
        if name in DECIDE and mine < self._mine:
            raise problems.refuse(self.where, problems.WENT_BACK, f"{self._mine - mine} of the writes of this runner are gone")
        self._mine = mine if name == "look" else max(self._mine, mine)  # what a look tells is judged by who looks
        self._told = self._told.and_then({self._slot: mine} if mine else {}, instant(now))
        return Reply(instant(now), pver, revision, body[0] if len(body) == 1 else body)

    def told(self) -> Told:
        """Return the marks that replies told since this was asked last. See Ledger.told."""
        told, self._told = self._told, Told()
        return told

    def hash(self, name: str) -> dict[str, str]:
        """Return a whole hash."""
        return dict(text_map(self.client.say("HGETALL", self.keys + name)))

    def read(self, enos: Iterable[int], pver: int) -> Book:
        """Return the book with the pages of these entries, as it is at the program's version `pver` or a later one."""
        wanted = sorted(set(enos))
        if self.book.pver != pver:
            self.book = Book()
        while self.book.pver < 0 or any(eno not in self.book.pages for eno in wanted):
            some = [eno for eno in wanted if eno not in self.book.pages][: MOST_ROWS * 2]
            reply = self.ask("book", *some)
            if reply.pver != self.book.pver:  # the first look, or the program changed while we read
                self.book = Book(pver=reply.pver, revision=reply.revision, pauses=_pauses(reply.body[0]))
            for eno, text in zip(some, reply.body[1], strict=True):
                self.book.pages[eno] = _page(text)
        return self.book

    def pauses_of(self, eno: int, after: Instant) -> tuple[tuple[Instant, Instant | None], ...]:
        """Return the pauses of the entry, and of all, that reach beyond `after`, in the order in which they were made."""
        if not self.book.pauses:
            return ()
        mine = (pause for pause in self.book.pauses if pause.eno in (0, eno))
        return tuple((p.from_at, p.until_at) for p in mine if p.until_at is None or p.until_at > after)


def _page(text: bytes) -> Page:
    return page_of(decoded(text)) if text else Page(name="", versions=())


def page_of(text: str) -> Page:
    """Return the page that the book's JSON tells."""
    from offbeat.core.serial import entry_from_json

    said = json.loads(text)
    versions = tuple(
        Version(vno=vno, gid=gid, valid_from=start, valid_until=end, entry=entry_from_json(entry))
        for vno, gid, start, end, entry, *_ in said["versions"]
    )
    return Page(name=said["name"], versions=versions)


def _pauses(said: list[list[bytes]]) -> tuple[KeptPause, ...]:
    return pauses_from({int(number): decoded(text) for number, text in said})


def pauses_from(said: dict[int, str]) -> tuple[KeptPause, ...]:
    """Return the pauses of the hash, in the order in which they were made."""
    found = []
    for number in sorted(said):
        eno, start, end, once, words = said[number].split(" ", 4)
        who, note = json.loads(words)
        until_at = None if end == "-" else instant(end)
        found.append(
            KeptPause(
                number=number, eno=int(eno), from_at=instant(start), until_at=until_at, who=who, note=note, once=once == "1"
            )
        )
    return tuple(found)


def pause_text(pause: KeptPause) -> str:
    """Return the pause as the hash keeps it."""
    end = "-" if pause.until_at is None else str(micros(pause.until_at))
    words = decoded(encoded([pause.who, pause.note]))
    return f"{pause.eno} {micros(pause.from_at)} {end} {int(pause.once)} {words}"
