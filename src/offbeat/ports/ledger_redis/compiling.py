"""The ledger in Redis, for the compile step: a revision becomes versions and groups, worked out here and written by one script.

What was read is compared before anything is written; when others were faster it is worked out again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import floor
from typing import Any

from offbeat.core.model import SHARD, CommandCall, DueTime, Entry, Instant, Overlap, Schedule, TaskCall
from offbeat.core.transitions import Span, boundary, compare, is_stale, just_passed, next_due, queue_of
from offbeat.ports.ledger_redis import problems
from offbeat.ports.ledger_redis.store import Page, Store, Version, page_of
from offbeat.ports.ledger_redis.values import decoded, encoded, micros
from offbeat.ports.ledger_values import COMPILED, Origin, clock_not_believed, require_rules

TRIES = 50  # times that something is worked out again because others were faster


def binding_of(call: TaskCall | CommandCall) -> tuple[str, int | None, int]:
    """Return the queue, the expiry in seconds and whether it is a command (1): what scripts know of a call."""
    return queue_of(call), getattr(call, "expires", None), int(isinstance(call, CommandCall))


def plan_json(
    *,
    pver: int,
    stamp: str | None = None,
    cursors: Mapping[str, str] | None = None,
    hashes: Mapping[str, Mapping[str, Any]] | None = None,
    changes: bool,
    **more: Any,
) -> bytes:
    """Return what apply.lua writes, as it reads it."""
    empty: dict[str, Any] = {"gone": {}, "due": {}, "members": [], "rows": []}
    told = {"pver": str(pver), "stamp": stamp, "cursors": cursors or {}, "hashes": hashes or {}, "changes": int(changes)}
    return encoded({**empty, **told, **more})


@dataclass(slots=True, kw_only=True)
class Shard:
    """A group as it is kept. read: its "cursor version" when it was read, "" for a new one."""

    gid: int
    recurrence: str
    zone: str
    cursor: DueTime
    version: int
    read: str
    next_due: DueTime | None
    open: int


@dataclass(slots=True, kw_only=True)
class World:
    """The whole program as it was read, and changed since."""

    pver: int
    revision: int
    now: Instant
    names: dict[str, int]
    pages: dict[int, Page]
    shards: dict[int, Shard]
    next_vno: int
    touched: set[int] = field(default_factory=set)  # groups that lost or gained a member
    moved: set[int] = field(default_factory=set)  # groups whose cursor, version or next due time is another one
    written: set[int] = field(default_factory=set)  # entries whose page is another one
    members: list[tuple[int, int]] = field(default_factory=list)
    rows: list[tuple[int, DueTime]] = field(default_factory=list)

    def spans(self, gid: int) -> Iterable[Any]:
        """Yield what the group's versions are due by."""
        for page in self.pages.values():
            yield from (version.span for version in page.versions if version.gid == gid and version.yields)

    def work_out_anew(self) -> None:
        """Find the next due time of every group by the rules of this host, and raise its version."""
        spans: dict[int, list[Span]] = {gid: [] for gid in self.shards}
        for version in (version for page in self.pages.values() for version in page.versions if version.yields):
            spans[version.gid].append(version.span)
        for gid, shard in self.shards.items():
            shard.next_due, shard.version = next_due(spans[gid], shard.cursor), shard.version + 1
            self.moved.add(gid)

    def written_out(self) -> dict[str, Any]:
        """Return what changed as apply.lua takes it."""
        shards = [self.shards[gid] for gid in sorted(self.moved | self.touched)]
        pages = {eno: self.pages[eno] for eno in sorted(self.written)}
        hashes: dict[str, dict[str, str]] = {
            "names": {page.name: str(eno) for eno, page in pages.items()},
            "book": {str(eno): _page_text(page) for eno, page in pages.items()},
            "spans": {str(eno): _spans_text(page) for eno, page in pages.items()},
            "defs": {str(eno): _definition_text(page.open.entry) for eno, page in pages.items() if page.open},
            "texts": {str(s.gid): decoded(encoded([s.recurrence, s.zone])) for s in shards if not s.read},
            "groups": {str(s.gid): f"{s.cursor} {s.version}" for s in shards},
            "open": {str(s.gid): str(s.open) for s in shards},
            "meta": {
                "next_eno": str(max(self.names.values(), default=0)),
                "next_gid": str(max(self.shards, default=0)),
                "next_vno": str(self.next_vno),
                "overlaps": str(
                    sum(page.open.entry.policy.overlap is not Overlap.ALLOW for page in self.pages.values() if page.open)
                ),
            },
        }
        return {
            "cursors": {str(s.gid): s.read for s in shards if s.read},
            "hashes": hashes,
            "gone": {"defs": [str(eno) for eno, page in pages.items() if not page.open]},
            "due": {str(s.gid): s.next_due if s.next_due is not None else False for s in shards},
            "members": self.members,
            "rows": self.rows,
        }


