"""The ledger in Redis, for pages and commands. Changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from offbeat.core.model import (
    BrokerSettings,
    Cause,
    DueTime,
    Entry,
    Instant,
    Key,
    Kind,
    LedgerSettings,
    Reason,
    Schedule,
    State,
)
from offbeat.core.transitions import Belief, tally
from offbeat.ports.ledger_redis.dispatching import DispatchingRedis
from offbeat.ports.ledger_redis.planning import PlanningRedis
from offbeat.ports.ledger_redis.values import (
    CAUSES,
    REASONS,
    STATES,
    decoded,
    id_of,
    instant,
    key_of,
    micros,
    perhaps,
    runner_of,
    task_of,
)
from offbeat.ports.ledger_values import (
    COMPILED,
    Claim,
    HistoryRow,
    LedgerStatus,
    Origin,
    Revision,
    Rewound,
    SeenRunner,
    newest_first,
)

if TYPE_CHECKING:
    from offbeat.core.plan import Portion

EVER = 10**7  # an hour after every hour that a due time can be in
PAGE = 500  # rows that are read at once


class ReadingRedis(PlanningRedis, DispatchingRedis):
    """status, schedule, revisions, settings, entries, history, failures, peek, output."""

    def status(self) -> LedgerStatus:
        reply = self.ask("status")
        facts, due, pending, claimed, waiting, oldest, runners = reply.body
        project, owner, form, digest, activated, refused, whole, newest, undelivered, *mended = map(decoded, facts)
        deployed, restored, *rewound = mended
        kept = self._kept(str(reply.revision)) if reply.revision else None
        seen_runners = [SeenRunner(runner=runner_of(text), seen_at=instant(seen)) for text, seen in runners if text]
        return LedgerStatus(
            where=self.where,
            project=project or self.place.project,
            owner=owner or self.place.owner,
            schema=int(form or 0),
            revision=reply.revision,
            digest=digest,
            activated_at=instant(activated) if activated else None,
            now=reply.now,
            next_due=int(due) if due else None,
            pending=pending,
            claimed=claimed,
            undelivered=int(undelivered or 0),
            runners=tuple(sorted(seen_runners, key=lambda seen: (-seen.seen_at, seen.runner.id))),
            refused=refused,
            refused_whole=whole == "1",
            ahead=Belief(newest=instant(newest) if newest else None).ahead(reply.now),
            waiting=waiting,
            waits_since=instant(oldest) if oldest else None,
            origin=_origin(kept[2]) if kept else COMPILED,
            deployed=deployed == "1",
            restored_at=instant(restored) if restored else None,
            rewound=_rewound(*rewound),
        )

    def _kept(self, number: str) -> Any:
        text = self.client.say("HGET", self.keys + "revs", number)
        return json.loads(decoded(text)) if text else None

    def _meta(self, name: str) -> str:
        return decoded(self.client.say("HGET", self.keys + "meta", name) or b"")

    def schedule(self, revision: int | None = None) -> Schedule | None:
        from offbeat.core.serial import schedule_from_json

        number = self._meta("rev") if revision is None else str(revision)
        text = self.client.say("HGET", self.keys + "schedules", number)
        return schedule_from_json(decoded(text)) if text else None

    def revisions(self, limit: int) -> Sequence[Revision]:
        active = int(self._meta("rev") or 0)
        numbers = range(active, max(0, active - limit), -1)
        found = [(number, kept) for number in numbers if (kept := self._kept(str(number)))]
        return [
            Revision(
                number=number,
                digest=digest,
                activated_at=instant(activated_at),
                origin=_origin(origin),
                entries=entries,
                active=number == active,
            )
            for number, (digest, activated_at, origin, entries, *_) in found
        ]

    def broker_settings(self) -> BrokerSettings | None:
        from offbeat.core.serial import settings_from_json

        text = self._meta("settings")
        return settings_from_json(text) if text else None

    def ledger_settings(self) -> LedgerSettings:
        from offbeat.core.serial import ledger_settings_from_json

        text = self._meta("settings")
        return ledger_settings_from_json(text) if text else LedgerSettings()

    def rules(self) -> str:
        from offbeat.core.serial import rules_from_json

        text = self._meta("settings")
        return rules_from_json(text) if text else ""

    def entries(self) -> Sequence[tuple[Entry, DueTime | None]]:
        last = {int(eno): int(due) for eno, due in self.hash("last").items()}
        reply = self.ask("book")
        book = self.read(map(int, self.hash("defs")), reply.pver)
        found = [(page.open.entry, last.get(eno)) for eno, page in book.pages.items() if page.open]
        return sorted(found, key=lambda one: one[0].name)

    def history(self, name: str = "", limit: int = 100, since: DueTime | None = None) -> Sequence[HistoryRow]:
        eno = ""
        if name:
            found = self.client.say("HGET", self.keys + "names", name.encode("utf-8", "surrogateescape"))
            if found is None:
                return []
            eno = decoded(found)
        rows = self._rows(eno, limit, since)
        rows += self._gaps(eno, limit, since)
        return sorted(rows, key=newest_first)[:limit]

    def _rows(self, eno: str, limit: int, since: DueTime | None) -> list[HistoryRow]:
        """Return the newest rows: whole hours until there are `limit`."""
        found: dict[Key, HistoryRow] = {}
        hour, place, oldest = str(EVER), "0", str(-EVER if since is None else since // 3600)
        while hour:
            reply = self.ask("rows", hour, oldest, eno, place, PAGE)
            rows, following, place = reply.body
            for line in self._lines(rows, reply.pver):
                if line.key and (since is None or line.due_at >= since):
                    found[line.key] = line
            hour, place, before = decoded(following), decoded(place), hour
            if len(found) >= limit and (hour != before and place == "0"):
                break
        return list(found.values())

    def _lines(self, rows: Sequence[Any], pver: int) -> Iterator[HistoryRow]:
        keys = [key_of(row[0]) for row in rows]
        book = self.read((key.eno for key in keys), pver)
        for key, row in zip(keys, rows, strict=True):
            yield _line(book.pages[key.eno].name, key, row)

    def _gaps(self, eno: str, limit: int, since: DueTime | None) -> list[HistoryRow]:
        """Return the newest gaps, one line for each entry in them, as their due times are worked out now."""
        found: list[HistoryRow] = []
        at, lowest = 0, "-inf" if since is None else str(since)
        while True:
            gaps = self.client.say("ZREVRANGEBYSCORE", self.keys + "gaps", "+inf", lowest, "LIMIT", at, PAGE)
            for gap in gaps:
                gid, whose, after, until, recorded_at, reason = decoded(gap).split(" ")[:6]
                newest = sorted((line.until or 0 for line in found), reverse=True)[:limit]
                if len(newest) == limit > 0 and newest[-1] > int(until):
                    return found
                enos = [int(whose)] if whose != "0" else [int(e) for e in self.client.say("SMEMBERS", f"{self.keys}m:{gid}")]
                mine = [one for one in enos if not eno or one == int(eno)]
                lines = self._lines_of(int(gid), mine, (int(after), int(until)), (Reason(reason), instant(recorded_at)))
                found += [line for line in lines if since is None or (line.until or 0) >= since]
            at += PAGE
            if len(gaps) < PAGE:
                return found

    def _lines_of(
        self, gid: int, enos: Iterable[int], span: tuple[DueTime, DueTime], told: tuple[Reason, Instant]
    ) -> Iterator[HistoryRow]:
        enos = sorted(enos)
        book = self.read(enos, self.book.pver)
        for eno in enos:
            page = book.pages[eno]
            for version in page.versions:
                counted = tally(version.span, *span) if version.gid == gid else None
                if counted is None:
                    continue
                rows = self.ask("between", eno, counted.first, counted.last).body
                if count := counted.count - rows:
                    yield HistoryRow(
                        entry=page.name,
                        due_at=counted.first,
                        kind=Kind.SCHEDULE,
                        state=State.SKIPPED,
                        reason=told[0],
                        cause=Cause.SCHEDULE,
                        attempt=0,
                        recorded_at=told[1],
                        until=counted.last,
                        count=count,
                    )

    def failures(self, since: Instant, limit: int) -> Sequence[HistoryRow]:
        ids = self.client.say(
            "ZRANGEBYSCORE", self.keys + "failed", f"({micros(since)}", "+inf", "LIMIT", 0, limit, "WITHSCORES"
        )
        some = [key for _, key in sorted((int(at), key_of(name)) for name, at in zip(ids[::2], ids[1::2], strict=True))]
        reply = self.ask("named", *map(id_of, some))
        return list(self._lines(reply.body, reply.pver))

    def peek(self, limit: int) -> tuple[Portion, Sequence[Claim]]:
        return self.take(limit), self.claimable(0, limit, ())

    def output(self, key: Key) -> bytes | None:
        hour, second = divmod(key.due_at, 3600)
        rest = id_of(key).split(":", 2)[2:]
        found: bytes | None = self.client.say("HGET", f"{self.keys}o:{hour}", ":".join([str(key.eno), str(second), *rest]))
        return found


def _rewound(at: str, to: str, who: str) -> Rewound | None:
    return Rewound(at=instant(at), to=int(to), who=who) if at else None


def _origin(told: Sequence[Any]) -> Origin:
    commit, author, dirty, note, deployed = told[:5]
    return Origin(commit=commit, author=author, dirty=dirty, note=note, deployed=deployed)


def _line(name: str, key: Key, row: Any) -> HistoryRow:
    _, state, reason, cause, attempt, offset, task, note, exit_status = row[:9]
    recorded_at, dispatched_at, started_at, finished_at, next_try_at = map(perhaps, row[9:])
    return HistoryRow(
        entry=name,
        due_at=key.due_at,
        kind=key.kind,
        state=STATES[state - 1],
        reason=REASONS[reason - 1],
        cause=CAUSES[cause - 1],
        attempt=attempt,
        task_id=task_of(task) if task else "",
        recorded_at=recorded_at,
        dispatched_at=dispatched_at,
        started_at=started_at,
        finished_at=finished_at,
        note=decoded(note),
        exit_status=None if exit_status == b"" else exit_status,
        next_try_at=next_try_at,
        send_at=key.due_at + offset,
        key=key,
    )
