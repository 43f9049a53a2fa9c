"""How far a ledger has come, told apart by who wrote."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offbeat.core.marks import SLOTS, format_marks, lost, merged, parse_marks, slot_of

MARKS = st.dictionaries(st.integers(0, SLOTS - 1), st.integers(1, 10**12), max_size=8)


@given(MARKS)
def test_marks_survive_being_written_and_read(marks: dict[int, int]) -> None:
    assert parse_marks(format_marks(marks)) == marks


@pytest.mark.parametrize("text", ["", "-", "12", "1:2,3", "a:b", "1:2:3", "1:-2", "1:2 "])
def test_a_text_that_says_no_marks_is_none(text: str) -> None:
    assert parse_marks(text) == {}


@given(MARKS, MARKS)
def test_what_is_merged_has_lost_nothing_of_either(one: dict[int, int], other: dict[int, int]) -> None:
    both = merged(one, other)

    assert lost(one, both) == lost(other, both) == 0
    assert both.items() <= {*one.items(), *other.items()}


@given(MARKS, st.text())
def test_who_writes_on_elsewhere_hides_no_loss(marks: dict[int, int], who: str) -> None:
    slot = slot_of(who)
    seen = {**marks, slot: marks.get(slot, 0) + 1}
    others = {other: count + 1000 for other, count in marks.items() if other != slot}

    assert 0 <= slot < SLOTS
    assert lost(seen, {**marks, **others}) == 1
