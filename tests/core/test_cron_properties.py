"""Laws that cron keeps in every zone, aimed at the hours in which clocks change; and cronsim as a second opinion."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from itertools import islice, pairwise
from zoneinfo import ZoneInfo, available_timezones

import cronsim
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from offbeat.core.recurrences.cron import HORIZON, CronRecurrence, cron_warnings
from offbeat.core.recurrences.cronfields import FIELDS, Field, format_cron, parse_cron
from offbeat.core.recurrences.cronread import SECOND, WEEKDAYS
from offbeat.core.recurrences.recurrence import cron_text
from offbeat.core.recurrences.zones import BLOCK_BITS, DAY, find_zone, is_zone
from offbeat.errors import ScheduleError

ZONES = sorted(name for name in available_timezones() if is_zone(name))
PLAIN_ZONES = [
    "UTC",
    "America/New_York",
    "Europe/Berlin",
    "Europe/Sofia",
    "Australia/Sydney",
    "Asia/Tokyo",
    "America/Sao_Paulo",
]


@st.composite
def items(draw: st.DrawFn, field: Field) -> str:
    """Return one item of a list: a number, a name, a range, a step."""
    kind = draw(st.sampled_from(["number", "number", "range", "star", "step", "range-step", "name"]))
    first = draw(st.integers(field.low, field.high))
    last = draw(st.integers(first, field.high))
    step = draw(st.integers(1, field.high + 2))
    if kind == "name" and field.names:
        return draw(st.sampled_from(field.names)).upper()
    forms = {"range": f"{first}-{last}", "star": "*", "step": f"*/{step}", "range-step": f"{first}-{last}/{step}"}
    return forms.get(kind, str(first))


@st.composite
def expressions(draw: st.DrawFn) -> str:
    """Return a valid expression of five fields in Debian's syntax; each field is `*` half of the time."""
    parts = []
    for field in FIELDS:
        bare = draw(st.booleans())
        parts.append("*" if bare else ",".join(draw(st.lists(items(field), min_size=1, max_size=3))))
    return " ".join(parts)


MONTH_DAYS = st.one_of(
    st.sampled_from(["L", "LW", "?", "l", "*"]),
    st.builds("{}W".format, st.integers(1, 31)),
    st.builds("L-{}".format, st.integers(0, 30)),
    st.builds("L-{}W".format, st.integers(0, 30)),
    st.builds("{},L-{}".format, st.integers(1, 31), st.integers(0, 30)),
    st.builds("{}W,LW".format, st.integers(1, 31)),
)
WEEK_DAYS = st.builds(
    "{}{}{}".format,
    st.sampled_from(["", "", "+", "2,", "+0,"]),
    st.sampled_from([*WEEKDAYS, *"01234567"]),
    st.sampled_from(["L", "#L", "#1", "#2", "#5", ""]),
)
YEARS = st.one_of(
    st.sampled_from(["*", "*/4", "1970-2199", "1971-2199/2", "2199"]),
    st.builds(lambda first, more: f"{first}-{min(first + more, 2199)}", st.integers(1970, 2199), st.integers(0, 60)),
    st.integers(1990, 2060).map(str),
)


@st.composite
def any_expressions(draw: st.DrawFn) -> str:
    """Return a valid expression of the whole dialect."""
    parts = draw(expressions()).split()
    if draw(st.booleans()):
        parts[2] = draw(MONTH_DAYS)
    if draw(st.booleans()):
        parts[4] = draw(WEEK_DAYS)
    if draw(st.integers(0, 9)) < 3:
        place = draw(st.integers(0, 3))
        parts[place] = draw(st.sampled_from(["H", "H/7", "~", "1~9", "H(2-8)/3", "3,H"]))
    if draw(st.booleans()):
        parts.insert(0, draw(st.one_of(st.just("0"), items(SECOND))))
        if draw(st.booleans()):
            parts.append(draw(YEARS))
    return " ".join(parts)


