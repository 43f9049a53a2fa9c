"""What `offbeat check` says of entries that are over."""

from __future__ import annotations

import pytest

from offbeat.core.model import Entry, Schedule, TaskCall, Timing
from offbeat.core.past import past_warnings

NOON = 1_772_366_400


def warned(timing: Timing) -> bool:
    entry = Entry(name="one", timing=timing, call=TaskCall(task="t"), file="cron/schedule.toml", line=7)
    warnings = past_warnings(Schedule(project="p", timezone="UTC", entries=(entry,)), NOON + 0.5)
    assert all((warning.code, warning.where) == ("S169", "cron/schedule.toml:7") for warning in warnings)
    return bool(warnings)


@pytest.mark.parametrize(
    ("timing", "over"),
    [
        (Timing(recurrence=f"at {NOON}"), True),
        (Timing(recurrence=f"at {NOON},{NOON + 60}"), False),
        (Timing(recurrence=f"at {NOON}", enabled=False), False),
        (Timing(recurrence="every 60 0"), False),
        (Timing(recurrence="every 60 0", ends_at=NOON), True),
        (Timing(recurrence="every 60 0", starts_at=NOON + 9000), False),
        (Timing(recurrence="rrule DTSTART:20250101T090000 RRULE:FREQ=DAILY;COUNT=3"), True),
        (Timing(recurrence=f'any {{"of":["at {NOON - 60}","at {NOON}"]}}'), True),
        (Timing(recurrence="cron 0 0 31 2 *"), False),  # that is S153, and told already
        (Timing(recurrence="own nowhere {}"), False),
    ],
)
def test_an_entry_that_is_never_due_again_is_a_warning(timing: Timing, over: bool) -> None:
    assert warned(timing) is over


def test_an_entry_whose_exclusions_take_what_is_to_come_says_so() -> None:
    recurrence = 'any {"except":["2026-03-01/2026-03-31"],"of":["every 3600 0"]}'
    entry = Entry(
        name="one",
        timing=Timing(recurrence=recurrence, ends_at=NOON + 86_400),
        call=TaskCall(task="t"),
    )

    (warning,) = past_warnings(Schedule(project="p", timezone="UTC", entries=(entry,)), NOON)

    assert warning.code == "S166"
