"""Debian's cron daemon on a fake clock: what it starts around a change of the clocks, beside the due times of offbeat.

Never touches the machine's own crontabs: the daemon lives in a mount namespace. Needs Linux, root, cron and libfaketime.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from tests import servers

from offbeat.core.recurrences.cron import CronRecurrence
from offbeat.core.recurrences.cronfields import parse_cron
from offbeat.core.recurrences.zones import find_zone

SPEED = 160  # fake seconds in a real one where the clock goes back; less when the daemon cannot keep up
SPEED_OF_A_GAP = 75  # all that is made up for is started within one fake minute
ATTEMPTS = 4
LATEST = 50  # second of its minute in which a firing may be written down; later it might belong to the minute before
EVERY_MINUTE = "* * * * *"

# $1: the crontab, $2: an empty folder, $3: file for the start, $4: real seconds, $5: zone, $6: fake time, $7: the library,
# $8: cron's PAM file. Everything that Debian's cron reads or locks is hidden behind ours. `timeout` lives on real time, and so
# do the lines that cron starts, for it hands down no variable that the crontab does not name.
NAMESPACE = """
set -e
mount -t tmpfs none /run
mount --bind "$2" /var/spool/cron/crontabs
mount --bind "$2" /etc/cron.d
chown 0:0 "$1"
chmod 644 "$1"
mount --bind "$1" /etc/crontab
mount --bind "$8" /etc/pam.d/cron
date +%s.%N >"$3"
exec timeout -k 2 "$4" env TZ="$5" FAKETIME="$6" LD_PRELOAD="$7" cron -f
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of a zone's clock. at: the first instant with the new offset; before, after: the offsets, in seconds."""

    zone: str
    at: int
    before: int
    after: int

    def __str__(self) -> str:
        local = datetime.fromtimestamp(self.at, UTC) + timedelta(seconds=self.before)
        return f"{self.zone} {local:%Y-%m-%d %H:%M} {(self.after - self.before) // 60:+d} min"

    @property
    def begin(self) -> int:
        """The fake time at which the daemon starts: before the first pass of what will be shown twice."""
        return self.at - 1230 - (max(self.before - self.after, 0) if self.is_small else 0)

    @property
    def end(self) -> int:
        """The fake time up to which firings are compared: what the clock showed twice is over, or the gap an hour ago."""
        back = max(self.before - self.after, 0) if self.is_small else 0
        return self.at + (back + 1860 if back else 3720)

    @property
    def resumed(self) -> int | None:
        """The first whole minute after a gap that Debian's cron makes up for, None where there is none."""
        return -(-self.at // 60) * 60 if self.after > self.before and self.is_small else None

    @property
    def is_small(self) -> bool:
        """Whether Debian's cron treats it as daylight saving: a step of 180 minutes at most, its own minute included."""
        return -3 * 3600 <= self.after - self.before < 3 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One change, job by job. firings: what the daemon started; merged: firings after a gap beyond the first of their job."""

    change: Change
    speed: int
    expressions: int
    firings: int
    merged: int
    differences: tuple[str, ...]


def change_on(zone: str, day: str) -> Change:
    """Return the change of a zone's clock in the 48 hours around noon UTC of a day."""
    tz = ZoneInfo(zone)
    noon = int(datetime.fromisoformat(f"{day}T12:00:00Z").timestamp())
    known = _offset(noon - 86_400, tz)
    for instant in range(noon - 86_400, noon + 86_400, 60):
        if _offset(instant, tz) != known:
            return Change(zone=zone, at=instant, before=known, after=_offset(instant, tz))
    raise LookupError(f"the clocks of {zone} do not change on {day}")


def _offset(instant: int, tz: ZoneInfo) -> int:
    offset = datetime.fromtimestamp(instant, tz).utcoffset()
    assert offset is not None
    return int(offset.total_seconds())


def expressions_for(change: Change) -> list[str]:
    """Return what to put into the crontab: fixed times, wildcards, ranges, steps, lists, days around the change.

    Fixed times fall on quarters of an hour: the daemon takes up to 10 s for each minute that it makes up for, and has to be
    done before the first minute after the gap ends, else it is late for reasons that are not the schedule's.
    """
    odd = change.at + min(change.before, change.after)  # local: what is skipped, or shown twice, begins here
    at = datetime.fromtimestamp(odd, UTC)
    h, p, n, later = at.hour, (at.hour - 1) % 24, (at.hour + 1) % 24, (at.hour + 2) % 24
    d, m, w = at.day, at.month, at.isoweekday() % 7
    name = ("SUN", "mon", "Tue", "wed", "thu", "fri", "sat")[w]
    three = ",".join(map(str, sorted((p, h, n))))
    span = f"{p}-{n}" if p < n else three
    other, other_w = d % 28 + 1, (w + 3) % 7
    every = [EVERY_MINUTE, "*/5 * * * *", "*/15 * * * *", "*/45 * * * *", "0 * * * *", "30 * * * *", "7,37 * * * *"]
    fixed = [f"{minute} {hour} * * *" for hour in (h, n, later) for minute in (0, 15, 30, 45)]
    ranges = [f"0,30 {three} * * *", f"0-45/15 {h} * * *", f"15-45/30 {span} * * *", "30 0-23 * * *", f"1-4 {n} * * *"]
    ranges += [f"59 {p} * * *", f"50-59/3 {p} * * *", "45 0-22/2 * * *", "15 1-23/2 * * *", "0,30 0-23/1 * * *"]
    stars = [f"*/15 {h} * * *", f"*/30 {span} * * *", f"* {h} * * *", "15 */2 * * *", "45 */3 * * *", "*,30 0-23 * * *"]
    days = [f"30 {h} {d} * *", f"30 {h} * {m} *", f"30 {h} * * {name}", f"15 {h} {d} {m} {w}", f"0 {h} {other} * {w}"]
    days += [f"45 {h} */2 * {w}", f"30 {h} {d} * {other_w}", f"30 {h} {d} * */{w or 7}", f"30 {h} * * {other_w}"]
    days += [f"30 {n} {d} * *", f"*/30 {h} {d} {m} *", f"*/30 {h} {other} * {other_w}", f"30 {three} {d}-31 * *"]
    end = datetime.fromtimestamp((change.resumed or change.at) + change.after, UTC)
    return [
        *every,
        *fixed,
        *ranges,
        *stars,
        *days,
        "@hourly",
        "@daily",
        "@midnight",
        f"{end.minute} {end.hour} * * *",
        EVERY_MINUTE,
    ]


def lacking() -> str:
    """Return, as a sentence, why the daemon cannot be run here; "" when it can."""
    if sys.platform != "linux":
        return "this test is about Debian's cron, under Linux"
    if faketime() is None or servers.find("cron") is None:
        return "cron or libfaketime is not installed: run scripts/install-test-servers"
    probe = subprocess.run([*_as_root(), "unshare", "--mount", "true"], capture_output=True, check=False)
    if probe.returncode != 0:
        return "a cron daemon beside the machine's own needs root and a mount namespace: sudo make differential"
    return ""


def faketime() -> Path | None:
    """Return the path of libfaketime, None where it is not installed."""
    places = ("/usr/lib/*/faketime/libfaketime.so.1", "/usr/lib*/faketime/libfaketime.so.1")
    return next((path for place in places for path in Path("/").glob(place[1:])), None)


def _as_root() -> list[str]:
    return [] if os.geteuid() == 0 else ["sudo", "-n"]


def compare(change: Change, folder: Path) -> Comparison:
    """Run the daemon through one change and compare every job; slower when the machine was too busy for it.

    Raises: AssertionError when the daemon does not keep up at the slowest speed either.
    """
    speed = SPEED_OF_A_GAP if change.resumed is not None else SPEED
    for attempt in range(ATTEMPTS):
        here = folder / f"{change.zone.replace('/', '-')}-{change.at}-{attempt}"
        here.mkdir(parents=True)
        seen = firings(change, here, speed=speed)
        trouble = unsteady(change, seen)
        if not trouble:
            return judge(change, seen, speed=speed)
        speed = speed * 2 // 3
    raise AssertionError(f"cron did not keep up with the fake clock of {change}: {trouble}")


def firings(change: Change, folder: Path, *, speed: int) -> list[list[float]]:
    """Return, for each expression, the fake instants at which the daemon started its line."""
    expressions = expressions_for(change)
    log, crontab, started, empty, pam = (folder / name for name in ("log", "crontab", "started", "empty", "pam"))
    empty.mkdir()
    log.touch()
    pam.write_text("".join(f"{kind} required pam_permit.so\n" for kind in ("auth", "account", "session")))  # the quickest
    lines = ["SHELL=/bin/bash", 'MAILTO=""']
    for place, expression in enumerate(expressions):
        lines.append(f"{expression} root echo {place} $EPOCHREALTIME >>{shlex.quote(str(log))}")
    crontab.write_text("\n".join(lines) + "\n")
    wall = (change.end - change.begin + 90) / speed + 1
    shown = datetime.fromtimestamp(change.begin, ZoneInfo(change.zone))
    arguments = [crontab, empty, started, f"{wall:.1f}", change.zone, f"@{shown:%Y-%m-%d %H:%M:%S} x{speed}", faketime(), pam]
    command = [*_as_root(), "unshare", "--mount", "--propagation", "private", "sh", "-c", NAMESPACE, "sh", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=wall + 60)
    if done.returncode not in (124, 137):  # what `timeout` says when it had to end it
        raise AssertionError(f"cron did not stay: status {done.returncode}: {done.stderr}")
    began = float(started.read_text())
    seen: list[list[float]] = [[] for _ in expressions]
    for line in log.read_text().splitlines():
        number, real = line.split()
        seen[int(number)].append(change.begin + (float(real) - began) * speed)
    return seen


def unsteady(change: Change, seen: Sequence[Sequence[float]]) -> str:
    """Return what went wrong with the lines that show whether the daemon kept up, "" when nothing did.

    They are `* * * * *`, the first line and the last, and the fixed time at which all is made up for. If one of them comes
    late, so may the others, for reasons that are not the schedule's.
    """
    wanted = list(minutes_of(change))
    for instants in (seen[0], seen[-1]):
        compared = sorted(each for each in instants if wanted[0] <= each < wanted[-1] + 60)
        if [int(each) // 60 * 60 for each in compared] != wanted:
            return f"{len(compared)} firings in {len(wanted)} minutes"
        late = max(each % 60 for each in compared)
        if late > LATEST:
            return f"a firing came {late:.0f} s late"
    if change.resumed is not None and not any(0 <= each - change.resumed <= LATEST for each in seen[-2]):
        return "the gap was not made up for within a minute"
    return ""


def minutes_of(change: Change) -> range:
    """Return the whole minutes in which firings are compared."""
    return range(-(-(change.begin + 60) // 60) * 60, change.end, 60)


def judge(change: Change, seen: Sequence[Sequence[float]], *, speed: int) -> Comparison:
    """Compare job by job: the minutes of the firings against the due times.

    The daemon starts a fixed job once for each minute of a gap, offbeat once for all of them, at the first minute after it:
    there, and nowhere else, several firings of a job in one minute count as one.
    """
    expressions = expressions_for(change)
    minutes = minutes_of(change)
    differences = []
    merged = total = 0
    for expression, instants in zip(expressions, seen, strict=True):
        fired = Counter(minute for each in instants if (minute := int(each) // 60 * 60) in minutes)
        due = Counter(due_minutes(expression, change))
        total += fired.total()
        if change.resumed is not None and change.resumed in fired:
            merged += fired[change.resumed] - 1
            fired[change.resumed] = 1
        if fired != due:
            differences.append(f'{change}: "{expression}": cron {_shown(fired, change)}, offbeat {_shown(due, change)}')
    return Comparison(
        change=change,
        speed=speed,
        expressions=len(set(expressions)),
        firings=total,
        merged=merged,
        differences=tuple(differences),
    )


def due_minutes(expression: str, change: Change) -> list[int]:
    """Return what offbeat names in the minutes that are compared."""
    minutes = minutes_of(change)
    rule = CronRecurrence(parse_cron(expression), find_zone(change.zone))
    return list(rule.due_times(minutes[0] - 1, minutes[-1]))


def _shown(minutes: Counter[int], change: Change) -> str:
    tz = ZoneInfo(change.zone)
    return ", ".join(f"{datetime.fromtimestamp(each, tz):%d %H:%M%z}" for each in sorted(minutes.elements())) or "never"


def compare_all(changes: Sequence[Change], folder: Path, *, at_once: int = 2) -> Iterator[Comparison]:
    """Yield the comparison of each change, in order, `at_once` daemons at a time."""
    with ThreadPoolExecutor(at_once) as pool:
        yield from pool.map(lambda change: compare(change, folder), changes)
