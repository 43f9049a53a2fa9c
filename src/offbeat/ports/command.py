"""Commands: handed to a detached supervisor, which outlives the tick that started it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from offbeat.core.model import CommandCall, Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command of a slot, as it is handed to the supervisor. name: the entry's."""

    key: Key
    attempt: int
    name: str
    call: CommandCall


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The commands of one slot (a directory and a due time), or one entry's: run one after the other, in this order.

    slot: "" when any number may run side by side, else the directory's name: while another supervisor has it, the whole
    order is skipped (reason overlap).
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
    """Return the orders for these steps: those of one directory and due time together, in byte order; others alone."""
    slots: dict[tuple[str, int], list[Step]] = {}
    orders: list[Order] = []
    for step in steps:
        if step.call.directory:
            slots.setdefault((step.call.directory, step.key.due_at), []).append(step)
        else:
            orders.append(Order(slot="", steps=(step,)))
    for (directory, _), together in sorted(slots.items(), key=lambda item: item[0][1]):
        together.sort(key=lambda step: step.call.argv[0].encode("utf-8", "surrogateescape"))
        orders.append(Order(slot=directory, steps=tuple(together)))
    return orders
