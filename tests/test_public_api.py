"""What a program may import from offbeat, and what that costs it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

import offbeat
from offbeat import Cron, ScheduleError

NOON = datetime(2026, 3, 25, 12, tzinfo=UTC)
HEAVY = (
    "kombu",
    "celery",
    "redis",
    "rich",
    "click",
    "django",
    "sqlite3",
    "zoneinfo",
    "tomllib",
    "subprocess",
    "logging",
    "datetime",
)


def test_all_is_what_it_says() -> None:
    assert sorted(offbeat.__all__) == dir(offbeat)
    for name in offbeat.__all__:
        assert getattr(offbeat, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Corn'"):
        getattr(offbeat, "Corn")  # noqa: B009 - the name is wrong on purpose


def test_the_version_is_that_of_the_package() -> None:
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert offbeat.__version__ == project.get("version", offbeat.__version__)


def test_importing_offbeat_loads_nothing() -> None:
    program = "import sys; before = set(sys.modules); import offbeat; print(*sorted(set(sys.modules) - before))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()

    assert "offbeat" in loaded
    assert [name for name in loaded if name.startswith("offbeat.")] == []
    assert [name for name in loaded if name.partition(".")[0] in HEAVY] == []


def test_the_arrow_of_the_layers_is_the_first_thing_a_reader_sees() -> None:
    assert offbeat.__doc__ is not None
    assert "faces -> runners -> ports -> core -> errors" in offbeat.__doc__.splitlines()[0]


def test_cron_gives_aware_utc_times() -> None:
    cron = Cron("30 4 * * mon", "Europe/Sofia")

    assert cron.next_after(NOON) == datetime(2026, 3, 30, 1, 30, tzinfo=UTC)
    assert list(cron.due_times(NOON, NOON + timedelta(days=14))) == [
        datetime(2026, 3, 30, 1, 30, tzinfo=UTC),
        datetime(2026, 4, 6, 1, 30, tzinfo=UTC),
    ]
    assert all(due.tzinfo is UTC for due in cron.due_times(NOON, NOON + timedelta(days=14)))
    assert Cron("0 0 31 2 *").next_after(NOON) is None


def test_cron_takes_instants_of_any_zone() -> None:
    cron = Cron("0 * * * *")
    second_pass = datetime(2026, 11, 1, 1, 30, fold=1, tzinfo=ZoneInfo("America/New_York"))

    assert cron.next_after(second_pass) == datetime(2026, 11, 1, 7, tzinfo=UTC)


def test_the_start_is_excluded_and_the_end_included_to_the_microsecond() -> None:
    cron, tick = Cron("0 12 * * *"), timedelta(microseconds=1)

    assert cron.next_after(NOON - tick) == NOON
    assert cron.next_after(NOON) == cron.next_after(NOON + tick) == NOON + timedelta(days=1)
    assert list(cron.due_times(NOON - tick, NOON)) == [NOON]
    assert list(cron.due_times(NOON - timedelta(hours=1), NOON - tick)) == []


def test_a_time_without_a_zone_is_a_type_error_at_once() -> None:
    naive = NOON.replace(tzinfo=None)

    for ask in (lambda: Cron("* * * * *").next_after(naive), lambda: Cron("* * * * *").due_times(naive, NOON)):
        with pytest.raises(TypeError, match="has no time zone"):
            ask()
    with pytest.raises(TypeError, match="has no time zone"):
        Cron("* * * * *").due_times(NOON, naive)


def test_what_cannot_be_read_is_a_schedule_error_with_problems() -> None:
    with pytest.raises(ScheduleError, match="hour 25 is outside 0-23"):
        Cron("0 25 * * *")
    with pytest.raises(ScheduleError, match='did you mean "Europe/Sofia"'):
        Cron("0 5 * * *", timezone="Europe/Sofa")


def test_equal_crons_are_equal_and_show_what_they_are() -> None:
    assert Cron("0 5 * * *", "Europe/Sofia") == Cron("0 5 * * *", timezone="Europe/Sofia", seed="")
    assert repr(Cron("0 5 * * *", seed="x")) == "Cron(expression='0 5 * * *', timezone='UTC', seed='x')"
