"""The ledger in Redis, for runners: from due groups to recorded decisions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from math import inf
from typing import TYPE_CHECKING, Any

from offbeat.core.model import Policy
from offbeat.core.transitions import Belief, Span
from offbeat.ports.ledger_redis.recording import RecordingRedis
from offbeat.ports.ledger_redis.store import MOST_ROWS, Page
from offbeat.ports.ledger_redis.values import decoded, details, instant, perhaps, tag
from offbeat.ports.ledger_values import Outlook, Runner

if TYPE_CHECKING:
    from offbeat.core.plan import Group, Member, Portion


class PlanningRedis(RecordingRedis):
    """look, changed, take; and what RecordingRedis has."""

    def look(self, runner: Runner) -> Outlook:
        reply = self.ask("look", tag(runner), details(runner))
        stamp, wake, believed, suspect, newest, failed, deployed, marks, born = reply.body
        belief = Belief(newest=instant(newest), suspect_at=perhaps(suspect))
        wake_at = inf if wake < 0 else instant(wake)
        return Outlook(
            now=reply.now,
            revision=reply.revision,
            stamp=decoded(stamp),
            wake_at=wake_at,
            due=bool(believed) and wake_at <= reply.now,
            believed=bool(believed),
            believe_at=belief.believe_at,
            failed_at=instant(failed),
            ahead=belief.ahead(reply.now),
            deployed=bool(deployed),
            marks=dict(zip(map(int, marks[::2]), map(int, marks[1::2]), strict=True)),
            born=decoded(born),
        )

    def changed(self) -> bool:
        return True

    def take(self, limit: int) -> Portion:
        while (portion := self._taken(limit)) is None:
            pass  # the program changed while it was read
        return portion

    def _taken(self, limit: int) -> Portion | None:
        """Return due groups, read MOST_ROWS at a time; None when the program changed in between."""
        from offbeat.core.backlog import may_be_late, with_waiting
        from offbeat.core.plan import Portion

        found: dict[int, tuple[Group, tuple[Member, ...]]] = {}
        looked_at, size, pver = 0, 0, -1
        while True:
            reply = self.ask("take", looked_at, min(limit - looked_at, MOST_ROWS), limit - size)
            due, more = reply.body
            book = self.read((int(eno) for _, _, _, enos in due for eno in enos), reply.pver)
            if book.pver != reply.pver or pver not in (-1, reply.pver):
                return None
            for row in due:
                if size < limit and int(row[0]) not in found:
                    found[int(row[0])] = self._group(row)
                    size += len(found[int(row[0])][1])
            looked_at, pver = looked_at + len(due), reply.pver
            if not more or size >= limit or looked_at >= limit:
                groups = with_waiting(found.values(), self._waiting(may_be_late(found.values(), reply.now)))
                return Portion(now=reply.now, revision=reply.revision, groups=groups)

    def _waiting(self, enos: Sequence[int]) -> dict[int, int]:
        """Return how many late rows of each entry wait to be sent."""
        counts = self.ask("late", *enos).body if enos else ()
        return dict(zip(enos, counts, strict=True))

    def _group(self, row: Any) -> tuple[Group, tuple[Member, ...]]:
        from offbeat.core.plan import Group

        gid, text, cursor_version, enos = row
        recurrence, zone = json.loads(text)
        cursor, version = map(int, cursor_version.split())
        group = Group(gid=int(gid), recurrence=recurrence, zone=zone, cursor=cursor, version=version)
        return group, tuple(member for eno in sorted(map(int, enos)) for member in self._members(eno, group))

    def _members(self, eno: int, group: Group) -> Iterator[Member]:
        page = self.book.pages[eno]
        for place, (version, span) in enumerate(page.due_by):
            if version.gid == group.gid and (span.last is None or span.last > group.cursor):
                policy = (page.entry or version.entry).policy
                yield self._member(eno, page, policy, page.spans[place:], group)

    def _member(self, eno: int, page: Page, policy: Policy, spans: Sequence[Span], group: Group) -> Member:
        """Return the member. spans: what the version is due by, and those after it."""
        from offbeat.core.plan import Heir, Member

        span, *later = spans
        return Member(
            eno=eno,
            name=page.name,
            first=span.first,
            last=span.last,
            policy=policy,
            gone=page.gone,
            pauses=self.pauses_of(eno, group.cursor),
            heirs=tuple(Heir(recurrence=s.recurrence, zone=s.zone, first=s.first, last=s.last) for s in later),
        )
