"""The ledger in Redis, for people: fire, slot, skip, pause, resume, backfill, cancel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from offbeat.core.model import CommandCall, DueTime, Instant, TaskCall
from offbeat.core.transitions import by_whom
from offbeat.ports.ledger_redis import problems
from offbeat.ports.ledger_redis.claims import Claims
from offbeat.ports.ledger_redis.compiling import TRIES, binding_of, plan_json
from offbeat.ports.ledger_redis.store import MOST_ROWS, KeptPause, pause_text
from offbeat.ports.ledger_redis.values import encoded, tag
from offbeat.ports.ledger_values import MOST_BACKFILLED, Paused, Runner, Slot, unknown_entry


class OperatingRedis(Claims):
    """fire, slot, skip, pause, resume, pauses, backfill, cancel."""

    def fire(self, runner: Runner, name: str, token: str, call: TaskCall | CommandCall | None = None) -> Slot:
        own: bytes | str = ""
        if call is not None:
            from offbeat.core.serial import call_to_json

            queue, expires, command = binding_of(call)
            own = encoded([queue, expires, command, call_to_json(call)])
        page = encoded({"name": name, "versions": []})
        reply = self.ask("fire", tag(runner), name, token, own, page)
        if not reply.body:
            raise unknown_entry(name, self.where)
        return self.standing(reply)

    def slot(self, runner: Runner, name: str, due_at: DueTime) -> Slot:
        reply = self.ask("slot", tag(runner), name, due_at, "slot")
        if not reply.body:
            raise unknown_entry(name, self.where)
        return self.standing(reply)

    def skip(self, name: str, due_at: DueTime, who: str, note: str) -> Slot:
        reply = self.ask("slot", 0, name, due_at, "skip", by_whom(who, note), encoded([who, note]))
        if not reply.body:
            raise unknown_entry(name, self.where)
        return self.standing(reply)

    def backfill(self, name: str, token: str, rows: Sequence[tuple[DueTime, DueTime]]) -> int:
        assert len(rows) <= MOST_BACKFILLED, len(rows)
        new = 0
        for start in range(0, len(rows) or 1, MOST_ROWS):
            some = [[due_at, send_at - due_at] for due_at, send_at in rows[start : start + MOST_ROWS]]
            added: int = self.ask("backfill", name, token, encoded(some)).body
            if added < 0:
                raise unknown_entry(name, self.where)
            new += added
        return new

    def cancel(self, name: str, who: str, note: str, limit: int, token: str = "") -> int:
        gone = 0
        for index in ("lane:2", "lane:1", "wait"):
            place = b"0"
            while gone < limit:
                found, place = self.ask("cancel", name, token, limit - gone, by_whom(who, note), index, place).body
                if found < 0:
                    raise unknown_entry(name, self.where)
                gone += found
                if place == b"0":
                    break
        return gone

    def pause(self, name: str, who: str, note: str, until: Instant | None = None) -> None:
        for _ in range(TRIES):
            eno, now, held = self._holding(name)
            if held:
                told = [replace(held[0], until_at=until, who=who, note=note)]
            else:
                number = int(self.client.say("HINCRBY", self.keys + "meta", "next_pause", 1))
                told = [
                    KeptPause(number=number, eno=eno, from_at=now, until_at=until, who=who, note=note, once=False),
                ]
            if self._keep(told):
                return
        raise problems.refuse(self.where, problems.CONTENDED)

    def resume(self, name: str) -> None:
        for _ in range(TRIES):
            _, now, held = self._holding(name)
            if not held or self._keep([replace(pause, until_at=now) for pause in held]):
                return
        raise problems.refuse(self.where, problems.CONTENDED)

    def _holding(self, name: str) -> tuple[int, Instant, list[KeptPause]]:
        """Return the entry's number (0: all), the store's time, and its pauses that hold now."""
        found = self.client.say("HGET", self.keys + "names", name.encode("utf-8", "surrogateescape")) if name else b"0"
        if found is None:
            raise unknown_entry(name, self.where)
        eno, reply = int(found), self.ask("book")
        book = self.read((), reply.pver)
        held = [pause for pause in book.pauses if pause.eno == eno and not pause.once and pause.holds(reply.now)]
        return eno, reply.now, held

    def _keep(self, pauses: Sequence[KeptPause]) -> bool:
        """Write the pauses if the program is still the one that was read."""
        hashes = {"pauses": {str(pause.number): pause_text(pause) for pause in pauses}}
        return bool(self.ask("apply", plan_json(pver=self.book.pver, hashes=hashes, changes=True)).body)

    def pauses(self) -> Sequence[Paused]:
        reply = self.ask("book")
        book = self.read((), reply.pver)
        coming = [pause for pause in book.pauses if pause.until_at is None or pause.until_at > reply.now]
        book = self.read({pause.eno for pause in coming if pause.eno}, reply.pver)
        found = [
            Paused(
                name=book.pages[pause.eno].name if pause.eno else "",
                from_at=pause.from_at,
                until_at=pause.until_at,
                who=pause.who,
                note=pause.note,
                once=pause.once,
            )
            for pause in coming
        ]
        return sorted(found, key=lambda pause: (pause.name, pause.from_at))
