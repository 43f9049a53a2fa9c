"""Rows that a script handed out, as claims with the definition that applies now (late binding, ledger rule 9)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from offbeat.core.model import DueTime, Instant, Key, Kind, Lane, Policy, Reason
from offbeat.core.transitions import Span, usable_after
from offbeat.ports.ledger_redis.store import Page, Reply, Store
from offbeat.ports.ledger_redis.values import CAUSES, REASONS, STATES, decoded, instant, key_of, perhaps
from offbeat.ports.ledger_values import Claim, Slot

LANES = tuple(Lane)
ANY = Policy()  # of what is no entry any more


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
        until, expiry = instant(lease_until), perhaps(expires_at)
        claim = self.claim_of(key, key.due_at + offset, cause, until, expires_at=expiry, now=now, lane=lane, attempt=attempt)
        if not (note or waited or own):
            return claim
        from offbeat.core.serial import call_from_json

        call = call_from_json(decoded(own)) if own else claim.call
        return replace(claim, call=call, last_error=decoded(note), waited=bool(waited))

    def claim_of(
        self,
        key: Key,
        send_at: DueTime,
        cause: int,
        lease_until: Instant,
        *,
        expires_at: Instant | None,
        now: Instant,
        lane: int = 0,
        attempt: int = 1,
    ) -> Claim:
        """Return the claim of a row whose page has been read. cause: by its code."""
        book = self.book
        page = book.pages[key.eno]
        entry = page.entry
        pauses = book.pauses
        return Claim(
            key=key,
            name=page.name,
            send_at=send_at,
            lane=LANES[lane],
            cause=CAUSES[cause - 1],
            attempt=attempt,
            lease_until=lease_until,
            revision=book.revision,
            call=entry.call if entry else None,
            timing=entry.timing if entry else None,
            policy=entry.policy if entry else ANY,
            next_due=self._next_due(key, page) if entry else None,
            expires_at=expires_at,
            paused=bool(pauses) and any(p.holds(now) for p in pauses if p.eno in (0, key.eno) and not p.once),
        )

    def _next_due(self, key: Key, page: Page) -> DueTime | None:
        if key.kind is not Kind.SCHEDULE:
            return None
        spans = page.spans
        if len(spans) != 1 or self.book.pauses:
            return usable_after(spans, key.due_at, self.pauses_of(key.eno, key.due_at))
        (span,) = spans  # nearly always; those of a group are alike in this
        return _after(span.recurrence, span.zone, max(span.first, key.due_at), span.last, key.due_at)

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


@lru_cache(maxsize=512)
def _after(recurrence: str, zone: str, first: DueTime, last: DueTime | None, due_at: DueTime) -> DueTime | None:
    return usable_after((Span(recurrence=recurrence, zone=zone, first=first, last=last),), due_at, ())
