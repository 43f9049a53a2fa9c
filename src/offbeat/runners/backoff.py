"""When to try again: per queue, and for the broker as a whole, with one probe at a time.

Kept in memory only: a runner that starts anew tries once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

FIRST, LONGEST = 1.0, 60.0  # seconds


@dataclass(slots=True)
class _Closed:
    failures: int
    until: float  # monotonic
    error: str


@dataclass(slots=True)
class Backoff:
    """What is closed, and until when. All instants are monotonic seconds."""

    error: str = ""  # the broker's words when it went down, "" while it is up
    is_blocked: bool = False  # it is there, and says when it takes messages again
    _down: _Closed | None = None
    _queues: dict[str, _Closed] = field(default_factory=dict)

    def closed_queues(self, now: float) -> frozenset[str]:
        """Return the queues that must not be tried yet."""
        return frozenset(queue for queue, closed in self._queues.items() if closed.until > now)

    def suspects(self, now: float) -> frozenset[str]:
        """Return the queues that were closed and may be tried again, each with one message."""
        return frozenset(queue for queue, closed in self._queues.items() if closed.until <= now)

    def error_of(self, queue: str) -> str:
        """Return the broker's words on a queue that did not take its message, "" when it did."""
        return self._queues[queue].error if queue in self._queues else ""

    def is_down(self) -> bool:
        """Return whether the broker did not answer the last time."""
        return self._down is not None

    def may_probe(self, now: float) -> bool:
        """Return whether a broker that is down may be tried again, with one message."""
        return self._down is not None and self._down.until <= now

    def went_down(self, error: str, now: float, *, blocked: bool = False) -> bool:
        """Note that the broker is out of reach, or blocked, which is asked for each second; return whether that is news."""
        news, failures = self._down is None, self._down.failures + 1 if self._down else 1
        failures = 0 if blocked else failures
        self._down, self.error, self.is_blocked = _Closed(failures, now + delay(failures), error), error, blocked
        return news

    def came_back(self) -> bool:
        """Note that the broker took a message; return whether that is news."""
        news, self._down, self.error, self.is_blocked = self._down is not None, None, "", False
        return news

    def close_queue(self, queue: str, error: str, now: float) -> bool:
        """Note that a queue did not take its message; return whether that is news: many messages of one try are one failure."""
        closed = self._queues.get(queue)
        if closed is not None and closed.until > now and closed.error == error:
            return False
        failures = closed.failures + 1 if closed and closed.error == error else 1
        self._queues[queue] = _Closed(failures, now + delay(failures), error)
        return True

    def open_queue(self, queue: str) -> None:
        """Note that a queue took its message."""
        self._queues.pop(queue, None)


def delay(failures: int) -> float:
    """Return the seconds to wait after so many failures in a row: 1, 2, 4 ... 60."""
    return min(FIRST * 2.0 ** min(max(failures, 1) - 1, 10), LONGEST)
