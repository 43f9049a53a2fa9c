"""The schedule as JSON text and back."""

from __future__ import annotations

import dataclasses
import json

from hypothesis import given
from hypothesis import strategies as st

from offbeat.core import serial
from offbeat.core.model import (
    AfterRestore,
    BrokerSettings,
    CatchUp,
    CommandCall,
    Entry,
    Json,
    LedgerSettings,
    Overlap,
    Policy,
    Schedule,
    TaskCall,
    Timing,
)

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
values: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | names,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=2),
    max_leaves=4,
)
tables = st.dictionaries(names, values, max_size=2)
instants = st.none() | st.integers(0, 2**40)
counts = st.none() | st.integers(1, 2**40)
timings = st.builds(Timing, recurrence=names, zone=names, starts_at=instants, ends_at=instants, enabled=st.booleans())
policies = st.builds(
    Policy,
    catch_up=st.sampled_from(CatchUp), grace=instants, jitter=st.integers(0, 10**6), overlap=st.sampled_from(Overlap),
    max_runtime=instants,
)  # fmt: skip
tasks = st.builds(
    TaskCall,
    task=names, args=st.lists(values, max_size=2).map(tuple), kwargs=tables, queue=names, exchange=names, routing_key=names,
    priority=st.none() | st.integers(0, 255), expires=instants, headers=tables, serializer=names,
)  # fmt: skip
commands = st.builds(
    CommandCall,
    argv=st.lists(names, min_size=1, max_size=3).map(tuple), cwd=names, directory=names, time_limit=st.integers(1, 9999),
)  # fmt: skip
settings = st.builds(BrokerSettings, broker_env=names, env_file=names, transport_options=tables, ssl=st.booleans() | tables)
kept = st.builds(
    LedgerSettings,
    keep_seconds=st.integers(1, 2**40), keep_rows=counts, keep_bytes=counts, after_restore=st.sampled_from(AfterRestore),
)  # fmt: skip
entries = st.builds(
    Entry,
    name=names, timing=timings, call=tasks | commands, policy=policies, description=names, file=names, line=st.integers(0, 99),
)  # fmt: skip
schedules = st.builds(
    Schedule,
    project=names, timezone=names, entries=st.lists(entries, max_size=2).map(tuple), task_prefix=names, default_queue=names,
    routes=st.lists(st.tuples(names, names), max_size=2).map(tuple), broker=settings, ledger=kept, digest=names,
)  # fmt: skip


@given(schedules)
def test_a_schedule_comes_back_as_it_was(schedule: Schedule) -> None:
    assert serial.schedule_from_json(serial.schedule_to_json(schedule)) == schedule


@given(entries)
def test_an_entry_and_its_parts_come_back_as_they_were(entry: Entry) -> None:
    assert serial.entry_from_json(serial.entry_to_json(entry)) == entry
    assert serial.timing_from_json(serial.timing_to_json(entry.timing)) == entry.timing
    assert serial.policy_from_json(serial.policy_to_json(entry.policy)) == entry.policy
    assert serial.call_from_json(serial.call_to_json(entry.call)) == entry.call


@given(schedules)
def test_the_settings_of_broker_and_ledger_come_back_as_they_were(given_schedule: Schedule) -> None:
    assert serial.settings_from_json(serial.settings_to_json(given_schedule)) == given_schedule.broker
    assert serial.ledger_settings_from_json(serial.settings_to_json(given_schedule)) == given_schedule.ledger


def test_equal_things_give_equal_compact_text() -> None:
    one = TaskCall(task="t", kwargs={"b": 1, "a": 2})
    other = TaskCall(task="t", kwargs={"a": 2, "b": 1})

    assert serial.call_to_json(one) == serial.call_to_json(other)
    assert serial.policy_to_json(Policy()) == (
        '{"catch_up":"latest","grace":null,"jitter":0,"jitter_percent":0,"max_runtime":null,"overlap":"allow"}'
    )
    assert serial.policy_from_json('{"catch_up":"latest","grace":null,"jitter":5}') == Policy(jitter=5)


def test_text_of_another_version_is_read() -> None:
    assert serial.policy_from_json("{}") == Policy()
    assert serial.timing_from_json('{"recurrence":"every 60 0","calendar":"x"}') == Timing(recurrence="every 60 0")
    assert serial.call_from_json('{"type":"command","argv":["a"]}') == CommandCall(argv=("a",))
    assert serial.settings_from_json("{}") == BrokerSettings()
    assert serial.ledger_settings_from_json('{"broker_env":""}') == LedgerSettings()


def test_the_canonical_text_does_not_tell_where_an_entry_is_written() -> None:
    entry = Entry(name="e", timing=Timing(recurrence="every 60 0"), call=TaskCall(task="t"), file="cron/schedule.toml", line=7)
    schedule = Schedule(project="p", timezone="UTC", entries=(entry,), digest="d")
    moved = dataclasses.replace(schedule, entries=(dataclasses.replace(entry, line=9),), digest="e")

    assert serial.canonical_text(schedule) == serial.canonical_text(moved)
    assert "schedule.toml" not in serial.canonical_text(schedule)
    assert json.loads(serial.canonical_text(schedule))["entries"][0]["name"] == "e"
