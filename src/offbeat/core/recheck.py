"""What is decided again when a row is claimed: the definition that holds then, and how late it is then.

Light to import: a fire needs this and no planner.
"""

from __future__ import annotations

from math import floor

from offbeat.core.model import PUNCTUAL, CatchUp, DueTime, Instant, Kind, Policy, Reason

HELD_BACK = 300  # seconds after which a backfill's row that a pause holds is looked at again


def decide_at_claim(
    *,
    kind: Kind,
    due_at: DueTime,
    send_at: DueTime,
    policy: Policy,
    next_due: DueTime | None,
    enabled: bool | None,
    paused: bool,
    waited: bool = False,
    expires_at: Instant | None = None,
    now: Instant,
) -> Reason:
    """Return why a claimed row must not be dispatched any more, NONE when it may (ledger rule 9: late binding).

    enabled: None when the entry is gone. next_due: the entry's next usable due time after due_at. What a person fired or
    backfilled is only held to its expiry. waited: for the end of another occurrence of its entry; then it was not missed for
    being late. expires_at: None without `expires`, and before the first claim.
    """
    if expires_at is not None and expires_at <= now:  # no worker would start it, and a broker may drop it unseen
        return Reason.TOO_LATE
    last_call = in_grace_until(kind, send_at, policy)
    if last_call is not None and last_call < now:
        return Reason.TOO_LATE
    if kind is not Kind.SCHEDULE:
        return Reason.NONE
    if not enabled:
        return Reason.REMOVED if enabled is None else Reason.DISABLED
    if paused:
        return Reason.PAUSED
    late = now - send_at > PUNCTUAL
    if policy.catch_up is CatchUp.LATEST and late and next_due is not None and next_due <= now:
        return Reason.COALESCED
    return Reason.MISSED if policy.catch_up is CatchUp.NONE and late and not waited else Reason.NONE


def in_grace_until(kind: Kind, send_at: DueTime, policy: Policy) -> Instant | None:
    """Return the last instant at which a row may go out, None without a limit.

    Grace is for what came due by itself. What a person asks for is meant, however long no runner or broker was there for it.
    """
    return None if policy.grace is None or kind is not Kind.SCHEDULE else send_at + policy.grace


def held_back(send_at: DueTime, now: Instant) -> DueTime:
    """Return the send time of a backfill's row that a pause holds: moved by whole HELD_BACK, so that the spread stays."""
    return send_at + HELD_BACK * (floor((now - send_at) / HELD_BACK) + 1)
