"""How instants, spans and names are written for people."""

from __future__ import annotations

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offbeat.faces import words

NOON = 1_772_366_400  # 2026-03-01T12:00:00Z


def test_the_examples_in_the_docstrings_are_true() -> None:
    assert doctest.testmod(words).failed == 0


@given(st.integers(min_value=0, max_value=4_102_444_800))
def test_an_instant_that_is_written_is_read_back(instant: int) -> None:
    assert words.parse_instant(words.format_utc(instant), now=0) == instant


@given(st.integers(min_value=1, max_value=10_000_000))
def test_a_compact_span_is_read_back(seconds: int) -> None:
    assert words.parse_span(words.compact(seconds)) == seconds


@pytest.mark.parametrize("text", ["", "soon", "5", "h", "5 minutes", "-2h", "1h x"])
def test_what_is_no_span_is_told_apart(text: str) -> None:
    assert words.parse_span(text) is None


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("now", NOON),
        ("@1700000000", 1_700_000_000),
        ("2026-03-01T12:00:00Z", NOON),
        ("2026-03-01T14:00:00+02:00", NOON),
        ("2026-03-01T14:00", NOON),
        ("2026-03-01 14:00", NOON),
        ("2026-03-01", NOON - 14 * 3600),
        ("yesterday", None),
        ("99999-01-01", None),
    ],
)
def test_an_instant_without_an_offset_is_read_in_the_zone(text: str, instant: int | None) -> None:
    assert words.parse_instant(text, NOON, "Europe/Sofia") == instant


@pytest.mark.parametrize(
    ("text", "ahead", "back"),
    [
        ("2h", NOON + 7200, NOON - 7200),
        ("15:30", NOON + 5400, NOON + 5400 - 86_400),
        ("9:00", NOON + 86_400 - 5 * 3600, NOON - 5 * 3600),
        ("14:00", NOON + 86_400, NOON),
        ("14:00:01", NOON + 1, NOON + 1 - 86_400),
        ("2026-03-01T12:00:00Z", NOON, NOON),
        ("24:00", None, None),
        ("soon", None, None),
    ],
)
def test_a_span_or_a_time_of_day_counts_from_now_ahead_or_back(text: str, ahead: int | None, back: int | None) -> None:
    assert words.parse_when(text, NOON, "Europe/Sofia") == ahead
    assert words.parse_when(text, NOON, "Europe/Sofia", past=True) == back


def test_a_local_time_shows_the_offset_of_its_day() -> None:
    winter, summer = 1_774_744_200, 1_774_747_800  # an hour apart, over the change of 2026-03-29 in Sofia

    assert words.format_local(winter, "Europe/Sofia") == "2026-03-29T02:30:00+02:00"
    assert words.format_local(summer, "Europe/Sofia") == "2026-03-29T04:30:00+03:00"


def test_a_zone_that_this_machine_does_not_know_is_shown_as_utc() -> None:
    assert words.format_local(NOON, "Mars/Olympus") == "2026-03-01T12:00:00+00:00"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "now"), (59, "in 59 s"), (10_800, "in 3 h"), (90_000, "in 1 d 1 h"), (86_400 + 59, "in 1 d"), (-300, "5 min ago")],
)
def test_how_far_away_an_instant_is(seconds: int, text: str) -> None:
    assert words.format_relative(NOON + seconds, NOON) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis://:hunter2@host:6379/0", "redis://:***@host:6379/0"),
        ("amqp://me:p@ss/word@host//", "amqp://me:***@host//"),
        ("cannot reach amqp://me:secret@host: refused", "cannot reach amqp://me:***@host: refused"),
        ("postgresql://host/db?password=hunter2&x=1", "postgresql://host/db?password=***&x=1"),
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("sqlite:////var/lib/x.db", "sqlite:////var/lib/x.db"),
    ],
)
def test_a_password_in_an_address_is_never_shown(text: str, shown: str) -> None:
    assert words.conceal(text) == shown


@given(st.text())
def test_no_name_can_steer_a_terminal(text: str) -> None:
    shown = words.printable(text)

    assert shown.isprintable()
    shown.encode()


def test_a_name_that_is_not_utf8_can_be_shown() -> None:
    assert words.printable(b"caf\xe9".decode("utf-8", "surrogateescape")) == "caf\\udce9"


def test_a_table_is_aligned_and_has_no_space_at_the_ends_of_its_lines() -> None:
    lines = words.align(("A", "B"), [("1", ""), ("a\nb", "2")])

    assert lines == ["A     B", "1", "a\\nb  2"]


def test_a_near_name_is_offered_and_a_far_one_is_not() -> None:
    assert words.did_you_mean("serch_dates", ["search_dates", "x"]) == '; did you mean "search_dates"?'
    assert words.did_you_mean("qqq", ["search_dates"]) == ""


def test_a_recurrence_of_somebody_elses_is_shown_by_its_name() -> None:
    assert words.recurrence_words('own tides {"port":"Varna"}', "UTC") == 'own tides {"port":"Varna"}'
    assert len(words.recurrence_words(f'own tides {{"port":"{"x" * 500}"}}', "UTC")) == words.WIDEST


def test_a_composite_that_takes_many_words_is_cut() -> None:
    said = words.recurrence_words('any {"of":[' + ",".join(['"cron 30 4 * * 1"'] * 50) + "]}", "Europe/Sofia")

    assert said.startswith("Any of: at 04:30, only on Monday; or ")
    assert said.endswith("...")
    assert len(said) == words.WIDEST


@pytest.mark.parametrize(
    "text",
    [
        "@99999999999999999999",
        "@253402300800",
        "0001-01-01T00:00+14:00",
        "9999-12-31T23:59-12:00",
        "9" * 5000 + "d",
        "99999999d",
    ],
)
def test_an_instant_that_no_calendar_holds_is_none(text: str) -> None:
    assert words.parse_when(text, 0.0) is None
    assert words.parse_instant(text, 0.0) is None
