"""Commands: handed to a detached supervisor, which outlives the tick that started it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from offbeat.core.model import CommandCall, Key

ABREAST = 8  # commands of no directory that one supervisor runs at once
SUPERVISORS = 4  # of commands of no directory that are due together


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command of a slot, as it is handed to the supervisor. name: the entry's."""

    key: Key
    attempt: int
    name: str
    call: CommandCall


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The commands of one slot (a directory and a due time), run one after the other in this order; or those of no directory.

    slot: the directory's name: while another supervisor has it, the whole order is skipped (reason overlap). "" when they
    run side by side, at most ABREAST at once.
    """

    slot: str
    steps: tuple[Step, ...]


class Commands(Protocol):
    """Who runs commands."""

    def start(self, order: Order) -> str:
        """Hand the order to a new supervisor and return at once. Returns "" or, when none could be started, why."""


class CommandsMemory:
    """Remembers orders; for tests."""

    def __init__(self) -> None:
        self.orders: list[Order] = []
        self.error = ""

    def start(self, order: Order) -> str:
        if not self.error:
            self.orders.append(order)
        return self.error


def by_slot(steps: Sequence[Step]) -> list[Order]:
    """Return the orders for these steps: those of one directory and due time together, in byte order.

    Those of no directory share a few supervisors: a Python for each would take the machine's memory.
    """
    slots: dict[tuple[str, int], list[Step]] = {}
    others = [step for step in steps if not step.call.directory]
    many = min(SUPERVISORS, -(-len(others) // ABREAST))
    orders = [Order(slot="", steps=tuple(others[first::many])) for first in range(many)]
    for step in steps:
        if step.call.directory:
            slots.setdefault((step.call.directory, step.key.due_at), []).append(step)
    for (directory, _), together in sorted(slots.items(), key=lambda item: item[0][1]):
        together.sort(key=lambda step: step.call.argv[0].encode("utf-8", "surrogateescape"))
        orders.append(Order(slot=directory, steps=tuple(together)))
    return orders
