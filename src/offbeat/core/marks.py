"""Marks: how far a ledger has come, told apart by who wrote: a vector clock of a few slots.

One number would not do: after a ledger went back to an older state, others write on, and soon it is as high as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias
from zlib import crc32

SLOTS = 64  # two runners may share one; a loss shows as long as one of all the slots that lost a write is behind

Marks: TypeAlias = Mapping[int, int]  # writes by slot; a slot that is not there has none


def slot_of(who: str) -> int:
    """Return the slot that `who` writes in, 0 to SLOTS - 1."""
    return crc32(who.encode("utf-8", "surrogateescape")) % SLOTS


def merged(one: Marks, other: Marks) -> Marks:
    """Return the higher of the two in each slot.

    >>> merged({1: 5, 2: 1}, {2: 3})
    {1: 5, 2: 3}
    """
    return {**one, **{slot: max(count, one.get(slot, 0)) for slot, count in other.items()}}


def lost(seen: Marks, found: Marks) -> int:
    """Return how many writes that were seen are not found any more.

    >>> lost({1: 5, 2: 1}, {1: 4, 2: 9})
    1
    """
    return sum(max(0, count - found.get(slot, 0)) for slot, count in seen.items())


def format_marks(marks: Marks) -> str:
    """Return the marks as a text without a blank: "1:5,2:3", "-" for none."""
    return ",".join(f"{slot}:{count}" for slot, count in sorted(marks.items())) or "-"


def parse_marks(text: str) -> Marks:
    """Return the marks that a text says; of one that says none, none."""
    pairs = [pair.split(":") for pair in text.split(",")]
    if any(len(pair) != 2 or not (pair[0].isdecimal() and pair[1].isdecimal()) for pair in pairs):
        return {}
    return {int(slot): int(count) for slot, count in pairs}