class CompilingRedis(Store):
    """activate, refuse; and the whole program for whoever changes it."""

    def world(self) -> World:
        """Return the whole program. What is read in pieces is compared before it is written."""
        reply = self.ask("book")
        names = {name: int(eno) for name, eno in self.hash("names").items()}
        pages = {int(eno): page_of(text) for eno, text in self.hash("book").items()}
        texts, open_ = self.hash("texts"), self.hash("open")
        groups = self.hash("groups")
        due = {int(gid): int(at) for gid, at in self._scores("due")}
        shards = {}
        for gid, text in texts.items():
            recurrence, zone = json.loads(text)
            cursor, version = map(int, groups[gid].split())
            shards[int(gid)] = Shard(
                gid=int(gid),
                recurrence=recurrence,
                zone=zone,
                cursor=cursor,
                version=version,
                read=groups[gid],
                next_due=due.get(int(gid)),
                open=int(open_.get(gid, 0)),
            )
        number = self.client.say("HGET", self.keys + "meta", "next_vno")
        return World(
            pver=reply.pver,
            revision=reply.revision,
            now=reply.now,
            names=names,
            pages=dict(sorted(pages.items())),
            shards=dict(sorted(shards.items())),
            next_vno=int(number or 0),
        )

    def _scores(self, name: str) -> list[tuple[bytes, bytes]]:
        flat = self.client.say("ZRANGE", self.keys + name, 0, -1, "WITHSCORES")
        return list(zip(flat[::2], flat[1::2], strict=True))

    def facts(self, *names: str) -> list[str]:
        """Return fields of meta as text, "" where there is none."""
        return [decoded(value or b"") for value in self.client.say("HMGET", self.keys + "meta", *names)]

    def activate(
        self, schedule: Schedule, stamp: str, problems_: str = "", *, known: str | None = None, origin: Origin = COMPILED
    ) -> int:
        for _ in range(TRIES):
            reply = self.ask("look_only")
            if not reply.body:
                raise clock_not_believed(self.where)
            pver = reply.pver
            present, deployed, digest, settings = self.facts("stamp", "deployed", "digest", "settings")
            if (deployed == "1" and not origin.deployed) or is_stale(present, stamp, known):
                return 0
            require_rules(schedule.rules, _rules_in(settings), origin, self.where)
            meta = {"stamp": stamp, "problems": problems_, "whole": "0", **({"deployed": "1"} if origin.deployed else {})}
            if reply.revision and schedule.digest and digest == schedule.digest:
                if self.ask(
                    "apply", plan_json(pver=pver, stamp=present, hashes=self._same(meta, reply.revision, origin), changes=False)
                ).body:
                    return reply.revision
                continue
            world = self.world()
            if world.pver == pver and self._activated(world, schedule, present, meta, origin):
                return world.revision + 1
        raise problems.refuse(self.where, problems.CONTENDED)

    def _same(self, meta: dict[str, str], revision: int, origin: Origin) -> dict[str, dict[str, str]]:
        """Return what is written for a schedule that is in force already."""
        if not origin.deployed:
            return {"meta": meta}
        kept = json.loads(self.hash("revs")[str(revision)])
        kept[2] = _origin_told(origin)
        return {"meta": meta, "revs": {str(revision): decoded(encoded(kept))}}

    def _activated(self, world: World, schedule: Schedule, present: str, meta: dict[str, str], origin: Origin) -> bool:
        from offbeat.core.serial import schedule_to_json, settings_to_json

        if schedule.rules != _rules_in(*self.facts("settings")):  # a revision in between is another pver: nothing is written
            world.work_out_anew()
        Compilation(world).run(schedule)
        told = world.written_out()
        number = str(world.revision + 1)
        meta |= {"rev": number, "digest": schedule.digest, "activated": str(micros(world.now))}
        meta |= {"settings": settings_to_json(schedule)}
        kept = [schedule.digest, micros(world.now), _origin_told(origin), len(schedule.entries)]
        told["hashes"]["meta"] |= meta
        told["hashes"]["revs"] = {number: decoded(encoded(kept))}
        told["hashes"]["schedules"] = {number: schedule_to_json(schedule)}
        return bool(self.ask("apply", plan_json(pver=world.pver, stamp=present, changes=True, **told)).body)

    def refuse(self, stamp: str, problems_: str, *, known: str | None = None) -> None:
        for _ in range(TRIES):
            reply = self.ask("book")
            (present,) = self.facts("stamp")
            meta = {"stamp": stamp, "problems": problems_, "whole": "1"}
            if is_stale(present, stamp, known):
                return
            if self.ask("apply", plan_json(pver=reply.pver, stamp=present, hashes={"meta": meta}, changes=False)).body:
                return
        raise problems.refuse(self.where, problems.CONTENDED)


