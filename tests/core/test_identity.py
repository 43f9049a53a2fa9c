"""What is the same on every host: occurrence ids and the spread of jitter."""

from __future__ import annotations

import sys
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offbeat.core.identity import NAMESPACE, fingerprint, format_due_at, occurrence_id, spread

DUE = 1_772_332_200  # 2026-03-01T02:30:00Z
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
dues = st.integers(-(10**9), 10**11)


def test_the_id_of_an_occurrence_never_changes() -> None:
    assert occurrence_id("difio", "weekly_report", DUE) == "a09308c9-8c52-57b1-806f-353dfafba3c6"


def test_the_namespace_is_the_one_of_our_address() -> None:
    assert uuid.UUID(bytes=NAMESPACE) == uuid.uuid5(uuid.NAMESPACE_URL, "https://offbeat.readthedocs.io/occurrence")


@given(names, names, dues)
def test_the_id_is_the_uuid_that_the_standard_library_makes(project: str, entry: str, due_at: int) -> None:
    parts = (project, entry, format_due_at(due_at))

    expected = uuid.uuid5(uuid.UUID(bytes=NAMESPACE), "".join(f"{len(part.encode())}:{part}" for part in parts))

    assert occurrence_id(project, entry, due_at) == str(expected)


def test_a_length_before_each_part_keeps_its_neighbours_apart() -> None:
    assert occurrence_id("ab", "c", DUE) != occurrence_id("a", "bc", DUE)


def test_a_manual_send_never_has_the_id_of_a_scheduled_one() -> None:
    scheduled = occurrence_id("p", "e", DUE)

    assert scheduled == occurrence_id("p", "e", DUE, "schedule", "ignored")
    assert len({scheduled, occurrence_id("p", "e", DUE, "manual", "1"), occurrence_id("p", "e", DUE, "manual", "2")}) == 3
    assert occurrence_id("p", "e", DUE, "manual", "1") != occurrence_id("p", "e", DUE, "backfill", "1")


@given(dues)
def test_due_times_are_written_as_datetime_writes_them(due_at: int) -> None:
    expected = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=due_at)

    assert format_due_at(due_at) == expected.isoformat().replace("+00:00", "Z")


def test_the_spread_of_an_occurrence_never_changes() -> None:
    assert spread("search_dates", DUE, 300) == 194


@given(names, dues, st.integers(-5, 10**6))
def test_the_spread_stays_within_its_width(name: str, due_at: int, width: int) -> None:
    assert 0 <= spread(name, due_at, width) <= max(width, 0)


def test_the_spread_reaches_both_ends_and_most_of_what_is_between() -> None:
    seen = {spread("entry", due_at, 9) for due_at in range(0, 6000, 60)}

    assert seen == set(range(10))


def test_a_fingerprint_tells_bytes_apart() -> None:
    assert fingerprint(b"a") == fingerprint(b"a") != fingerprint(b"b")
    assert len(fingerprint(b"")) == 24


def test_an_interpreter_without_its_own_hashes_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = occurrence_id("difio", "weekly_report", DUE), fingerprint(b"a")

    for module in ("_sha1", "_blake2"):
        monkeypatch.setitem(sys.modules, module, None)

    assert (occurrence_id("difio", "weekly_report", DUE), fingerprint(b"a")) == quick
