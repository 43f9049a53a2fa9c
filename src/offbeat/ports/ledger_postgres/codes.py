"""Words as the numbers that rows keep of them: two bytes each, and the same number for the same word wherever it stands.

A number is never given to another word. The ledger keeps the list too, in its table `words`, for people with psql.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from offbeat.core.model import Cause, Kind, Reason, State
from offbeat.ports.ledger_problems import Unreadable

W = TypeVar("W")

CODES: Mapping[str, int | None] = {
    "": None,
    "schedule": 1,
    "manual": 2,
    "backfill": 3,
    "catch_up": 4,
    "pending": 10,
    "waiting": 11,
    "claimed": 12,
    "undelivered": 13,
    "skipped": 14,
    "dispatched": 15,
    "started": 16,
    "retrying": 17,
    "succeeded": 18,
    "failed": 19,
    "revoked": 20,
    "coalesced": 30,
    "missed": 31,
    "too_late": 32,
    "removed": 33,
    "disabled": 34,
    "paused": 35,
    "overlap": 36,
    "by_hand": 37,
    "restored": 38,
    "exit_status": 39,
    "timed_out": 40,
    "runner_died": 41,
    "not_started": 42,
    "refused": 43,
}  # also in a statement, as {word}


class _Words(dict[int | None, W]):
    """The words of one list, by their numbers."""

    def __missing__(self, code: int | None) -> W:
        raise Unreadable(f"{code} is no number of a word that this offbeat knows")

    def __call__(self, code: int | None) -> W:
        """Return the word. Raises: Unreadable."""
        return self[code]


kind_of: Callable[[int | None], Kind] = _Words({CODES[word]: word for word in Kind})
cause_of: Callable[[int | None], Cause] = _Words({CODES[word]: word for word in Cause})
state_of: Callable[[int | None], State] = _Words({CODES[word]: word for word in State})
reason_of: Callable[[int | None], Reason] = _Words({CODES[word]: word for word in Reason})