@st.composite
def starts(draw: st.DrawFn, zone: str) -> int:
    """Return an instant, near a change of the clock where the zone has one in that year."""
    block = draw(st.integers(0, 70))
    changes = [start for start, _, _ in find_zone(zone).segments(block)][1:]
    middle = draw(st.sampled_from(changes)) if changes else block << BLOCK_BITS
    return middle + draw(st.integers(-2 * DAY, 2 * DAY))


RULES = st.tuples(st.one_of(expressions(), any_expressions()), st.sampled_from(ZONES))


@settings(max_examples=250, deadline=None)
@given(RULES, st.data())
def test_due_times_rise_and_every_way_of_asking_gives_the_same(rule: tuple[str, str], drawn: st.DataObject) -> None:
    expression, zone = rule
    recurrence = CronRecurrence(parse_cron(expression), find_zone(zone))
    after = drawn.draw(starts(zone))
    until = after + drawn.draw(st.integers(0, 3 * DAY // (1 if len(parse_cron(expression).text.split()) == 5 else 24)))
    cut = drawn.draw(st.integers(after, until))

    due = list(recurrence.due_times(after, until))

    assert all(earlier < later for earlier, later in pairwise(due))
    assert all(after < each <= until for each in due)
    assert due == [*recurrence.due_times(after, cut), *recurrence.due_times(cut, until)]
    following = recurrence.next_after(after)
    assert following == due[0] if due else following is None or following > until
    last = recurrence.last_at_or_before(until)
    assert last == due[-1] if due else last is None or last <= after


@settings(max_examples=150, deadline=None)
@given(RULES, st.data())
def test_next_and_last_are_each_others_inverse(rule: tuple[str, str], drawn: st.DataObject) -> None:
    expression, zone = rule
    recurrence = CronRecurrence(parse_cron(expression), find_zone(zone))
    after = drawn.draw(starts(zone))

    due = recurrence.next_after(after)

    if due is not None:
        assert due > after
        assert recurrence.last_at_or_before(due) == due
        assert recurrence.last_at_or_before(due - 1) in (None, recurrence.last_at_or_before(after))
        last = recurrence.last_at_or_before(after)
        assert last is None or recurrence.next_after(last) == due


@settings(max_examples=400, deadline=None)
@given(any_expressions(), st.text(max_size=5))
def test_a_parse_of_a_formatted_expression_is_the_same(expression: str, seed: str) -> None:
    fields = parse_cron(expression, seed=seed)

    assert parse_cron(format_cron(fields)) == fields
    assert format_cron(fields) == fields.text
    cron_warnings(expression, seed=seed)  # never fails


@settings(max_examples=200, deadline=None)
@given(expressions())
def test_the_wildcards_of_a_formatted_expression_are_those_of_the_written_one(expression: str) -> None:
    written, formatted = expression.split(), parse_cron(expression).text.split()

    assert ("*" in (written[0][0], written[1][0])) is ("*" in (formatted[0][0], formatted[1][0]))
    assert ("*" in (written[2][0], written[4][0])) is (formatted[2][0] == "*" or formatted[4][0] in "*+")


@settings(max_examples=150, deadline=None)
@given(any_expressions(), st.sampled_from(ZONES), st.data())
def test_seconds_are_those_of_the_minutes(expression: str, zone: str, drawn: st.DataObject) -> None:
    """Six fields are due in the minutes that the same five are due in, at the seconds they name."""
    parts = expression.split()
    parts = parts[1:6] if len(parts) > 5 else parts
    seconds = drawn.draw(st.sets(st.integers(0, 59), min_size=1, max_size=3).map(sorted))
    minutes = CronRecurrence(parse_cron(" ".join(parts)), find_zone(zone))
    six = CronRecurrence(parse_cron(" ".join([",".join(map(str, seconds)), *parts])), find_zone(zone))
    after = drawn.draw(starts(zone))
    until = after + drawn.draw(st.integers(0, DAY))

    expected = {minute + second for minute in minutes.due_times(after - 60, until) for second in seconds}

    assert list(six.due_times(after, until)) == sorted(due for due in expected if after < due <= until)


@settings(max_examples=300, deadline=None)
@given(expressions(), st.sampled_from(PLAIN_ZONES), st.integers(0, 60), st.integers(2, 26))
def test_cronsim_agrees_where_it_is_defined(expression: str, zone: str, year: int, day: int) -> None:
    """Zones that change by whole hours, starts in no repeated hour. cronsim reads `1-1/2` as `1-31/2`: left out."""
    assume(not re.search(r"\b(\d+)-\1/", expression))
    start = datetime(1996 + year, 1, day, 12, 30, tzinfo=UTC)
    recurrence = CronRecurrence(parse_cron(expression), find_zone(zone))
    try:
        expected = [int(due.timestamp()) for due in islice(cronsim.CronSim(expression, start.astimezone(ZoneInfo(zone))), 40)]
    except cronsim.CronSimError:
        assert recurrence.next_after(int(start.timestamp())) is None
        return
    found: list[int] = []
    while len(found) < len(expected):
        due = recurrence.next_after(found[-1] if found else int(start.timestamp()))
        assert due is not None
        found.append(due)

    assert found == expected
    assert list(recurrence.due_times(int(start.timestamp()), expected[-1])) == expected if expected else True


class Counted(dict[int, tuple[tuple[int, int, int, int, int, int], ...]]):
    """A timeline that counts how often it is asked."""

    def __init__(self, timeline: dict[int, tuple[tuple[int, int, int, int, int, int], ...]]) -> None:
        self.timeline = timeline
        self.asked = 0

    def __missing__(self, block: int) -> tuple[tuple[int, int, int, int, int, int], ...]:
        self.asked += 1
        return self.timeline[block]


def counted(expression: str, zone: str) -> tuple[CronRecurrence, Counted]:
    """Return a recurrence and the count of the blocks that its searches look at."""
    recurrence = CronRecurrence(parse_cron(expression), find_zone(zone))
    count = Counted(recurrence._timeline)
    recurrence._timeline = count  # type: ignore[assignment]
    return recurrence, count


def test_a_date_that_never_comes_ends_the_search_at_once() -> None:
    recurrence, count = counted("0 0 31 2 *", "America/New_York")

    assert recurrence.next_after(1_767_225_600) is None
    assert recurrence.last_at_or_before(1_767_225_600) is None
    assert count.asked == 2


def test_a_wildcard_that_the_clock_always_skips_ends_the_search_too() -> None:
    """The second Sunday of March at 2 in New York is in the gap of every year from 2007 on."""
    recurrence, count = counted("*/5 2 8-14 3 */7", "America/New_York")
    before = int(datetime(2006, 3, 12, 7, 55, tzinfo=UTC).timestamp())

    assert recurrence.next_after(1_767_225_600) is None
    assert count.asked <= HORIZON + 1
    assert recurrence.last_at_or_before(1_767_225_600) == before


STEPS = 2000  # many times what the worst search takes


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Australia/Lord_Howe"])
@pytest.mark.parametrize(
    "expression",
    ["0 0 31 2 *", "* * 31 2 *", "* * * 30 2 * 1970-2199/2", "0 0 15 * +sun#2", "* * 30W 2 *", "*/5 * 31 4,6,9,11 *"]
    + ["* * L-30 2 *", "* * * 29 2 * 2025", "0 0 0 1 1 * 1970", "* * * 31 6 * *"],
)
def test_a_search_ends_within_a_counted_number_of_steps(expression: str, zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recurrence, count = counted(expression, zone)
    looked = 0
    year_with = CronRecurrence._year_with

    def counting(self: CronRecurrence, day: int) -> tuple[int, int, int, int]:
        nonlocal looked
        looked += 1
        return year_with(self, day)

    monkeypatch.setattr(CronRecurrence, "_year_with", counting)
    recurrence.next_after(1_767_225_600)
    recurrence.last_at_or_before(-1_767_225_600)
    assert list(recurrence.due_times(8_000_000_000, 10**15)) == []

    assert count.asked + looked < STEPS


def test_the_rarest_date_is_found_over_the_missing_leap_year_of_2100() -> None:
    recurrence, count = counted("0 0 29 2 */7", "Europe/Sofia")
    here = ZoneInfo("Europe/Sofia")
    before, after = (int(datetime(year, 2, 29, tzinfo=here).timestamp()) for year in (2088, 2128))

    assert recurrence.next_after(before) == after
    assert recurrence.last_at_or_before(after - 1) == before
    assert count.asked < 10  # the years between are not walked through
    assert list(recurrence.due_times(before, after)) == [after]


def test_a_year_far_away_is_found_from_both_sides() -> None:
    recurrence, count = counted("30 0 0 1 1 * 1970,2199", "America/New_York")
    here = ZoneInfo("America/New_York")
    first, last = (int(datetime(year, 1, 1, 0, 0, 30, tzinfo=here).timestamp()) for year in (1970, 2199))

    assert recurrence.next_after(-(10**15)) == first
    assert recurrence.next_after(first) == last
    assert recurrence.next_after(last) is None
    assert recurrence.last_at_or_before(10**15) == last
    assert recurrence.last_at_or_before(last - 1) == first
    assert recurrence.last_at_or_before(first - 1) is None
    assert list(recurrence.due_times(-(10**15), 10**15)) == [first, last]
    assert count.asked < 30


def test_the_last_year_does_not_come_back_with_a_gap_of_the_clock() -> None:
    for text in ("0 30 2 * * * 2030", "30 30 2 * * * 2030"):
        recurrence = CronRecurrence(parse_cron(text), find_zone("America/New_York"))
        end = int(datetime(2031, 1, 1, 12, tzinfo=UTC).timestamp())
        last = recurrence.last_at_or_before(end)

        assert last is not None
        assert recurrence.last_at_or_before(10**11) == last
        assert recurrence.next_after(last) is None
        assert list(recurrence.due_times(last, 10**15)) == []


def test_time_has_an_end_and_a_beginning() -> None:
    for zone, text in (
        ("UTC", "0 0 * * *"),
        ("America/New_York", "0 0 * * *"),
        ("Asia/Tokyo", "0 0 * * *"),
        ("UTC", "5 0 0 * * *"),
    ):
        recurrence = CronRecurrence(parse_cron(text), find_zone(zone))
        assert recurrence.next_after(253_402_300_799) is None
        assert recurrence.next_after(10**15) is None
        assert recurrence.last_at_or_before(-(10**15)) is None
        first, last = recurrence.next_after(-(10**15)), recurrence.last_at_or_before(10**15)
        assert first is not None
        assert last is not None
        assert datetime.fromtimestamp(first, UTC).year == 1
        assert datetime.fromtimestamp(last, UTC).year == 9999
        assert list(recurrence.due_times(last - 1, 10**15)) == [last]


HOSTILE = st.one_of(
    st.text(max_size=4096),
    st.text(alphabet="0123456789*/,-LW#?HFRIJAN~+@() \t", max_size=4096),
    st.lists(st.text(alphabet="0123456789*/,-LW#?HFRIJAN~+()", min_size=1, max_size=6), min_size=5, max_size=7).map(" ".join),
    any_expressions(),
    st.sampled_from(["@every", "@daily", "@", "H" * 4000]).flatmap(
        lambda word: st.text(max_size=90).map(f"{word} {{}}".format)
    ),
    st.builds(
        lambda item, times: f"{','.join([item] * times)} * * * *",
        st.sampled_from(["*", "59-0/2", "0-59", "1", ""]),
        st.integers(0, 1000),
    ),
)


@settings(max_examples=400, deadline=None)
@given(HOSTILE)
def test_any_text_is_read_or_refused_with_a_fix(text: str) -> None:
    try:
        cron_text(text, zone="UTC", seed="entry")
        cron_warnings(text, seed="entry")
    except ScheduleError as refused:
        assert refused.problems
        for problem in refused.problems:
            assert problem.code in ("S101", "S102", "S103", "S104", "S120")
            assert len(problem.what) < 200
            assert len(problem.fix) < 300
            assert str(problem).count("\n") == 2
            assert str(problem).isascii()
