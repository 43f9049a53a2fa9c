"""A claim, decided again and as the message that is sent for it. Never sends anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from offbeat.core.model import Overlap, Reason, TaskCall
from offbeat.core.recheck import decide_at_claim

if TYPE_CHECKING:
    from offbeat.core.message import Message
    from offbeat.core.model import Instant, Key
    from offbeat.ports.ledger_values import Claim


def reason_of(claim: Claim, now: Instant) -> Reason:
    """Return why a claim must not be dispatched at `now` (by the ledger's clock), NONE when it may."""
    if claim.call is None:
        return Reason.REMOVED
    return decide_at_claim(
        kind=claim.key.kind,
        due_at=claim.key.due_at,
        send_at=claim.send_at,
        policy=claim.policy,
        next_due=claim.next_due,
        enabled=claim.timing.enabled if claim.timing else None,
        paused=claim.paused,
        waited=claim.waited,
        expires_at=claim.expires_at,
        now=now,
    )


def letter(claim: Claim, *, project: str, host: str, atomic: bool, now: Instant) -> Message:
    """Return the message of a claimed task. atomic: recorded and sent in one step. now: by the ledger's clock."""
    from offbeat.core.identity import occurrence_id
    from offbeat.core.message import build

    assert isinstance(claim.call, TaskCall)
    key = claim.key
    return build(
        call=claim.call,
        project=project,
        entry=claim.name,
        occurrence=occurrence_id(project, claim.name, key.due_at, key.kind, key.kind_id),
        due_at=key.due_at,
        cause=claim.cause,
        attempt=claim.attempt,
        origin=f"offbeat@{host}",
        expires_at=claim.expires_at,
        now=now,
        row="" if claim.policy.overlap is Overlap.ALLOW else row_text(key),
        atomic=atomic,
    )


def row_text(key: Key) -> str:
    """Return the row's key as the header offbeat_row has it."""
    return f"{key.eno}:{key.due_at}:{key.kind.value}:{key.kind_id}"