class Compilation:
    """One activation: the entries of the new revision become versions and groups of the world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.rooms: dict[tuple[str, str], list[Shard]] = {}
        for shard in world.shards.values():
            self.rooms.setdefault((shard.recurrence, shard.zone), []).append(shard)

    def run(self, schedule: Schedule) -> None:
        """Make the changes, and raise the version of each group that lost or gained a member."""
        world = self.world
        present = {page.name: page.open for page in world.pages.values() if page.open}
        changes = compare({name: version.entry.timing for name, version in present.items()}, schedule.entries)
        for name in changes.removed:
            self._close(world.names[name])
        for entry in changes.kept:
            if present[entry.name].entry != entry:
                self._replace(world.names[entry.name], entry=entry)
        for entry in changes.opened:
            self._open(entry)
        for gid in world.touched:
            world.shards[gid].version += 1

    def _replace(self, eno: int, **changes: Any) -> None:
        page = self.world.pages[eno]
        self.world.pages[eno] = Page(name=page.name, versions=(*page.versions[:-1], replace(page.versions[-1], **changes)))
        self.world.written.add(eno)

    def _close(self, eno: int) -> None:
        version = self.world.pages[eno].versions[-1]
        shard = self.world.shards.get(version.gid)
        until = boundary(self.world.now, shard.cursor if shard else None, version.valid_from - 1)
        self._replace(eno, valid_until=until)
        if shard:
            shard.open -= 1
            self.world.touched.add(shard.gid)

    def _open(self, entry: Entry) -> None:
        world = self.world
        eno = world.names.get(entry.name) or self._number(entry.name)
        old = world.pages[eno].open is not None
        if old:
            self._close(eno)
        shard = self._shard_with_room(entry)
        ended = [v.valid_until - 1 for v in world.pages[eno].versions if v.valid_until is not None]
        valid_from = boundary(world.now, shard.cursor if shard else None, *ended)
        if old:
            self._replace(eno, valid_until=valid_from)
        world.next_vno += 1
        gid = shard.gid if shard else 0
        version = Version(vno=world.next_vno, gid=gid, valid_from=valid_from, valid_until=None, entry=entry)
        world.pages[eno] = Page(name=entry.name, versions=(*world.pages[eno].versions, version))
        world.written.add(eno)
        if shard:
            self._join(shard, eno, version)
        if world.revision:
            world.rows += [(eno, due_at) for due_at in just_passed(entry.timing, world.now)]

    def _join(self, shard: Shard, eno: int, version: Version) -> None:
        shard.open += 1
        soonest = next_due([version.span], version.valid_from - 1)
        shard.next_due = min((due for due in (shard.next_due, soonest) if due is not None), default=None)
        self.world.touched.add(shard.gid)
        self.world.members.append((shard.gid, eno))

    def _number(self, name: str) -> int:
        eno = max(self.world.names.values(), default=0) + 1
        self.world.names[name] = eno
        self.world.pages[eno] = Page(name=name, versions=())
        return eno

    def _shard_with_room(self, entry: Entry) -> Shard | None:
        if not entry.timing.enabled:
            return None
        world, now = self.world, floor(self.world.now)
        recurrence, zone = entry.timing.recurrence, entry.timing.zone
        room = self.rooms.setdefault((recurrence, zone), [])
        for shard in room:
            if shard.open < SHARD:
                if shard.next_due is None or shard.next_due > world.now:
                    shard.cursor = max(shard.cursor, now)  # nothing is due in between
                return shard
        gid = max(world.shards, default=0) + 1
        world.shards[gid] = Shard(
            gid=gid, recurrence=recurrence, zone=zone, cursor=now, version=0, read="", next_due=None, open=0
        )
        room.append(world.shards[gid])
        return world.shards[gid]


def _rules_in(settings: str) -> str:
    from offbeat.core.serial import rules_from_json

    return rules_from_json(settings) if settings else ""


def _origin_told(origin: Origin) -> list[Any]:
    return [origin.commit, origin.author, origin.dirty, origin.note, origin.deployed]


def _page_text(page: Page) -> str:
    from offbeat.core.serial import entry_to_json

    versions = [[v.vno, v.gid, v.valid_from, v.valid_until, entry_to_json(v.entry)] for v in page.versions]
    return decoded(encoded({"name": page.name, "versions": versions}))


def _spans_text(page: Page) -> str:
    spans: Sequence[Any] = [[v.gid, v.span.first, v.span.last] for v in page.versions if v.gid]
    return decoded(encoded(spans))


def _definition_text(entry: Entry) -> str:
    return decoded(encoded([*binding_of(entry.call), entry.policy.overlap, entry.policy.max_runtime]))
