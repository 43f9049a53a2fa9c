"""Whether a message may be out twice, and who runs it: a broker like Redis delivers again what is not acknowledged in time.

Never decides alone: what it makes of a delivery is asked of the ledger. Authority: kombu/transport/redis.py; ADR 0011.
"""

from __future__ import annotations

from typing import Any, Iterable, NamedTuple

from celery.worker import state

from offbeat.ports.worker_values import Ask
from offbeat.worker.message import Delivery, Occurrence, delivery_of, occurrence_of

SLOWEST, QUICKEST = 30.0, 0.25  # seconds between two signs of life of what runs
SIGNS = 8  # signs within a visibility timeout
LOST = 4  # signs that may be missed
KEEP = 8 * 86_400  # seconds after a message's expiry, or from now, for which it is remembered who has won


class Watch(NamedTuple):
    """How copies are told. visibility: seconds after which the broker delivers again; 0: when a connection ends."""

    visibility: float = 0.0

    @property
    def beat(self) -> float:
        """Return the seconds between two signs of life of a task that runs."""
        return min(max(self.visibility / SIGNS, QUICKEST), SLOWEST)

    @property
    def patience(self) -> float:
        """Return the seconds without a sign after which a task counts as lost; 0: what comes again runs at once."""
        return LOST * self.beat if self.visibility else 0.0

    def may_be_out_twice(self, found: Occurrence, delivery: Delivery, now: float) -> bool:
        """Return whether there can be two of a message. There are none before it is as old as the visibility timeout.

        A message is never older than its occurrence, save for retries, of which nobody knows when they were sent.
        """
        return delivery.again or bool(
            self.visibility and (delivery.turn or not found.due_at or abs(now - found.due_at) > self.visibility / 2)
        )

    def pause(self, usual: float) -> float:
        """Return for how many seconds a message may wait in a worker's hands: far less than the visibility timeout."""
        return min(usual, self.visibility / 4) if self.visibility else usual


def ask_of(found: Occurrence, delivery: Delivery, keep: int) -> Ask:
    """Return the question whether a delivery may start, with nobody to watch it."""
    return Ask(found.id, found.attempt, keep, turn=delivery.turn, again=delivery.again)


def active() -> dict[Ask, str]:
    """Return what this worker runs of ours, each with its project. In the worker's first process.

    Several may have one id: a copy asks its way while the first delivery runs.
    """
    found = {}
    for request in _requests():
        headers = request.request_dict
        one = occurrence_of(headers, request.id)
        if one is not None:
            delivery = delivery_of(headers, request.delivery_info, headers.get("retries"))
            found[ask_of(one, delivery, KEEP)] = one.project
    return found


def once_each(asks: Iterable[Ask]) -> list[list[Ask]]:
    """Return them in as few lists as there may be where none names an occurrence twice."""
    found: list[dict[str, Ask]] = []
    for ask in asks:
        place = next((one for one in found if ask.occurrence not in one), None)
        if place is None:
            found.append(place := {})
        place[ask.occurrence] = ask
    return [list(one.values()) for one in found]


def _requests() -> list[Any]:
    for _ in range(5):
        try:
            return list(state.active_requests)
        except RuntimeError:  # it changed while it was read: another thread's
            continue
    return []
