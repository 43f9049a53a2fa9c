"""Zones as segments: against zoneinfo's own answers, and what is no zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from offbeat.core.recurrences.timeline import Timeline
from offbeat.core.recurrences.zones import BLOCK_BITS, LEAD, find_zone, is_zone, near_zones
from offbeat.errors import ScheduleError

NOWHERE = (
    "",
    " ",
    "../etc/passwd",
    "/etc/passwd",
    "Europe/../../etc/passwd",
    "Europe",
    "Europe/",
    "europe sofia",
    "Sofia",
    "\0",
    "é",
) + (
    "posix/UTC",
    "right/UTC",
    "localtime",
    "posixrules",
    "Factory",
    "zone.tab",
    "A" * 5000,
    "Europe//Sofia",
    "Mars/Olympus",
    "\ud800",
)
KNOWN = ("UTC", "Etc/UTC", "Europe/Sofia", "America/Argentina/Buenos_Aires", "Etc/GMT+12", "America/Port-au-Prince", "EST5EDT")


@pytest.mark.parametrize("name", NOWHERE, ids=ascii)
def test_what_is_no_zone_is_refused_clearly(name: str) -> None:
    assert not is_zone(name)
    with pytest.raises(ScheduleError) as refused:
        find_zone(name)

    (problem,) = refused.value.problems
    assert problem.code == "S110"
    assert problem.what.endswith("is not in the zone database")
    assert len(str(problem)) < 400
    assert str(problem).isascii()


@pytest.mark.parametrize("name", KNOWN)
def test_what_is_a_zone_is_found(name: str) -> None:
    assert is_zone(name)
    assert find_zone(name).name == name


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("Europe/Sofa", "Europe/Sofia"),
        ("sofia", "Europe/Sofia"),
        ("america/new york", "America/New_York"),
        ("utc", "UTC"),
        ("Berln", "Europe/Berlin"),
    ],
)
def test_a_near_name_is_suggested(written: str, meant: str) -> None:
    assert near_zones(written)[0] == meant
    with pytest.raises(ScheduleError, match=f'did you mean "{meant}"'):
        find_zone(written)


@pytest.mark.parametrize(
    "name", ["Australia/Lord_Howe", "Africa/Casablanca", "Pacific/Apia", "America/Noronha", "Europe/Amsterdam", "Asia/Gaza"]
)
@pytest.mark.parametrize("year", [1901, 1937, 2000, 2011, 2026, 2045, 2086, 2150])
def test_segments_say_hour_by_hour_what_zoneinfo_says(name: str, year: int) -> None:
    zone, zoneinfo = find_zone(name), ZoneInfo(name)
    begin = datetime(year, 1, 1, tzinfo=UTC)
    block = int(begin.timestamp()) >> BLOCK_BITS
    segments = zone.segments(block)

    assert segments[0][0] == (block << BLOCK_BITS) - LEAD
    assert segments[-1][1] == (block + 1) << BLOCK_BITS
    assert all(before[1] == after[0] and before[2] != after[2] for before, after in pairwise(segments))
    for start, end, offset in segments:
        for instant in {*range(start, end, 7 * 3600), end - 1}:
            assert datetime.fromtimestamp(instant, zoneinfo).utcoffset() == timedelta(seconds=offset)


@pytest.mark.parametrize(
    ("zone", "local", "instant"),
    [
        ("UTC", "2026-03-01T04:30:00", "2026-03-01T04:30:00+00:00"),
        ("America/New_York", "2026-03-08T01:59:59", "2026-03-08T06:59:59+00:00"),
        ("America/New_York", "2026-03-08T02:30:00", "2026-03-08T07:00:00+00:00"),
        ("America/New_York", "2026-11-01T01:30:00", "2026-11-01T05:30:00+00:00"),
        ("Australia/Lord_Howe", "2026-04-05T01:45:00", "2026-04-04T14:45:00+00:00"),
        ("Pacific/Apia", "2011-12-30T12:00:00", "2011-12-30T10:00:00+00:00"),
        ("Europe/Sofia", "2099-07-01T00:00:00", "2099-06-30T21:00:00+00:00"),
    ],
)
def test_a_local_time_means_its_first_pass_and_a_skipped_one_the_end_of_the_gap(zone: str, local: str, instant: str) -> None:
    wanted = datetime.fromisoformat(local).replace(tzinfo=UTC)

    found = find_zone(zone).first_instant(int(wanted.timestamp()))

    assert datetime.fromtimestamp(found, UTC).isoformat() == instant


def test_only_so_many_blocks_are_kept() -> None:
    utc = Timeline(find_zone("UTC"), False)
    segments = find_zone("Etc/GMT+3")
    for block in range(1100):
        assert len(utc[block]) == len(segments.segments(block)) == 1

    assert len(utc) < 1100
    assert len(segments._blocks) < 1100
