"""What the checker keeps of each occurrence that was handed out, and what goes back with a ledger that is restored."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.simulation.book import Book

from offbeat.core.marks import Marks
from offbeat.core.model import Key, State
from offbeat.ports.ledger_values import Claim


@dataclass(slots=True, kw_only=True)
class Row:
    """An occurrence as its claims and settles tell it."""

    claim: Claim
    claimed_at: float
    state: State = State.CLAIMED
    next_try_at: float = 0.0
    confirmed: set[int] = field(default_factory=set)  # attempts that the broker took, and said so
    ended: bool = False
    is_undone: bool = False  # a rewind may have removed it
    busy_until: float = 0.0  # it has its entry's slot until then, whatever max_runtime becomes


@dataclass(slots=True, kw_only=True)
class Memory:
    """What goes back with a ledger that is restored."""

    book: Book = field(default_factory=Book)
    rows: dict[Key, Row] = field(default_factory=dict)
    cursors: dict[int, int] = field(default_factory=dict)
    marks: Marks = field(default_factory=dict)
