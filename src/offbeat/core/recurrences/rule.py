"""What every recurrence can be asked, and how one that cannot be read is told of.

Never reads the clock. All spans are (after, until]; cutting one in two changes no due time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from offbeat.core.model import DueTime
from offbeat.errors import Problem, ScheduleError

SHOWN = 60  # characters of a text that a message repeats
_FAR = 253_370_764_799  # the end of the year 9998, UTC
UNREADABLE = "no due time can be worked out from it"


class Recurrence(Protocol):
    """What yields due times. All instants are whole seconds since the epoch, UTC."""

    def next_after(self, after: DueTime) -> DueTime | None:
        """Return the first due time > after, None when there is none."""

    def due_times(self, after: DueTime, until: DueTime) -> Iterator[DueTime]:
        """Yield the due times in (after, until], strictly increasing."""

    def last_at_or_before(self, instant: DueTime) -> DueTime | None:
        """Return the last due time <= instant, None when there is none."""


def is_never_due(rule: Recurrence) -> bool:
    """Return whether a recurrence has no due time at all, neither before nor after 1970."""
    return rule.next_after(0) is None and rule.last_at_or_before(_FAR) is None


def refusal(code: str, what: str, fix: str) -> ScheduleError:
    """Return the error of a recurrence that no due time can be worked out from."""
    return ScheduleError(Problem(code=code, what=what, why=UNREADABLE, fix=fix))


def missing(package: str) -> ScheduleError:
    """Return the error that a package is not installed that this kind of recurrence is worked out with."""
    return refusal("S167", f"the Python package {package} is not installed here", f"pip install {package}")


def shown(text: str) -> str:
    r"""Return a text as messages repeat it: cut, and in ASCII.

    >>> shown("tab\there"), shown("x" * 99)[-5:]
    ('tab\\there', 'xx...')
    """
    return ascii(text[:SHOWN])[1:-1] + ("..." if len(text) > SHOWN else "")
