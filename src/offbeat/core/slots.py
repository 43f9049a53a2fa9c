"""The slot of an entry that limits overlap: who takes it, who waits, and until when it is held. Rule 11 of the ledger's design.

Never reads a clock and never touches a store.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from offbeat.core.model import Instant, Key, Kind, Overlap, Policy

SET_BACK = 60.0  # seconds that a clock may be set back without letting go of what is held


class Turn(StrEnum):
    """What becomes of a row that is about to be claimed, as far as other occurrences of its entry go."""

    GO = "go"  # it is claimed, and takes the slot where its policy has one
    OVERTAKE = "overtake"  # as GO, and what waits, though due earlier, becomes skipped(overlap)
    SKIP = "skip"  # it becomes skipped(overlap)
    WAIT = "wait"  # it becomes WAITING until the slot is free, and what waited before becomes skipped(overlap)


def slot_seconds(policy: Policy | None, kind: Kind) -> int:
    """Return for how long a row of this kind takes its entry's slot, 0 when it takes none. policy: None without an entry."""
    if policy is None or policy.overlap is Overlap.ALLOW or kind is Kind.MANUAL:
        return 0
    return policy.max_runtime or 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Who took an entry's slot, and until when. seconds: max_runtime as it was then, None where that was not kept yet."""

    key: Key
    until: Instant
    seconds: float | None = None

    def ends(self, runtime: float) -> Instant:
        """Return when it is free again. runtime: max_runtime now; one that is longer counts, a shorter one not."""
        return self.until + max(0.0, runtime - (runtime if self.seconds is None else self.seconds))

    def holds(self, runtime: float, now: Instant) -> bool:
        """Return whether it still does; a time further ahead than it was taken for is a wrong clock's."""
        taken = runtime if self.seconds is None else self.seconds
        return runtime > 0 and now < self.ends(runtime) and self.until <= now + taken + SET_BACK


def taken(key: Key, seconds: float, holder: Hold | None, now: Instant) -> Hold:
    """Return how the slot is held when `key` takes it for `seconds` from now; what it has already is never made shorter."""
    if holder is not None and holder.key == key and holder.holds(seconds, now) and holder.until > now + seconds:
        return holder
    return Hold(key=key, until=now + seconds, seconds=seconds)


def judge_slot(key: Key, policy: Policy | None, *, holder: Hold | None, waiting: Key | None, now: Instant) -> Turn:
    """Judge whether a row may go now. holder: who took the entry's slot, until when. waiting: what waits for it already.

    Taking it twice for the same occurrence is fine. Of two that would wait the one that was due later does; and where one
    comes just when the slot is free, before the one that waited was claimed: else that could be so at each tick, for ever.
    """
    seconds = slot_seconds(policy, key.kind)
    is_newest = waiting is None or waiting.due_at <= key.due_at
    if not seconds or (holder is not None and holder.key == key):
        return Turn.GO
    if holder is None or not holder.holds(seconds, now):
        return Turn.OVERTAKE if is_newest and waiting not in (None, key) else Turn.GO
    if policy is None or policy.overlap is Overlap.SKIP or not is_newest:
        return Turn.SKIP
    return Turn.WAIT
