"""What hostile text is thrown at: each target reads one text, or refuses it with problems that a person can use.

Anything else that comes out is a defect: another exception, an endless search, a problem without a fix. Steps are calls of
functions, counted by Python itself, so that no machine is too slow to pass and none too fast to fail.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from types import FrameType

from offbeat.core.listing import Directory, Found, Kind, Text, TreeFiles
from offbeat.core.parse import parse
from offbeat.core.recurrences.cron import CronRecurrence
from offbeat.core.recurrences.cronfields import parse_cron
from offbeat.core.recurrences.recurrence import compile_recurrence, cron_text, parse_duration, parse_instant
from offbeat.core.recurrences.zones import find_zone
from offbeat.errors import OffbeatError, Problem

ZONES = ("UTC", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia")
NOW = 1_772_951_400  # half an hour before the gap in New York, 2026
READING = 200_000  # steps that 4 KiB may take to be read or refused; a long list takes about 60,000
SEARCHING = 2_000_000  # steps of a search that ends with nothing, the making of a zone's segments included
LONGEST_SHOWN = 1000  # characters of one part of a problem


class TooManySteps(BaseException):
    """Something searches on and on. Not an Exception, so that no target can catch it."""


@contextmanager
def at_most(steps: int) -> Iterator[None]:
    """Raise TooManySteps when more functions than that are called inside."""
    left = steps * 20 if "atheris" in sys.modules else steps  # its own calls are counted too

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal left
        left -= event in ("call", "c_call")
        if left < 0:
            sys.setprofile(None)
            raise TooManySteps(f"more than {steps} calls")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        yield
    finally:
        sys.setprofile(before)


def check_problems(problems: tuple[Problem, ...]) -> None:
    """Assert that each problem has all its parts, in bounds, and can be printed on any terminal."""
    for problem in problems:
        assert problem.code and problem.what and problem.why and problem.fix, problem
        assert max(map(len, (problem.what, problem.why, problem.fix))) <= LONGEST_SHOWN, problem
        assert "\n" not in problem.what + problem.why, problem
        str(problem).encode()


def read_or_refused(read: Callable[[], object]) -> bool:
    """Return whether the text was read. Raises whatever should never have been raised."""
    try:
        with at_most(READING):
            read()
    except OffbeatError as refused:
        assert refused.problems, refused
        check_problems(refused.problems)
        return False
    return True


def cron(text: str) -> None:
    """parse_cron and cron_text; what they read also names due times, or says that there are none."""
    if not read_or_refused(lambda: parse_cron(text)):
        return
    for zone in ZONES:
        with at_most(SEARCHING):
            rule = CronRecurrence(parse_cron(text), find_zone(zone))
            due = rule.next_after(NOW)
            last = rule.last_at_or_before(NOW)
            soon = list(islice(rule.due_times(NOW, NOW + 86_400), 50))
        assert due is None or due > NOW
        assert last is None or last <= NOW
        assert soon[:1] == ([due] if due is not None and due <= NOW + 86_400 else [])


def cron_words(text: str) -> None:
    """cron_text, with a zone that is hostile as well."""
    read_or_refused(lambda: cron_text(text, zone="Europe/Sofia"))
    read_or_refused(lambda: cron_text("0 4 * * *", zone=text))


def recurrence(text: str) -> None:
    """compile_recurrence: the texts that a ledger keeps."""
    read_or_refused(lambda: compile_recurrence(text, "Europe/Sofia"))
    read_or_refused(lambda: compile_recurrence(f"every {text}", "Europe/Sofia"))
    read_or_refused(lambda: compile_recurrence(f"at {text}", "Europe/Sofia"))


def duration(text: str) -> None:
    """parse_duration."""
    read_or_refused(lambda: parse_duration(text))


def instant(text: str) -> None:
    """parse_instant, in zones that have skipped hours and days."""
    for zone in ZONES:
        read_or_refused(lambda: parse_instant(text, zone))  # noqa: B023 - called at once


def schedule(content: bytes) -> None:
    """schedule.toml, beside a link that is there as well: parse() returns problems and raises nothing."""
    link = Found(name="search_dates", link="../tasks/run_celery_task", target="run_celery_task")
    files = TreeFiles(
        path="cron",
        schedule=Text(path="cron/schedule.toml", kind=Kind.FILE, content=content),
        directories=(Directory(name="hourly", path="cron/hourly", kind=Kind.DIRECTORY, files=(link,)),),
    )
    with at_most(SEARCHING):
        found, problems = parse(files, {})
    check_problems(problems)
    assert found is not None or problems


TEXTS: dict[str, Callable[[str], None]] = {
    "cron": cron,
    "cron_words": cron_words,
    "recurrence": recurrence,
    "duration": duration,
    "instant": instant,
}
