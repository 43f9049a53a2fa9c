"""What holds for every kind of recurrence, and for composites of them, in zones where the clock jumps."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from offbeat.core.recurrences.composite import Workday, any_text
from offbeat.core.recurrences.localdays import local_days
from offbeat.core.recurrences.recurrence import at_text, compile_recurrence, cron_text, every_text
from offbeat.core.recurrences.rruletext import rrule_text
from offbeat.core.recurrences.solar import EVENTS, solar_text

ZONES = (
    *("UTC", "Europe/Sofia", "America/New_York", "Australia/Lord_Howe", "America/Havana", "Asia/Beirut", "Pacific/Apia"),
    *("Europe/Dublin", "Africa/Casablanca", "America/St_Johns", "Pacific/Chatham"),
)
YEARS = st.integers(2005, 2040)
DAY = 86_400

CRONS = st.sampled_from(["30 2 * * *", "*/20 * * * *", "0 0 * * *", "15 1,23 * * 1-5", "5 * 1,15 * *", "0 12 29 2 *"])
RRULES = st.sampled_from(
    [
        "FREQ=DAILY;BYHOUR=2;BYMINUTE=30",
        "FREQ=HOURLY;INTERVAL=5",
        "FREQ=MINUTELY;INTERVAL=17;BYHOUR=0,1,2,23",
        "FREQ=MONTHLY;BYDAY=2TU,-1FR;BYHOUR=1",
        "FREQ=WEEKLY;INTERVAL=2;BYDAY=SU,MO",
        "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1",
        "DTSTART:20100101T013000 RRULE:FREQ=DAILY;COUNT=3000 EXDATE;VALUE=DATE:20110327,20120401 RDATE:20110327T023000",
    ]
)


@st.composite
def plain(draw: st.DrawFn, zone: str) -> str:
    """Draw a resolved text that is no composite."""
    kind = draw(st.sampled_from(["cron", "every", "at", "solar", "rrule"]))
    if kind == "cron":
        return cron_text(draw(CRONS), zone=zone)
    if kind == "every":
        return every_text(draw(st.integers(600, 400_000)), draw(st.integers(0, 400_000)))
    if kind == "at":
        return at_text(draw(st.lists(st.integers(1_104_537_600, 2_208_988_800), min_size=1, max_size=6)))
    if kind == "solar":
        place = draw(st.sampled_from([(42.7, 23.3), (78.2, 15.6), (-36.8, 174.8), (0.0, -180.0), (66.6, 25.7)]))
        return solar_text(draw(st.sampled_from(EVENTS)), *place, draw(st.integers(-7200, 7200)))
    return rrule_text(draw(RRULES), zone)


@st.composite
def composites(draw: st.DrawFn, zone: str) -> str:
    """Draw a resolved text of any kind."""
    members = draw(st.lists(plain(zone), min_size=1, max_size=3))
    begin = date(draw(YEARS), draw(st.integers(1, 12)), draw(st.integers(1, 28)))
    end = begin + timedelta(days=draw(st.integers(0, 60)))
    excluded = draw(
        st.lists(
            st.sampled_from(
                [
                    *(f"{begin}", f"{begin}/{end}", "cron * * * * 0,6", "holidays:BG@1", "3d rrule DTSTART:20060102T000000 "),
                    "7200s Europe/Sofia rrule DTSTART:20060102T030000 RRULE:FREQ=DAILY;INTERVAL=3",
                ]
            ),
            max_size=3,
        )
    )
    excluded = [f"{each}RRULE:FREQ=MONTHLY" if each.endswith(" ") else each for each in excluded]
    workday = draw(st.sampled_from([None, *Workday]))
    return any_text(members, excluded=excluded, workday=workday, weekend=draw(st.sampled_from([(0, 6), (5, 6), ()])))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), st.sampled_from(ZONES), YEARS, st.sampled_from([1, 3, 4, 10, 11, 12]), st.integers(0, 40 * DAY))
def test_the_three_questions_agree_and_cutting_changes_nothing(
    drawn: st.DataObject, zone: str, year: int, month: int, length: int
) -> None:
    text = drawn.draw(composites(zone), label="text")
    rule = compile_recurrence(text, zone)
    after = int(datetime(year, month, 20, tzinfo=UTC).timestamp()) + drawn.draw(st.integers(0, DAY))
    until = after + length
    cut = drawn.draw(st.integers(after, until), label="cut")

    due = list(rule.due_times(after, until))

    assert all(earlier < later for earlier, later in pairwise([after, *due]))
    assert all(each <= until for each in due)
    assert [*rule.due_times(after, cut), *rule.due_times(cut, until)] == due
    following = rule.next_after(after)
    assert due[:1] == ([] if following is None or following > until else [following])
    for earlier, later in islice(pairwise([after, *due]), 5):
        assert rule.next_after(earlier) == later
        assert rule.next_after(later - 1) == later
        assert rule.last_at_or_before(later) == later
    for earlier, later in islice(pairwise(due), 5):
        assert rule.last_at_or_before(later - 1) == earlier
    if due:
        assert rule.last_at_or_before(until) == due[-1]


@pytest.mark.parametrize("zone", ZONES)
@given(st.integers(1_104_537_600, 2_208_988_800))
def test_every_instant_is_in_one_day_and_days_follow_each_other(zone: str, instant: int) -> None:
    days = local_days(zone)

    day = days.day_of(instant)

    assert days.start(day) <= instant < days.start(day + 1)
    assert days.zone.first_instant(days.reached(instant)) <= instant
    assert days.zone.first_instant(days.reached(instant) + 1) > instant


def test_a_day_that_a_zone_skipped_is_empty() -> None:
    skipped = date(2011, 12, 30).toordinal() - date(1970, 1, 1).toordinal()

    assert local_days("Pacific/Apia").is_empty(skipped)
    assert not local_days("UTC").is_empty(skipped)
