"""A tree that Debian's own run-parts walks through: each link sends its calendar period once, also beside `offbeat tick`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests import servers

from offbeat.core.identity import format_due_at, occurrence_id
from offbeat.ports.clock import FakeClock, SystemClock
from offbeat.runners.site import open_site
from offbeat.runners.tick import tick

OFFBEAT = Path(sys.executable).parent / "offbeat"
HOUR = 3600


@dataclass
class House:
    """A repository with links in hourly/ and monthly/, the hour's due time still to come, and a Redis as its broker."""

    root: Path
    environ: dict[str, str]
    redis_url: str
    now: int

    @property
    def due_at(self) -> int:
        """When hourly is due in this hour: ten minutes from now at the latest, and in this hour."""
        return self.now // HOUR * HOUR + self.minute * 60

    @property
    def minute(self) -> int:
        return min(self.now // 60 % 60 + 10, 59)

    def lay_out(self) -> None:
        self.root.mkdir()
        self.offbeat("init")
        (self.root / "cron/schedule.toml").write_text(
            f'project = "parts"\ntask_prefix = "shop.tasks."\n[directories]\nhourly = "{self.minute} * * * *"\n'
        )
        (self.root / ".venv/bin").mkdir(parents=True)
        (self.root / ".venv/bin/offbeat").symlink_to(OFFBEAT)
        for name in ("search_dates", "refresh-packages"):
            self.offbeat("add", "hourly", name)
        self.offbeat("add", "monthly", "report")

    def call(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words, cwd=self.root, env={**self.environ, **environ}, capture_output=True, text=True, check=False
        )

    def offbeat(self, *words: str) -> str:
        done = self.call(str(OFFBEAT), *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def run_parts(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.call(servers.need("run-parts"), *words)

    def sent(self) -> list[dict[str, Any]]:
        """Take what was published out of the queue, and return the headers."""
        import redis

        with redis.Redis.from_url(self.redis_url) as client:
            messages = client.lrange("celery", 0, -1)
            client.delete("celery")
        return [json.loads(message)["headers"] for message in reversed(messages)]

    def tick_at(self, now: float) -> None:
        """Do one tick at another time than now."""
        site = open_site(start=self.root, tree=None, environ=self.environ, clock=FakeClock(now))
        try:
            done = tick(site)
        finally:
            site.close()
        assert (done.exit_code, done.problems) == (0, ())


@pytest.fixture
def house(tmp_path: Path, redis_url: str) -> House:
    clock = SystemClock()
    if int(clock.now()) % HOUR > HOUR - 120:  # the hour's due time has to come, and within this hour
        clock.sleep_until(clock.now() // HOUR * HOUR + HOUR)
    environ = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "OFFBEAT_BROKER": redis_url,
    }
    house = House(root=tmp_path / "app", environ=environ, redis_url=redis_url, now=int(clock.now()))
    house.lay_out()
    return house


WAYS: dict[str, Callable[[House], subprocess.CompletedProcess[str]]] = {
    "run-parts": lambda house: house.run_parts("cron/hourly"),
    "run-parts --regex=.": lambda house: house.run_parts("--regex=.", "cron/hourly"),
    "run-parts with an absolute path": lambda house: house.run_parts(str(house.root / "cron/hourly")),
    "run-parts --report": lambda house: house.run_parts("--report", "cron/hourly"),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_run_parts_sends_each_link_once_and_a_tick_does_not_send_it_again(
    house: House, way: Callable[[House], subprocess.CompletedProcess[str]]
) -> None:
    first = way(house)
    assert (first.returncode, first.stderr) == (0, "")
    sent = house.sent()
    due = format_due_at(house.due_at)
    assert [(h["task"], h["offbeat_due_at"]) for h in sent] == [
        ("shop.tasks.refresh-packages", due),
        ("shop.tasks.search_dates", due),
    ]
    assert [h["id"] for h in sent] == [
        occurrence_id("parts", name, house.due_at) for name in ("refresh-packages", "search_dates")
    ]

    second = way(house)
    assert (second.returncode, second.stderr) == (0, "")
    for name in ("search_dates", "refresh-packages"):
        assert f"{name}: already sent at " in second.stdout
        assert f"run_celery_task {name} sends it anyway" in second.stdout
    assert house.sent() == []

    house.tick_at(house.due_at + 5)  # what is due in this hour was sent ahead of its time: never again
    assert house.sent() == []
    house.tick_at(house.due_at + 1800)
    house.tick_at(house.due_at + HOUR + 5)
    assert [h["offbeat_due_at"] for h in house.sent()] == [format_due_at(house.due_at + HOUR)] * 2


def test_what_a_tick_has_sent_a_link_does_not_send_again(house: House) -> None:
    house.offbeat("tick")
    house.tick_at(house.due_at + 5)
    assert len(house.sent()) == 2

    done = house.run_parts("cron/hourly")

    assert done.returncode == 0
    assert done.stdout.count("already sent at") == 2
    assert house.sent() == []


def test_a_month_is_sent_once_however_often_run_parts_comes(house: House) -> None:
    passes = [house.run_parts("cron/monthly") for _ in range(3)]

    assert [done.returncode for done in passes] == [0, 0, 0]
    (only,) = house.sent()
    assert only["task"] == "shop.tasks.report"


def test_two_run_parts_at_the_same_time_send_once(house: House) -> None:
    house.offbeat("tick")
    words = [servers.need("run-parts"), "cron/hourly"]
    both = [subprocess.Popen(words, cwd=house.root, env=house.environ, stdout=subprocess.DEVNULL) for _ in range(2)]

    assert [one.wait() for one in both] == [0, 0]
    assert len(house.sent()) == 2


def test_a_link_that_cannot_send_now_is_sent_later_and_run_parts_hears_of_it(house: House) -> None:
    down = {**house.environ, "OFFBEAT_BROKER": f"redis://127.0.0.1:{servers.free_port()}/0"}
    working, house.environ = house.environ, down

    done = house.run_parts("cron/hourly")
    house.environ = working
    house.tick_at(house.now + 300)

    assert done.returncode != 0
    assert done.stderr != ""
    assert {h["offbeat_due_at"] for h in house.sent()} == {format_due_at(house.due_at)}


def test_run_celery_task_with_a_name_sends_it_anyway(house: House) -> None:
    house.run_parts("cron/hourly")
    house.sent()

    done = house.call("cron/tasks/run_celery_task", "search_dates")

    assert done.returncode == 0
    (only,) = house.sent()
    assert (only["task"], only["offbeat_cause"]) == ("shop.tasks.search_dates", "manual")


def test_a_link_executed_by_hand_from_its_own_folder_is_the_same_occurrence(house: House) -> None:
    done = subprocess.run(
        ["./search_dates"], cwd=house.root / "cron/hourly", env=house.environ, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
    (only,) = house.sent()
    assert only["id"] == occurrence_id("parts", "search_dates", house.due_at)
    assert "already sent" in house.run_parts("cron/hourly").stdout


def test_a_repository_reached_by_a_link_is_the_same_tree(house: House, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to("app")
    house.run_parts("cron/hourly")
    assert len(house.sent()) == 2

    done = house.run_parts(str(tmp_path / "current/cron/hourly"))

    assert done.returncode == 0
    assert os.path.samefile(tmp_path / "current", house.root)
    assert house.sent() == []
