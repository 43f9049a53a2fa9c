"""Which commands run under one supervisor, and what the in-memory twin remembers."""

from __future__ import annotations

import pytest

from offbeat.core.model import CommandCall, Key
from offbeat.ports.command import CommandsMemory, Order, Step, by_slot


def step(path: str, due_at: int = 60, directory: str = "hourly", eno: int = 1) -> Step:
    return Step(key=Key(eno=eno, due_at=due_at), attempt=1, name=path, call=CommandCall(argv=(path,), directory=directory))


def test_the_commands_of_one_directory_and_due_time_share_a_supervisor_in_byte_order() -> None:
    names = ["hourly/b", "hourly/a b", "hourly/B", "hourly/10-x", "hourly/ä"]

    orders = by_slot([step(name) for name in names])

    assert [order.slot for order in orders] == ["hourly"]
    assert [s.name for s in orders[0].steps] == ["hourly/10-x", "hourly/B", "hourly/a b", "hourly/b", "hourly/ä"]


def test_two_due_times_of_a_directory_are_two_orders_the_older_first() -> None:
    orders = by_slot([step("hourly/a", due_at=120), step("hourly/a", due_at=60)])

    assert [(order.slot, order.steps[0].key.due_at) for order in orders] == [("hourly", 60), ("hourly", 120)]


def test_commands_of_no_directory_have_no_slot() -> None:
    orders = by_slot([step("x", directory=""), step("y", directory="")])

    assert [(order.slot, [s.name for s in order.steps]) for order in orders] == [("", ["x", "y"])]


@pytest.mark.parametrize(("count", "sizes"), [(1, [1]), (8, [8]), (9, [5, 4]), (32, [8] * 4), (500, [125] * 4)])
def test_commands_of_no_directory_share_few_supervisors(count: int, sizes: list[int]) -> None:
    orders = by_slot([step(f"n{number}", directory="") for number in range(count)])

    assert [len(order.steps) for order in orders] == sizes
    assert {s.name for order in orders for s in order.steps} == {f"n{number}" for number in range(count)}


def test_a_name_that_is_not_utf_8_sorts_by_its_bytes() -> None:
    orders = by_slot([step("hourly/\udcff"), step("hourly/z")])

    assert [s.name for s in orders[0].steps] == ["hourly/z", "hourly/\udcff"]


def test_the_twin_remembers_orders_unless_it_is_told_to_fail() -> None:
    twin = CommandsMemory()
    order = Order(slot="", steps=(step("x"),))

    assert twin.start(order) == ""
    twin.error = "no more processes"
    assert twin.start(order) == "no more processes"
    assert twin.orders == [order]
