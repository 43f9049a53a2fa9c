"""The load of a day, held against counting one by one; and the herds in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offbeat.core.herds import Herd, find_herds, herd_minutes
from offbeat.core.load import Load, by_queue, measure_load
from offbeat.core.model import CommandCall, Entry, Policy, TaskCall, Timing
from offbeat.core.recurrences.recurrence import compile_recurrence
from offbeat.core.recurrences.zones import find_zone

DAY = 86_400
NOON = 1_772_366_400  # 2026-03-01T12:00:00Z
SPRING = 1_774_742_400  # 2026-03-29T00:00:00Z: the clocks of Sofia go forward at 01:00Z


def entry(name: str, recurrence: str, *, queue: str = "celery", zone: str = "UTC", jitter: int = 0) -> Entry:
    timing = Timing(recurrence=recurrence, zone=zone)
    return Entry(name=name, timing=timing, call=TaskCall(task=name, queue=queue), policy=Policy(jitter=jitter))


def several(count: int, recurrence: str, *, prefix: str = "e", queue: str = "celery", jitter: int = 0) -> list[Entry]:
    return [entry(f"{prefix}{n}", recurrence, queue=queue, jitter=jitter) for n in range(count)]


def measured(entries: Sequence[Entry], *, begin: int = NOON, days: int = 7, zone: str = "UTC") -> Load:
    return measure_load(entries, after=begin - 1, until=begin - 1 + days * DAY, zone=zone)


RECURRENCES = st.one_of(
    st.tuples(st.sampled_from(["0", "*/7", "5,35", "*"]), st.sampled_from(["*", "3", "*/5"])).map(
        lambda c: f"cron {c[0]} {c[1]} * * *"
    ),
    st.tuples(st.integers(7, 5000), st.integers(0, 6)).map(lambda each: f"every {each[0]} {each[1]}"),
    st.just("cron 0 3 * * 1"),
    st.just(f"at {NOON + 90},{SPRING + 90}"),
)
ZONES = st.sampled_from(["UTC", "Europe/Sofia", "Asia/Kathmandu"])


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(RECURRENCES, st.sampled_from(["a", "b"]), ZONES), min_size=1, max_size=5),
    st.sampled_from([NOON, SPRING]),
    ZONES,
)
def test_the_load_is_what_counting_one_by_one_gives(given_ones: list[tuple[str, str, str]], begin: int, zone: str) -> None:
    entries = [entry(f"e{n}", text, queue=queue, zone=own) for n, (text, queue, own) in enumerate(given_ones)]
    at_once: Counter[tuple[str, int]] = Counter()
    names: dict[tuple[int, str], set[str]] = {}
    place = find_zone(zone)
    for each, (text, queue, own) in zip(entries, given_ones, strict=True):
        for due in compile_recurrence(text, own).due_times(begin - 1, begin - 1 + 2 * DAY):
            at_once[queue, due // 60] += 1
            names.setdefault(((due + place.offset_at(due)) // 60 % 1440, queue), set()).add(each.name)

    load = measured(entries, begin=begin, days=2, zone=zone)

    expected: dict[tuple[int, str], tuple[int, int]] = {}
    for (queue, slot), count in at_once.items():
        key = ((slot * 60 + place.offset_at(slot * 60)) // 60 % 1440, queue)
        total, most = expected.get(key, (0, 0))
        expected[key] = total + count, max(most, count)
    assert {(row.minute, row.queue): (round(row.due * 2), round(row.most)) for row in load.rows} == expected
    assert {(row.minute, row.queue): row.entries for row in load.rows} == {key: len(each) for key, each in names.items()}


def test_entries_that_are_alike_are_counted_once_and_multiplied() -> None:
    load = measured(several(5000, "cron * * * * *"))

    assert {(row.due, row.most, row.entries) for row in load.rows} == {(5000.0, 5000.0, 5000)}
    assert len(load.members) == 1


def test_a_weekly_entry_is_a_seventh_a_day_and_one_at_most() -> None:
    (row,) = measured([entry("a", "cron 30 4 * * 1")]).rows

    assert (row.minute, round(row.due, 6), row.most, row.entries) == (270, round(1 / 7, 6), 1.0, 1)


def test_an_hour_that_comes_twice_adds_to_the_mean_and_not_to_the_most() -> None:
    autumn = 1_792_886_400  # 2026-10-25T00:00:00Z
    load = measured([entry("a", "cron 30 * * * *", zone="Europe/Sofia")], begin=autumn, days=1, zone="Europe/Sofia")

    assert [(row.due, row.most) for row in load.rows if row.minute == 210] == [(2.0, 1.0)]


def test_jitter_spreads_an_entry_evenly_over_its_width() -> None:
    load = measured([entry("a", "cron 0 12 * * *", jitter=599)])

    assert [(row.minute, round(row.due, 6)) for row in load.rows] == [(720 + n, 0.1) for n in range(10)]
    assert load.jittered == 1


def test_jitter_within_a_minute_stays_in_it() -> None:
    assert [(row.minute, round(row.due, 6)) for row in measured([entry("a", "cron 0 12 * * *", jitter=30)]).rows] == [
        (720, 1.0)
    ]


def test_jitter_ends_before_the_next_due_time() -> None:
    load = measured([entry("a", "every 120 0", jitter=3600)])

    assert {round(row.due, 6) for row in load.rows} == {0.5}
    assert len(load.rows) == 1440


def test_the_last_due_time_of_all_is_jittered_without_a_next_one() -> None:
    load = measured([entry("a", f"at {NOON + 60}", jitter=119)])

    assert [(row.minute, round(row.due * 7, 6)) for row in load.rows] == [(721, 0.5), (722, 0.5)]


def test_an_interval_below_a_minute_is_worked_out_minute_by_minute() -> None:
    limits = Timing(recurrence="every 50 0", starts_at=NOON + 10, ends_at=NOON + 190)
    found = measured([Entry(name="a", timing=limits, call=TaskCall(task="a"))])

    due = [at for at in range(NOON + 10, NOON + 191) if at % 50 == 0]
    assert {row.minute: round(row.due * 7) for row in found.rows} == Counter(720 + (at - NOON) // 60 for at in due)
    assert len(measured([entry("a", f"every 59 {NOON % 59}")], days=1).rows) == 1440


def test_jitter_in_percent_is_of_the_gap() -> None:
    half = Entry(name="a", timing=Timing(recurrence="every 1200 0"), call=TaskCall(task="a"), policy=Policy(jitter_percent=50))

    rows = measured([half]).rows

    assert {row.minute % 20 for row in rows} == set(range(11))  # the tenth minute's first second is the last that it may be
    assert round(sum(row.due for row in rows), 6) == 72
    assert find_herds(measured([half] * 9)) == ()


def test_what_was_due_before_the_span_and_is_sent_in_it_counts() -> None:
    load = measured([entry("a", "cron 59 11 * * *", jitter=119)], days=1)

    assert [(row.minute, round(row.due, 6)) for row in load.rows] == [(719, 0.5), (720, 0.5)]


def test_what_is_before_the_start_or_after_the_end_of_an_entry_does_not_count() -> None:
    timing = Timing(recurrence="cron 0 * * * *", starts_at=NOON + 3600, ends_at=NOON + 3 * 3600)
    limited = Entry(name="a", timing=timing, call=TaskCall(task="a"))

    assert [row.minute for row in measured([limited]).rows] == [780, 840, 900]


def test_a_jittered_entry_counts_from_its_start() -> None:
    timing = Timing(recurrence="cron 0 * * * *", starts_at=NOON + 3600, ends_at=NOON + 3600)
    limited = Entry(name="a", timing=timing, call=TaskCall(task="a"), policy=Policy(jitter=119))

    assert [(row.minute, round(row.due * 7, 6)) for row in measured([limited]).rows] == [(780, 0.5), (781, 0.5)]


def test_disabled_entries_are_left_out_and_commands_have_no_queue() -> None:
    off = Entry(name="off", timing=Timing(recurrence="every 60 0", enabled=False), call=TaskCall(task="a"))
    command = Entry(name="c", timing=Timing(recurrence="cron 0 0 * * *"), call=CommandCall(argv=("true",)))

    load = measured([off, command, entry("a", "cron 0 * * * *")])

    assert by_queue(load.rows) == {"celery": 24.0, None: 1.0}
    assert list(by_queue(load.rows)) == ["celery", None]


def herds(entries: Sequence[Entry]) -> tuple[Herd, ...]:
    return find_herds(measured(entries))


def test_a_herd_of_every_hour_is_named_once() -> None:
    (herd,) = herds([*several(17, "cron 0 * * * *"), *several(3, "cron 7 * * * *", prefix="f")])

    assert (len(herd.names), herd.when, herd.most, herd.spread) == (17, ":00 of every hour", 17, 5)
    assert herd_minutes([herd]) == {hour * 60 for hour in range(24)}


def test_what_comes_on_top_at_one_hour_is_a_herd_of_its_own() -> None:
    load = [*several(6, "cron 0 * * * *"), *several(7, "cron 0 4 * * *", prefix="d", queue="reports")]

    assert [(len(herd.names), herd.when, herd.queues) for herd in herds(load)] == [
        (7, "04:00", ("reports",)),
        (6, ":00 of every hour", ("celery",)),
    ]


def test_the_same_entries_at_several_minutes_are_one_herd() -> None:
    (herd,) = herds(several(40, "cron */5 * * * *"))

    assert herd.when == ":00, :05, :10, :15, and 8 minutes more of every hour"
    assert herd.spread == 5  # no more than the gap between them


@pytest.mark.parametrize(
    "entries",
    [
        several(4, "cron 0 4 * * *"),
        several(17, "cron 0 4 * * *", jitter=600),
        several(17, "every 60 0"),
        [*several(7, "cron 0 4 * * *"), *(entry(f"m{n}", f"every 180 {n % 3 * 60}") for n in range(6))],
        [entry(f"e{day}", f"cron 0 4 * * {day}") for day in range(7)],
    ],
    ids=["too few", "spread already", "every minute", "not four times the median", "on other days"],
)
def test_what_is_no_herd_is_not_called_one(entries: list[Entry]) -> None:
    assert herds(entries) == ()


@pytest.mark.parametrize("ground", ["every 10 0", "every 60 0", "every 120 0", "cron * * * * *"])
def test_entries_that_are_due_all_the_time_hide_no_herd(ground: str) -> None:
    found = herds([*several(17, "cron 0 4 * * *"), *several(9, ground, prefix="g")])

    assert [(herd.when, len(herd.names), herd.most) for herd in found] == [("04:00", 17, 17)]


def test_how_often_an_entry_is_due_in_a_minute_makes_no_herd_and_hides_none() -> None:
    often = entry("often", "cron */5 0-39 4 * * *")
    days = [entry(f"e{day}", f"cron 0 4 * * {day}") for day in range(7)]

    assert herds([often, *days, entry("all", "every 10 0")]) == ()
    assert [herd.most for herd in herds([often, *several(6, "cron 50 4 * * *", prefix="d")])] == [6]


def test_what_comes_on_other_days_on_top_of_every_hour_is_no_herd() -> None:
    days = [entry(f"d{day}", f"cron 0 4 * * {day}") for day in range(7)]

    assert [herd.when for herd in herds([*several(9, "cron 0 * * * *"), *days])] == [":00 of every hour"]
    some = [*several(6, "cron 0 4 * * 1", prefix="m"), *several(2, "cron 0 4 * * 2", prefix="t")]
    assert [(len(each.names), each.most) for each in herds([*several(9, "cron 0 * * * *"), *some])] == [(9, 9), (8, 6)]


def test_the_commands_of_a_directory_are_no_herd_since_they_wait_for_each_other() -> None:
    timing = Timing(recurrence="cron 2 4 * * *")
    entries = [Entry(name=f"c{n}", timing=timing, call=CommandCall(argv=("a",), directory="daily")) for n in range(9)]

    assert herds(entries) == ()


def test_a_herd_of_several_days_says_how_many_come_at_once() -> None:
    (herd,) = herds([*several(6, "cron 0 4 * * 1"), *several(2, "cron 0 4 * * 2", prefix="t")])

    assert (len(herd.names), herd.most) == (8, 6)
