"""The ledger in Redis: the ways back from a wrong future, and from an older state."""

from __future__ import annotations

from dataclasses import replace
from math import floor
from typing import Any

from offbeat.core.model import DueTime
from offbeat.core.transitions import as_far_back, next_due, set_back
from offbeat.ports.ledger_redis import problems
from offbeat.ports.ledger_redis.compiling import TRIES, CompilingRedis, World
from offbeat.ports.ledger_redis.store import Page
from offbeat.ports.ledger_redis.values import encoded
from offbeat.ports.ledger_values import Runner, Told, clock_not_believed


class MendingRedis(CompilingRedis):
    """rewind, restored."""

    def rewind(self, to: DueTime, who: str) -> int:
        for _ in range(TRIES):
            world = self.world()
            (through,) = self.facts("through")
            began = min((page.versions[0].valid_from for page in world.pages.values() if page.versions), default=None)
            to = as_far_back(to, int(float(through)) if through else None, began, world.now)
            moved = {gid for gid, shard in world.shards.items() if shard.cursor > to}
            for gid in moved | _set_versions_back(world, to):
                shard = world.shards[gid]
                shard.cursor, shard.version = min(shard.cursor, to), shard.version + 1
                shard.next_due = next_due(world.spans(gid), shard.cursor)
                world.moved.add(gid)
            told = world.written_out()
            plan = {"pver": str(world.pver), **{name: told[name] for name in ("cursors", "hashes", "due")}}
            if self.ask("rewind", to, encoded(plan), who).body:
                return len(moved)
        raise problems.refuse(self.where, problems.CONTENDED)

    def restored(self, runner: Runner, told: Told, *, skip: bool) -> bool:
        for _ in range(TRIES):
            plan: dict[str, Any] = {"pver": "", "cursors": {}, "groups": {}}
            if skip:
                world = self.world()
                until = floor(min(world.now, told.heard_at))
                plan = {"pver": str(world.pver), "until": until}
                plan["cursors"] = {str(gid): shard.read for gid, shard in world.shards.items()}
                behind = [shard for shard in world.shards.values() if shard.cursor < until]
                plan["groups"] = {str(s.gid): next_due(world.spans(s.gid), until) or False for s in behind}
            answer = self.ask("restored", encoded(dict(told.marks)), "1" if skip else "0", encoded(plan), runner.id).body
            if answer == -2:
                raise clock_not_believed(self.where)
            if answer >= 0:
                return bool(answer)
        raise problems.refuse(self.where, problems.CONTENDED)


def _set_versions_back(world: World, to: DueTime) -> set[int]:
    """Set back the validity of versions; return the groups that they are of."""
    touched = set()
    for eno, page in world.pages.items():
        versions = []
        for version in page.versions:
            start, end = set_back((version.valid_from, version.valid_until), to, world.now)
            if (start, end) != (version.valid_from, version.valid_until):
                world.written.add(eno)
                touched |= {version.gid} - {0}
            versions.append(replace(version, valid_from=start, valid_until=end))
        world.pages[eno] = Page(name=page.name, versions=tuple(versions))
    return touched
