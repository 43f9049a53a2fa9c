"""Every zone of the database, at the changes of its clock: the laws of cron, one zone after the other."""

from __future__ import annotations

from itertools import pairwise
from zoneinfo import available_timezones

import pytest

from offbeat.core.recurrences.cron import CronRecurrence
from offbeat.core.recurrences.cronfields import parse_cron
from offbeat.core.recurrences.zones import DAY, find_zone, is_zone

ZONES = sorted(name for name in available_timezones() if is_zone(name))
BLOCKS = (-33, -12, 1, 11, 24, 38, 53, 64)  # in the years 1935, 1957, 1971, 1981, 1995, 2010, 2026, 2038
EXPRESSIONS = (
    "30 * * * *",
    "15,45 0-3 * * *",
    "0 0 * * *",
    "30 2 * * *",
    "*/20 2 * * sun",
    "30 */20 1-3 * * *",
    "59 30 2 * * *",
)


@pytest.mark.parametrize("letter", sorted({name[0] for name in ZONES}))
def test_the_laws_hold_at_a_change_of_every_zones_clock(letter: str) -> None:
    for number, name in enumerate(each for each in ZONES if each[0] == letter):
        zone = find_zone(name)
        changes = [start for block in BLOCKS for start, _, _ in zone.segments(block)[1:3]]
        for place, change in enumerate(changes):
            text = EXPRESSIONS[(number + place) % len(EXPRESSIONS)]
            assert_laws(CronRecurrence(parse_cron(text), zone), change, f"{text} {name} {change}")


def test_most_zones_have_changes_there() -> None:
    """Else the test above would prove little."""
    changes = [sum(len(find_zone(name).segments(block)) - 1 for block in BLOCKS) for name in ZONES]

    assert sum(changes) > 2500
    assert sum(1 for each in changes if each) > len(ZONES) / 2


def assert_laws(rule: CronRecurrence, change: int, told: str) -> None:
    """Rising; after the start; the same however it is cut or asked for, at the change and around it."""
    after, until = change - DAY // 2 - 7, change + DAY // 2
    due = list(rule.due_times(after, until))

    assert all(earlier < later for earlier, later in pairwise([after, *due, until + 1])), told
    for cut in (change - 3600, change - 1, change, change + 1, change + 1800, change + 3600):
        assert [*rule.due_times(after, cut), *rule.due_times(cut, until)] == due, told
        assert rule.next_after(cut) == next((each for each in due if each > cut), rule.next_after(until)), told
        assert rule.last_at_or_before(cut) == next(
            (each for each in reversed(due) if each <= cut), rule.last_at_or_before(after)
        ), told
    assert [rule.next_after(each) for each in due[:-1]] == due[1:], told
