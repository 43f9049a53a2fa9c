"""Rows that a script handed out, as claims with the definition that applies now (late binding, ledger rule 9)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from offbeat.core.model import CommandCall, DueTime, Instant, Key, Kind, Lane, Policy, Reason, TaskCall
from offbeat.core.transitions import usable_after
from offbeat.ports.ledger_redis.store import Reply, Store
from offbeat.ports.ledger_redis.values import CAUSES, REASONS, STATES, decoded, instant, key_of, perhaps
from offbeat.ports.ledger_values import Claim, Slot


class Claims(Store):
    """What planning, dispatching and operating share."""

    def claims(self, rows: Sequence[Any], reply: Reply) -> list[Claim]:
        """Return the rows that a script told of as claims."""
        keys = [key_of(row[0]) for row in rows]
        if keys:
            self.read((key.eno for key in keys), reply.pver)
        return [self._claim(key, row, reply.now) for key, row in zip(keys, rows, strict=True)]

    def _claim(self, key: Key, row: Any, now: Instant) -> Claim:
        _, offset, lane, cause, attempt, lease_until, expires_at, note, waited, own = row
        page = self.book.pages[key.eno]
        entry = page.open.entry if page.open else None
        call: TaskCall | CommandCall | None = entry.call if entry else None
        if own:
            from offbeat.core.serial import call_from_json

            call = call_from_json(decoded(own))
        return Claim(
            key=key,
            name=page.name,
            send_at=key.due_at + offset,
            lane=Lane(lane),
            cause=CAUSES[cause - 1],
            attempt=attempt,
            lease_until=instant(lease_until),
            revision=self.book.revision,
            call=call,
            timing=entry.timing if entry else None,
            policy=entry.policy if entry else Policy(),
            next_due=self._next_due(key) if entry else None,
            expires_at=perhaps(expires_at),
            last_error=decoded(note),
            paused=any(pause.holds(now) for pause in self.book.pauses if pause.eno in (0, key.eno) and not pause.once),
            waited=bool(waited),
        )

    def _next_due(self, key: Key) -> DueTime | None:
        if key.kind is not Kind.SCHEDULE:
            return None
        spans = [version.span for version in self.book.pages[key.eno].versions if version.yields]
        return usable_after(spans, key.due_at, self.pauses_of(key.eno, key.due_at))

    def standing(self, reply: Reply) -> Slot:
        """Return what a script told of a row."""
        name, state, reason, dispatched_at, row = reply.body
        held = self.claims([row], reply) if row else []
        why = REASONS[reason - 1] if reason else Reason.NONE
        return Slot(
            key=key_of(name),
            claim=held[0] if held else None,
            state=STATES[state - 1],
            reason=why,
            dispatched_at=perhaps(dispatched_at),
        )
