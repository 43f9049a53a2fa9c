"""The ledger in Redis, for pages and commands. Changes nothing."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from heapq import nlargest
from typing import TYPE_CHECKING, Any

from offbeat.core.model import TROUBLE, BrokerSettings, DueTime, Entry, Instant, Key, LedgerSettings, Reason, Schedule, State
from offbeat.core.transitions import Belief, Span
from offbeat.ports.ledger_lines import NEVER, StoredGap, Stretch, has_gaps, line_of, newest_lines
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
)

if TYPE_CHECKING:
    from offbeat.core.plan import Portion

LAST_HOUR = 10**7  # an hour after every hour that a due time can be in
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
            looked_at=instant(newest) if newest else None,
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

    def history(
        self, name: str = "", limit: int = 100, since: DueTime | None = None, *, states: Collection[State] = ()
    ) -> Sequence[HistoryRow]:
        eno, after = "", NEVER if since is None else since
        if name:
            found = self.client.say("HGET", self.keys + "names", name.encode("utf-8", "surrogateescape"))
            if found is None:
                return []
            eno = decoded(found)
        if limit < 1:
            return []
        if states and TROUBLE.issuperset(states):
            kept = self._troubled(eno, limit, after, states)
        else:
            kept = self._newest(eno, limit, after, states)
        gaps = self._gaps(eno, after) if has_gaps(states) else ()
        return newest_lines(self._lines(kept), gaps, self._rows_between, limit=limit, since=after)

    def _newest(self, eno: str, limit: int, since: DueTime, states: Collection[State]) -> list[Any]:
        """Return the newest rows, `limit` and those that are due with the last of them, or more."""
        found: dict[bytes, tuple[DueTime, Any]] = {}
        codes = "".join(f",{STATES.index(state) + 1}" for state in states) + "," if states else ""
        hour, place, lowest = str(LAST_HOUR), "0", max(since, -LAST_HOUR * 3600)
        while hour:
            rows, following, place = self.ask("rows", hour, lowest, eno, place, PAGE, codes).body
            found.update((row[0], (key_of(row[0]).due_at, row)) for row in rows)
            if len(found) >= max(2 * limit, PAGE):  # older ones need not come any more
                lowest = nlargest(limit, (due for due, _ in found.values()))[-1]
                found = {name: line for name, line in found.items() if line[0] >= lowest}
            hour, before = decoded(following), hour
            place = decoded(place)
            if len(found) >= limit and hour != before and place == "0":
                break
        return [row for _, row in found.values()]

    def _troubled(self, eno: str, limit: int, since: DueTime, states: Collection[State]) -> list[Any]:
        """Return as `_newest`, of those that failed, were revoked or not delivered: no other row is looked at."""
        found: dict[bytes, Any] = {}
        codes = {STATES.index(state) + 1 for state in states}
        at, lowest = 0, since
        while True:
            page = self.client.say("ZREVRANGE", self.keys + "trouble", at, at + PAGE - 1)
            keys = [key_of(name) for name in page]
            mine = [key for key in keys if key.due_at >= lowest and eno in ("", str(key.eno))]
            if mine:
                found |= {row[0]: row for row in self.ask("named", *map(id_of, mine)).body if row[1] in codes}
            if len(found) >= limit and lowest == since:
                lowest = nlargest(limit, (key_of(name).due_at for name in found))[-1]
            if len(page) < PAGE or keys[-1].due_at < lowest:
                return list(found.values())
            at += PAGE

    def _lines(self, rows: Sequence[Any]) -> Iterator[HistoryRow]:
        keys = [key_of(row[0]) for row in rows]
        book = self.read((key.eno for key in keys), self.book.pver)
        for key, row in zip(keys, rows, strict=True):
            yield _line(book.pages[key.eno].name, key, row)

    def _gaps(self, eno: str, since: DueTime) -> Iterator[StoredGap]:
        """Yield the gaps for each entry in them, newest end first."""
        at, lowest = 0, str(max(since, -LAST_HOUR * 3600))
        self.read((), self.ask("book").pver)
        while True:
            gaps = self.client.say("ZREVRANGEBYSCORE", self.keys + "gaps", "+inf", lowest, "LIMIT", at, PAGE)
            for gap in gaps:
                gid, whose, after, until, recorded_at, reason = decoded(gap).split(" ")[:6]
                enos = [int(whose)] if whose != "0" else [int(e) for e in self.client.say("SMEMBERS", f"{self.keys}m:{gid}")]
                for one, name, span in self._spans(int(gid), [each for each in enos if eno in ("", str(each))]):
                    yield StoredGap(
                        eno=one,
                        name=name,
                        after=int(after),
                        until=int(until),
                        span=span,
                        reason=Reason(reason),
                        recorded_at=instant(recorded_at),
                    )
            at += PAGE
            if len(gaps) < PAGE:
                return

    def _spans(self, gid: int, enos: Sequence[int]) -> Iterator[tuple[int, str, Span]]:
        """Yield what each of the entries is due by as a member of the group, with its number and name."""
        book = self.read(enos, self.book.pver)
        for eno in enos:
            for version in book.pages[eno].versions:
                if version.gid == gid:
                    yield eno, book.pages[eno].name, version.span

    def _rows_between(self, stretches: Sequence[Stretch]) -> list[int]:
        counts: list[int] = []
        for at in range(0, len(stretches), PAGE):
            some = [number for stretch in stretches[at : at + PAGE] for number in stretch]
            hour, place, mine = "", "0", [0] * (len(some) // 3)
            while place:
                page, hour, place = self.ask("between", hour, place, *some).body
                mine = [count + more for count, more in zip(mine, page, strict=True)]
                place = place if hour else ""
            counts += mine
        return counts

    def failures(self, since: Instant, limit: int) -> Sequence[HistoryRow]:
        ids = self.client.say(
            "ZRANGEBYSCORE", self.keys + "failed", f"({micros(since)}", "+inf", "LIMIT", 0, limit, "WITHSCORES"
        )
        some = [key for _, key in sorted((int(at), key_of(name)) for name, at in zip(ids[::2], ids[1::2], strict=True))]
        return list(self._lines(self.ask("named", *map(id_of, some)).body))

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
    *instants, next_try_at = map(perhaps, row[9:])
    words = (key.kind, STATES[state - 1], REASONS[reason - 1], CAUSES[cause - 1], attempt, task_of(task) if task else "")
    rest = (decoded(note), None if exit_status == b"" else exit_status, next_try_at, key.due_at + offset, key.eno, key.kind_id)
    return line_of((name, key.due_at, *words, *instants, *rest))
