"""Measures due times, offbeat's and its peers', and writes the second table of bench/README.md: `make bench-recurrence`.

Usage: recurrence.py [--rounds N] [--no-write]. All take turns in one run, pure Python, the same expressions in the same zones.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

README = Path(__file__).resolve().parent / "README.md"
BEGIN, END = "<!-- recurrence: begin -->\n", "<!-- recurrence: end -->\n"
ZONES = ("UTC", "America/New_York")
START = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
NEXT = 100  # due times of each expression in a round, one question after the other
STREAM = 1000  # due times of each expression in a round, from one call
BUILT = 50  # constructions of each expression in a round
EXPRESSIONS = (
    "* * * * *",
    "*/5 * * * *",
    "5-55/10 * * * *",
    "0 * * * *",
    "0 */6 * * *",
    "*/15 9-17 * * mon-fri",
    "0,30 8-18 * * *",
    "20 1-3 * * *",
    "15 2 * * *",
    "0 0 * * *",
    "30 4 * * mon",
    "0 22 * * sun",
    "10 3 * * tue,thu",
    "59 1 * * sat",
    "30 6 1,15 * *",
    "0 12 1 * *",
    "0 9 15 6,12 *",
    "0 0 1 1 *",
    "45 23 31 12 *",
    "0 0 29 2 *",
)
NEVER = ("0 0 31 2 *", "0 0 30 2 */7", "0 0 31 2,4,6,9,11 *", "*/5 2 8-14 3 */7")
HOSTILE = (
    f"{','.join(['*'] * 2043)} * * * *",
    f"{','.join(['0-59/1'] * 584)} * * * *",
    f"{','.join(['59'] * 1362)} * * * *",
    f"0 0 * * {','.join(['sun-sat'] * 510)}",
    "9" * 4096,
    f"{'9' * 4088} * * * *",
    "*" * 4096,
    "H(" * 2048,
    "0~" * 2044 + " * * * *",
    " " * 4096,
)

Step = Callable[[], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One library. build: its object for an expression; walk: a call that moves on to the next time, by its own object."""

    name: str
    build: Callable[[str, str], object]
    walk: Callable[[str, str], Step]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--no-write", action="store_true")
    parser.add_argument("--cold", metavar="ZONE", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.cold:
        print(json.dumps(cold(given.cold)))
        return
    text = report(given.rounds)
    print(text)
    if not given.no_write:
        readme = README.read_text(encoding="utf-8")
        before, _, rest = readme.partition(BEGIN)
        README.write_text(before + BEGIN + text + END + rest.partition(END)[2], encoding="utf-8")


def peers() -> list[Peer]:
    """Return all that are measured, offbeat's two doors first."""
    return [
        Peer(name="offbeat, epoch seconds", build=_rule, walk=_walk_rule),
        Peer(name="offbeat.Cron, datetimes", build=_cron, walk=_walk_cron),
        Peer(name="cronsim", build=_cronsim, walk=lambda expression, zone: _cronsim(expression, zone).__next__),
        Peer(name="croniter", build=_croniter, walk=_walk_croniter),
        Peer(name="celery crontab", build=_crontab, walk=_walk_crontab),
        Peer(name="APScheduler CronTrigger", build=_trigger, walk=_walk_trigger),
    ]


def _tz(zone: str) -> tzinfo:
    return UTC if zone == "UTC" else ZoneInfo(zone)


def _start(zone: str) -> datetime:
    return datetime.fromtimestamp(START, _tz(zone))


def _rule(expression: str, zone: str) -> Any:
    from offbeat.core.recurrences.cron import CronRecurrence
    from offbeat.core.recurrences.cronfields import parse_cron
    from offbeat.core.recurrences.zones import find_zone

    return CronRecurrence(parse_cron(expression), find_zone(zone))


def _search(expression: str, zone: str) -> object:
    return _rule(expression, zone).next_after(START)


def _walk_rule(expression: str, zone: str) -> Step:
    next_after, at = _rule(expression, zone).next_after, START

    def step() -> None:
        nonlocal at
        at = next_after(at)

    return step


def _cron(expression: str, zone: str) -> Any:
    from offbeat import Cron

    return Cron(expression, zone)


def _walk_cron(expression: str, zone: str) -> Step:
    next_after, at = _cron(expression, zone).next_after, _start("UTC")

    def step() -> None:
        nonlocal at
        at = next_after(at)

    return step


def _cronsim(expression: str, zone: str) -> Any:
    from cronsim import CronSim

    return CronSim(expression, _start(zone))


def _croniter(expression: str, zone: str) -> Any:
    from croniter import croniter

    return croniter(expression, _start(zone))


def _walk_croniter(expression: str, zone: str) -> Step:
    walker = _croniter(expression, zone)
    return lambda: walker.get_next(datetime)


_apps: dict[str, Any] = {}


def _crontab(expression: str, zone: str, nowfun: Callable[[], datetime] | None = None) -> Any:
    from celery import Celery
    from celery.schedules import crontab

    if zone not in _apps:
        _apps[zone] = Celery(set_as_current=False)
        _apps[zone].conf.timezone = zone
    minute, hour, day, month, weekday = expression.split()
    days = {"day_of_month": day, "month_of_year": month, "day_of_week": weekday}
    return crontab(minute=minute, hour=hour, **days, app=_apps[zone], nowfun=nowfun)


def _walk_crontab(expression: str, zone: str) -> Step:
    at = _start(zone)
    remaining = _crontab(expression, zone, lambda: at).remaining_estimate

    def step() -> None:
        nonlocal at
        at = at + remaining(at)

    return step


def _trigger(expression: str, zone: str) -> Any:
    from apscheduler.triggers.cron import CronTrigger

    return CronTrigger.from_crontab(expression, timezone=_tz(zone))


def _walk_trigger(expression: str, zone: str) -> Step:
    following, at = _trigger(expression, zone).get_next_fire_time, _start(zone)

    def step() -> None:
        nonlocal at
        at = following(at, at)

    return step


def timed(step: Callable[[], object], times: int) -> float:
    """Return the seconds of one call: the mean of so many."""
    began = time.perf_counter()
    for _ in range(times):
        step()
    return (time.perf_counter() - began) / times


def built_anew(build: Step, *forgetful: str) -> float:
    """Return the seconds of one construction of offbeat's while these functions remember nothing (no names: all)."""
    caches = [
        each
        for module, known in list(sys.modules.items())
        if module.startswith(("offbeat.core.recurrences.cron", "offbeat.core.recurrences.recurrence"))
        for name, each in vars(known).items()
        if hasattr(each, "cache_clear") and (name in forgetful or not forgetful)
    ]
    spent = 0.0
    for _ in range(BUILT):
        for each in caches:
            each.cache_clear()
        spent += timed(build, 1)
    return spent / BUILT


def stream(expression: str, zone: str, *, datetimes: bool) -> float:
    """Return the seconds that one due time takes in a stream."""
    source = _cron(expression, zone) if datetimes else _rule(expression, zone)
    after, until = START, START + 86_400 * 366 * 400
    ends: Any = (datetime.fromtimestamp(after, UTC), datetime.fromtimestamp(until, UTC)) if datetimes else (after, until)
    began = time.perf_counter()
    count = sum(1 for _ in islice(source.due_times(*ends), STREAM))
    return (time.perf_counter() - began) / count


Round = dict[tuple[str, str, str], float]  # (what, who, expression) to seconds


def one_round(zone: str) -> Round:
    """Measure due times once, expression by expression, one library after the other."""
    found: Round = {}
    for expression in EXPRESSIONS:
        for peer in peers():
            found["next", peer.name, expression] = timed(peer.walk(expression, zone), NEXT)
        for name, datetimes in (("offbeat, epoch seconds", False), ("offbeat.Cron, datetimes", True)):
            found["stream", name, expression] = stream(expression, zone, datetimes=datetimes)
    return found


def one_building(zone: str) -> Round:
    """Measure construction once. In rounds of their own, because what they make offbeat forget slows down what follows."""
    found: Round = {}
    for expression in EXPRESSIONS:
        for peer in peers():
            build = partial(peer.build, expression, zone)
            build()
            found["again", peer.name, expression] = timed(build, BUILT)
            if peer.name.startswith("offbeat"):
                found["fields", peer.name, expression] = built_anew(build, "parse_cron", "compile_recurrence")
                found["build", peer.name, expression] = built_anew(build)
            else:
                found["fields", peer.name, expression] = found["build", peer.name, expression] = timed(build, BUILT)
    return found


def one(rounds: list[Round], what: str, who: str, expression: str) -> float:
    """Return the seconds of one step of one expression: the median of the rounds."""
    return statistics.median(each[what, who, expression] for each in rounds)


def mean(rounds: list[Round], what: str, who: str) -> float:
    """Return the seconds of one step over all expressions."""
    return statistics.mean(one(rounds, what, who, expression) for expression in EXPRESSIONS)


def ratio(rounds: list[Round], what: str, *, whose: str, than: tuple[str, str]) -> tuple[float, float]:
    """Return how many times as fast: over all expressions together, and for the median expression."""
    whole = mean(rounds, *than) / mean(rounds, what, whose)
    return whole, statistics.median(one(rounds, *than, each) / one(rounds, what, whose, each) for each in EXPRESSIONS)


def worst(rounds: list[Round], what: str, who: str) -> tuple[float, str]:
    """Return the slowest expression's seconds, and the expression."""
    return max((one(rounds, what, who, expression), expression) for expression in EXPRESSIONS)


def cold(zone: str) -> dict[str, float]:
    """Return milliseconds of what happens once in a process: the first due time, the searches in vain, hostile text."""
    from offbeat.errors import OffbeatError

    def milliseconds(step: Step) -> float:
        began = time.perf_counter()
        try:
            step()
        except OffbeatError:
            pass
        return (time.perf_counter() - began) * 1000

    rule = _rule("15 2 * * *", zone)
    found = {"first": milliseconds(lambda: rule.next_after(START))}
    found["never"] = max(milliseconds(partial(_search, one, zone)) for one in NEVER)
    found["hostile"] = max(milliseconds(partial(_rule, one, zone)) for one in HOSTILE)
    return found


def colds(zone: str, runs: int) -> Iterator[dict[str, float]]:
    for _ in range(runs):
        done = subprocess.run([sys.executable, __file__, "--cold", zone], capture_output=True, text=True, check=True)
        yield json.loads(done.stdout)


def report(count: int) -> str:
    """Return the section: machine, tables, targets."""
    names = ("cronsim", "croniter", "celery", "APScheduler")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    head = f"{time.strftime('%Y-%m-%d')}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
    head += f"Python {platform.python_version()}, {versions}; medians of {count} rounds, {len(EXPRESSIONS)} expressions.\n"
    sections = [head]
    verdicts: list[str] = []
    for zone in ZONES:
        one_round(zone)  # warms every cache of every library
        rounds = [one_round(zone) for _ in range(count)]
        rounds = [{**each, **one_building(zone)} for each in rounds]
        sections.append(table(zone, rounds))
        verdicts += targets(zone, rounds, list(colds(zone, count)))
    goals = "| zone | target | allowed | measured | |\n|---|---|---:|---:|---|\n"
    return "\n".join([*sections, goals + "".join(verdicts)])


def table(zone: str, rounds: list[Round]) -> str:
    lines = [
        f"| {zone} | next a second | streamed a second | µs to build | fields seen | text seen | slowest expression | its µs |",
        "|---|---:|---:|---:|---:|---:|---|---:|",
    ]
    for peer in peers():
        following = mean(rounds, "next", peer.name)
        built = " | ".join(f"{mean(rounds, what, peer.name) * 1e6:.1f}" for what in ("build", "fields", "again"))
        flows = f"{1 / mean(rounds, 'stream', peer.name):,.0f}" if peer.name.startswith("offbeat") else ""
        slowest, expression = worst(rounds, "next", peer.name)
        cells = (peer.name, f"{1 / following:,.0f}", flows, built, f"`{expression}`")
        lines.append(f"| {' | '.join(cells)} | {slowest * 1e6:.1f} |")
    return "\n".join(lines) + "\n"


def targets(zone: str, rounds: list[Round], once: list[dict[str, float]]) -> Iterator[str]:
    """Yield a row for each target: a mean is over all expressions, the median expression stands in brackets."""

    def row(target: str, allowed: str, shown: str, met: bool) -> str:
        return f"| {zone} | {target} | {allowed} | {shown} | {'met' if met else '**not met**'} |\n"

    ours, doors = "offbeat, epoch seconds", ("offbeat, epoch seconds", "offbeat.Cron, datetimes")
    for door in doors:
        for what, least in (("next", 8), ("stream", 20)):
            whole, single = ratio(rounds, what, whose=door, than=("next", "cronsim"))
            words = "repeated `next_after`" if what == "next" else "streamed `due_times`"
            shown = f"{whole:.1f}x ({single:.1f}x)"
            yield row(f"{door}: {words} against cronsim", f"{least}x", shown, min(whole, single) >= least)
        slowest, expression = worst(rounds, "next", door)
        yield row(f"{door}: slowest expression, `{expression}`", "50 µs", f"{slowest * 1e6:.1f} µs", slowest <= 50e-6)
        for what, words in (
            ("build", "from nothing"),
            ("fields", "of a new text of fields seen before"),
            ("again", "of a text seen"),
        ):
            whole, single = ratio(rounds, what, whose=door, than=("build", "cronsim"))
            shown = f"{whole:.2f}x ({single:.2f}x)"
            yield row(f"{door}: construction {words} against cronsim", "1x", shown, min(whole, single) >= 1)
    for key, words in (("never", "a search for a due time that does not exist"), ("hostile", "4 KiB of hostile text")):
        slow = statistics.median(each[key] for each in once)
        yield row(f"{ours}: {words}, cold", "50 ms", f"{slow:.1f} ms", slow <= 50)
    first = statistics.median(each["first"] for each in once)
    yield f"| {zone} | {ours}: the first due time of a process, cold | | {first:.1f} ms | |\n"


if __name__ == "__main__":
    main()
