"""The due seconds of an hour and of a day, in a row: what a cron search looks its next one up in.

Never knows a date or a zone. Evenly spaced ones are ranges, which take no room.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from offbeat.core.recurrences.zones import DAY

_LONGEST_RUN = 1500  # times of a day that are kept in a row, unless they are evenly spaced


@lru_cache(maxsize=1024)
def values(mask: int, unit: int) -> tuple[int, ...]:
    """Return the values of a set, times `unit`, rising."""
    return tuple(value * unit for value in range(mask.bit_length()) if mask >> value & 1)


def _row(outer: Sequence[int], inner: Sequence[int]) -> Sequence[int]:
    """Return all sums of the two, which rise; as a range where they are evenly spaced."""
    if len(inner) > 1 and len(outer) > 1:
        step = inner[1] - inner[0]
        even = range(outer[0] + inner[0], outer[-1] + inner[-1] + 1, step)
        if len(even) == len(outer) * len(inner) and _is_even(inner, step) and _is_even(outer, step * len(inner)):
            return even
    elif len(inner) == 1 and not inner[0]:
        return outer
    return tuple(first + second for first in outer for second in inner)


def _is_even(values: Sequence[int], step: int) -> bool:
    return all(values[place] - values[0] == place * step for place in range(len(values)))


@lru_cache(maxsize=1024)
def hour_row(minutes: int, seconds: int) -> Sequence[int]:
    """Return the due seconds of an hour."""
    return _row(values(minutes, 60), values(seconds, 1))


@lru_cache(maxsize=1024)
def longest_row(hours: int, minutes: int, seconds: int) -> tuple[Sequence[int], int]:
    """Return the due seconds of a day, or of an hour where they are too many; and the length of that, in seconds."""
    row = hour_row(minutes, seconds)
    if len(row) * hours.bit_count() > _LONGEST_RUN and not isinstance(row, range):
        return row, 3600
    whole = _row(values(hours, 3600), row)
    return (whole, DAY) if len(whole) <= _LONGEST_RUN or isinstance(whole, range) else (row, 3600)
