"""What a recurrence and a policy are in words, and that no text is too odd to be said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offbeat.core.explain import explain, policy_words, span_words
from offbeat.core.explain_cron import cron_words, field_values
from offbeat.core.explain_rrule import rrule_words
from offbeat.core.model import CatchUp, Entry, Overlap, Policy, TaskCall, Timing
from offbeat.core.recurrences.composite import Workday, any_text
from offbeat.core.recurrences.cron import parse_cron


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("30 4 * * 1", "At 04:30, only on Monday"),
        ("0 4,16 * * *", "At 04:00 and 16:00"),
        ("*/15 * * * *", "Every 15 minutes"),
        ("* * * * *", "Every minute"),
        ("0 * * * *", "Every hour"),
        ("5,35 * * * *", "At 5 and 35 minutes past the hour"),
        ("*/10 9-17 * * 1-5", "Every 10 minutes, between 09:00 and 17:59, Monday through Friday"),
        ("30 4 1,15 * *", "At 04:30, on day 1 and 15 of the month"),
        ("0 0 29 2 *", "At 00:00, on day 29 of the month, only in February"),
        ("0 0 * 6-8 *", "At 00:00, June through August"),
        ("0 0 * * 0,6", "At 00:00, only on Saturday and Sunday"),
    ],
)
def test_an_ordinary_expression_is_said_plainly(expression: str, words: str) -> None:
    assert cron_words(expression) == words


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("*/45 * * * *", "At :00 and :45 of every hour"),
        ("*/7 * * * *", "Every 7 minutes from :00 to :56 of every hour"),
        ("0 */5 * * *", "At 00:00, 05:00, 10:00, 15:00, and 20:00"),
        ("* */6 * * *", "Every minute of the hours 00, 06, 12, and 18"),
        ("*/10 4,5 * * *", "Every 10 minutes of the hours 04 and 05"),
        ("1-5,10-20 3 * * *", "At :01 to :05 and :10 to :20 of the hour 03"),
        ("0 0 */2 * *", "At 00:00, on every second day of the month from day 1 to 31"),
        ("0 0 1-7/2 * *", "At 00:00, on day 1, 3, 5, and 7 of the month"),
        ("0 0 * */2 *", "At 00:00, only in January, March, May, July, September, and November"),
        ("0 0 * * 1-5/2", "At 00:00, only on Monday, Wednesday, and Friday"),
    ],
)
def test_a_step_that_starts_again_is_not_said_to_be_every_so_many(expression: str, words: str) -> None:
    assert cron_words(expression) == words


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("0 0 13 * 5", "At 00:00, on day 13 of the month or on Friday, whichever comes"),
        ("0 0 */2 * 1", "At 00:00, on every second day of the month from day 1 to 31, but only where that is a Monday"),
        ("0 0 1-7 * +1", "At 00:00, between day 1 and 7 of the month, but only where that is a Monday"),
        ("0 0 ? * 5", "At 00:00, only on Friday"),
        ("0 0 1-31 * 5", "At 00:00"),  # either is enough, and one is every day
    ],
)
def test_how_both_day_fields_are_joined_is_said(expression: str, words: str) -> None:
    assert cron_words(expression) == words


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("0 0 L * *", "At 00:00, on the last day of the month"),
        ("0 0 L-3 * *", "At 00:00, 3 days before the last day of the month"),
        ("0 0 LW * *", "At 00:00, on the last weekday of the month"),
        ("0 0 15W * *", "At 00:00, on the weekday nearest day 15 of the month"),
        ("0 0 1,15W,L * *", "At 00:00, on day 1, the weekday nearest day 15, and the last day of the month"),
        ("0 0 L,LW * *", "At 00:00, on the last day and the last weekday of the month"),
        ("0 0 L-3W * *", "At 00:00, on the weekday nearest the day that is 3 before the last of the month"),
        ("0 0 * * 5#2", "At 00:00, only on the second Friday of the month"),
        ("0 0 * * 5#L", "At 00:00, only on the last Friday of the month"),
        ("0 0 * * 1,3#1,5L", "At 00:00, only on Monday, the first Wednesday of the month, and the last Friday of the month"),
    ],
)
def test_the_days_that_a_month_decides_are_said(expression: str, words: str) -> None:
    assert cron_words(expression) == words


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("*/10 * * * * *", "Every 10 seconds"),
        ("0 30 4 * * 1 2027", "At 04:30, only on Monday, only in 2027"),
        ("5,10 30 4 * * *", "At 04:30:05 and 04:30:10"),
        ("* 30 4 * * *", "Every second of 04:30"),
        ("*/20 */10 4,5 * * *", "Every 20 seconds of every 10 minutes of the hours 04 and 05"),
        ("*/7 * * * * *", "Every 7 seconds from :00 to :56 of every minute"),
        ("5,10 */7 * * * *", "At second 05 and 10 of every 7 minutes from :00 to :56 of every hour"),
        ("* * * * * * 2027-2029,2031", "Every second, only in 2027 to 2029 and 2031"),
    ],
)
def test_seconds_and_years_are_said(expression: str, words: str) -> None:
    assert cron_words(expression) == words


@pytest.mark.parametrize("text", ["a b c d e", "* * *", "", "1-x * * * *"])
def test_what_has_no_words_is_said_as_it_is_written(text: str) -> None:
    assert cron_words(text) == f'cron "{text}"'


@pytest.mark.parametrize(
    ("recurrence", "words"),
    [
        ("every 10 0", "Every 10 seconds, counted from 1970-01-01T00:00Z"),
        ("every 60 0", "Every minute, counted from 1970-01-01T00:00Z: on every full minute"),
        ("every 60 17", "Every minute, counted from 1970-01-01T00:00:17Z: at second 17 of every minute"),
        ("every 900 300", "Every 15 minutes, counted from 1970-01-01T00:05Z: at :05, :20, :35, and :50 of every hour"),
        (
            "every 300 0",
            "Every 5 minutes, counted from 1970-01-01T00:00Z: at 00:00, 00:05, 00:10 UTC and so on, the same times every day",
        ),
        (
            "every 90 0",
            "Every 1 minute and 30 seconds, counted from 1970-01-01T00:00Z: at 00:00:00, 00:01:30, 00:03:00 UTC and so on, "
            "the same times every day",
        ),
        ("every 1800 15", "Every 30 minutes, counted from 1970-01-01T00:00:15Z: at :00:15 and :30:15 of every hour"),
        ("every 86400 15", "Every day, counted from 1970-01-01T00:00:15Z: at 00:00:15 UTC"),
        ("every 420 0", "Every 7 minutes, counted from 1970-01-01T00:00Z"),
        ("every 43200 0", "Every 12 hours, counted from 1970-01-01T00:00Z: at 00:00 and 12:00 UTC every day"),
        ("every 86400 15000", "Every day, counted from 1970-01-01T04:10Z: at 04:10 UTC"),
        ("every 604800 0", "Every week, counted from 1970-01-01T00:00Z: at 00:00 UTC, Thu 1 Jan 1970 being the first"),
    ],
)
def test_an_interval_says_what_it_is_counted_from(recurrence: str, words: str) -> None:
    assert explain(recurrence, "Europe/Sofia") == words


def test_instants_are_said_in_their_zone() -> None:
    once = explain("at 1767225600", "Europe/Sofia")
    twice = explain("at 1767225600,1767229201", "Europe/Sofia")
    often = explain("at " + ",".join(str(1767225600 + n * 3600) for n in range(12)), "Europe/Sofia")

    assert once == "Once, at Thu 1 Jan 2026 02:00 in Europe/Sofia"
    assert twice == "2 times: Thu 1 Jan 2026 02:00 and Thu 1 Jan 2026 03:00:01, Europe/Sofia time"
    assert often.startswith("12 times: ")
    assert often.endswith("8 more, and at last Thu 1 Jan 2026 13:00, Europe/Sofia time")


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("FREQ=DAILY", "Every day, at 08:30"),
        ("FREQ=WEEKLY;BYHOUR=9,17", "Every week, on Monday, at 09:30 and 17:30"),
        ("FREQ=MONTHLY;BYDAY=-1FR,2TU", "Every month, on the last Friday and the second Tuesday, at 08:30"),
        ("FREQ=MONTHLY;BYMONTHDAY=-2", "Every month, on the second to last day of the month, at 08:30"),
        ("FREQ=MONTHLY;BYMONTHDAY=13;BYDAY=FR", "Every month, on Friday, but only where that is day 13 of the month, at 08:30"),
        ("FREQ=MONTHLY;BYDAY=MO,FR;BYSETPOS=-1", "Every month, on Monday and Friday, at 08:30, only the last of these"),
        ("FREQ=YEARLY", "Every year, on day 2 of the month, only in March, at 08:30"),
        ("FREQ=YEARLY;BYWEEKNO=20", "Every year, in week 20 of the year, at 08:30"),
        ("FREQ=MINUTELY;BYHOUR=9", "Every minute, in hour 9"),
        ("FREQ=HOURLY", "Every hour, at minute 30"),
    ],
)
def test_a_rule_of_rfc_5545_is_said(rule: str, words: str) -> None:
    said = rrule_words(f"DTSTART:20260302T083000 RRULE:{rule}", "Europe/Sofia")

    assert said == f"{words}, from Mon 2 Mar 2026 08:30, Europe/Sofia time"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("DTSTART:20260302T083000Z RRULE:FREQ=DAILY;COUNT=10", ", from Mon 2 Mar 2026 08:30, 10 times in all, UTC time"),
        ("DTSTART;TZID=Asia/Tokyo:20260302T083000 RRULE:FREQ=DAILY;INTERVAL=2", "Every 2 days from Mon 2 Mar 2026 08:30"),
        ("DTSTART:19700101T083000 RRULE:FREQ=DAILY;UNTIL=20270101T000000", "at 08:30, until Fri 1 Jan 2027 00:00"),
        ("DTSTART:19700101T000000 RRULE:FREQ=DAILY EXDATE;VALUE=DATE:20260301", "at 00:00, without Sun 1 Mar 2026"),
        ("DTSTART:19700101T000000 RDATE:20260301T080000,20260302T080000", "Sun 1 Mar 2026 08:00 and Mon 2 Mar 2026 08:00 once"),
        (
            "DTSTART:19700101T000000 RRULE:FREQ=DAILY RRULE:FREQ=WEEKLY",
            "Every day, at 00:00; or every week, on Thursday, at 00:00",
        ),
    ],
)
def test_where_a_rule_begins_and_ends_is_said(text: str, words: str) -> None:
    assert words in explain(f"rrule {text}", "Europe/Sofia")


@pytest.mark.parametrize(
    ("recurrence", "words"),
    [
        ("solar dawn_civil 42.7 23.0 -1800", "30 minutes before civil dawn at 42.7°N 23°E"),
        ("solar noon -42.7 -23.0 0", "At solar noon at 42.7°S 23°W"),
        ("solar sunset 42.7 23.0 60", "1 minute after sunset at 42.7°N 23°E"),
    ],
)
def test_the_sun_is_said_with_its_place(recurrence: str, words: str) -> None:
    assert explain(recurrence, "UTC").startswith(words)


def test_only_what_the_sun_may_not_do_is_said_to_be_missing_on_some_days() -> None:
    assert explain("solar noon -42.7 -23.0 0", "UTC") == "At solar noon at 42.7°S 23°W"
    assert explain("solar sunset 42.7 23.0 0", "UTC").endswith("; a day on which the sun does not get there has none")


def test_a_composite_says_its_members_what_it_leaves_out_and_where_it_moves() -> None:
    repeated = "5s UTC rrule DTSTART:19700101T000000 RRULE:FREQ=DAILY"
    excluded = ["2026-12-24/2026-12-26", "2027-01-01", "cron 0 0 13 * 5", "holidays:BG@0.1", "0/3600", repeated]
    text = any_text(["cron 30 3 * * *", "every 10 0"], excluded=excluded, workday=Workday.NEXT)

    words = explain(text, "UTC")

    assert words.startswith(
        "Any of: at 03:30, UTC time; or every 10 seconds, counted from 1970-01-01T00:00Z; except 2026-12-24 to"
    )
    assert words.endswith("on Saturdays and Sundays and what is excepted it moves to the next working day")
    assert "days that 0 0 13 * 5 is due on (at 00:00, on day 13 of the month or on Friday, whichever comes)" in words
    assert "the public holidays of BG" in words
    assert "from Thu 1 Jan 1970 00:00 to Thu 1 Jan 1970 01:00" in words


def test_a_composite_of_one_says_it_without_more_ado() -> None:
    many = any_text(["at 0"], excluded=[f"2026-{month:02}-24" for month in range(1, 13)])

    assert explain(any_text(["cron 0 9 * * *"], workday=Workday.SKIP, weekend=[5, 6]), "Europe/Sofia") == (
        "At 09:00, Europe/Sofia time; on Fridays and Saturdays it is left out"
    )
    assert explain(many, "UTC").endswith("2026-10-24, 2026-11-24, and 2026-12-24")


def test_members_that_go_by_the_local_clock_name_their_zone_apart_from_those_that_do_not() -> None:
    mixed = any_text(["cron 30 3 * * *", "every 2700 0"], excluded=["2026-12-24"])

    assert explain(mixed, "Europe/Sofia") == (
        "Any of: at 03:30, Europe/Sofia time; or every 45 minutes, counted from 1970-01-01T00:00Z: at 00:00, 00:45, 01:30 UTC "
        "and so on, the same times every day; except 2026-12-24; its days are those of Europe/Sofia"
    )
    assert explain(any_text(["cron 30 3 * * *", "cron 5 4 * * 1"]), "Europe/Sofia") == (
        "Any of: at 03:30; or at 04:05, only on Monday, Europe/Sofia time"
    )


def test_a_start_that_counts_anyway_is_not_said_to_come_once_more() -> None:
    rule = "rrule DTSTART:20260105T090000 RRULE:FREQ=WEEKLY RDATE:20260105T090000"

    assert explain(rule, "UTC") == (
        "Every week, on Monday, at 09:00, from Mon 5 Jan 2026 09:00, Mon 5 Jan 2026 09:00 included, UTC time"
    )


def test_an_event_of_a_calendar_names_the_zone_that_is_its_own() -> None:
    event = "3600s America/New_York rrule DTSTART:19700101T090000 RRULE:FREQ=DAILY"
    text = any_text(["cron 30 3 * * *"], excluded=[event])

    assert explain(text, "Europe/Sofia").endswith("1 hour from each of (every day, at 09:00, America/New_York time)")
    assert explain(text, "America/New_York").endswith("1 hour from each of (every day, at 09:00)")


def test_an_exclusion_without_words_is_said_as_it_is_written() -> None:
    assert explain('any {"except":["moon"],"of":["at 0"]}', "UTC").endswith("except moon")


def test_a_calendar_of_repeated_days_says_what_it_begins_with() -> None:
    text = any_text(["at 0"], excluded=["3d rrule DTSTART:19700101T000000 RRULE:FREQ=YEARLY"])

    assert "except 3 days from each of (every year, on day 1 of the month, only in January, at 00:00)" in explain(text, "UTC")


@pytest.mark.parametrize(
    "recurrence",
    [
        "any {}",
        "any [",
        "",
        "moon full",
        "every x",
        "at 99999999999999",
        "solar dawn",
        "rrule FREQ=DAILY",
        "rrule DTSTART:19700101T000000 RRULE:FREQ=DAILY;BYMOON=1",
        "at ",
    ],
)
def test_a_kind_without_words_is_said_as_it_is_written(recurrence: str) -> None:
    assert explain(recurrence, "UTC") == f"As {recurrence} says, UTC time"


@given(st.text(max_size=40), st.sampled_from(["", "cron ", "every ", "at ", "solar ", "rrule ", "any ", "rrule DTSTART:"]))
def test_no_text_is_too_odd_to_be_said(text: str, kind: str) -> None:
    assert explain(kind + text, "Europe/Sofia")


_ITEM = st.one_of(
    st.just("*"),
    st.integers(1, 9).map(lambda step: f"*/{step}"),
    st.integers(1, 12).map(str),
    st.tuples(st.integers(1, 6), st.integers(6, 12), st.integers(1, 5)).map(lambda each: f"{each[0]}-{each[1]}/{each[2]}"),
)


@given(st.lists(_ITEM, min_size=1, max_size=3).map(",".join))
def test_a_field_is_read_as_cron_reads_it(field: str) -> None:
    minutes = parse_cron(f"{field} * * * *").minutes

    assert field_values(field, 0, 59) == tuple(value for value in range(60) if minutes >> value & 1)


def test_spans_are_said_in_all_their_units() -> None:
    assert [span_words(seconds) for seconds in (0, 1, 90, 5400, 694861)] == [
        "0 seconds",
        "1 second",
        "1 minute and 30 seconds",
        "1 hour and 30 minutes",
        "1 week, 1 day, 1 hour, 1 minute, and 1 second",
    ]


def test_limits_and_policies_are_said() -> None:
    timing = Timing(recurrence="every 60 0", zone="UTC", starts_at=0, ends_at=86_400, enabled=False)
    policy = Policy(catch_up=CatchUp.ALL, grace=7200, jitter=300)

    remarks = list(policy_words(Entry(name="a", timing=timing, call=TaskCall(task="a"), policy=policy)))

    assert remarks[:3] == [
        "switched off (enabled = false): nothing is due",
        "not before Thu 1 Jan 1970 00:00 in UTC",
        "not after Fri 2 Jan 1970 00:00 in UTC",
    ]
    assert [
        word for word in ("5 minutes", "jitter", "2 hours", "grace", "catch_up = all") if word not in " ".join(remarks)
    ] == []


def test_jitter_in_percent_is_said_as_one() -> None:
    entry = Entry(name="a", timing=Timing(recurrence="every 60 0"), call=TaskCall(task="a"), policy=Policy(jitter_percent=10))

    assert next(policy_words(entry)).startswith("sent up to 10 % of the gap after it is due (jitter)")


def test_a_zone_that_is_gone_is_said_in_utc() -> None:
    assert explain("at 0", "No/Where") == "Once, at Thu 1 Jan 1970 00:00 in UTC"


def test_what_becomes_of_two_at_once_is_said_with_its_longest_time() -> None:
    policy = Policy(overlap=Overlap.WAIT, max_runtime=3600)
    entry = Entry(name="a", timing=Timing(recurrence="every 60 0"), call=TaskCall(task="a"), policy=policy)

    assert next(policy_words(entry)) == (
        "while the one before still runs it waits, and of several the newest (overlap = wait), for 1 hour at most (max_runtime)"
    )
