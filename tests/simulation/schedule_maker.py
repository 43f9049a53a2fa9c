"""Random schedules: every kind of recurrence that due_times.py can work out, every policy, and changes from one to the next.

Draws from the world's seed only.
"""

from __future__ import annotations

from dataclasses import replace
from math import floor
from random import Random

from offbeat.core.model import AfterRestore, CatchUp, Entry, LedgerSettings, Overlap, Policy, Schedule, TaskCall, Timing
from offbeat.core.recurrences.composite import any_text
from offbeat.core.recurrences.recurrence import cron_text
from offbeat.runners.rules import Rules

ZONES = ("UTC", "Asia/Kolkata", "Europe/Sofia", "America/New_York", "Asia/Tokyo")
QUEUES = ("celery", "celery", "celery", "mail", "nowhere")
DENSE = (1, 2, 5, 7, 10, 10, 30, 60, 60, 300)
SPARSE = (1_800, 3_600, 3_600, 7_200, 21_600, 43_200, 86_400)
CRONS_DENSE = ("* * * * *", "*/2 * * * *", "H * * * *", "1-59/3 * * * *", "*/5 * * * *")
CRONS_SPARSE = (
    "H * * * *",
    "H H * * *",
    "30 4 * * 1",
    "0 12 1,15 * *",
    "H */6 * * *",
    "15 9 * * 1-5",
    "H 3 1 * 1",
    "5 0 * * *",
)


class ScheduleMaker:
    """Makes schedules. dense: due every few seconds, else every few hours."""

    def __init__(self, draw: Random, *, dense: bool, overlap: bool = True, entries: int = 6) -> None:
        self.draw, self.dense, self.overlap, self.most = draw, dense, overlap, entries
        self.made = 0
        self.often_alone = False  # most entries must not overlap
        self.settings = LedgerSettings(
            after_restore=draw.choice(tuple(AfterRestore)), keep_seconds=draw.choice((8, 8, 10, 90)) * 86_400
        )

    def schedule(self, now: float) -> Schedule:
        """Return a first schedule."""
        return self.whole(tuple(self.entry(now) for _ in range(self.draw.randint(2, self.most))))

    def changed(self, old: Schedule, now: float) -> Schedule:
        """Return the next one: something added, removed, changed in place or in time."""
        entries = list(old.entries)
        for _ in range(self.draw.randint(1, 3)):
            what = self.draw.choice(("add", "remove", "policy", "timing", "call", "same name", "toggle"))
            spot = self.draw.randrange(len(entries)) if entries else 0
            if what == "remove" and len(entries) > 1:
                del entries[spot]
            elif what in ("add", "same name") or not entries:
                again = f"e{self.draw.randint(0, self.made)}"  # a name that was there before, perhaps
                taken = what == "add" or again in {entry.name for entry in entries}
                entries.append(self.entry(now, "" if taken else again))
            else:
                entries[spot] = self._altered(entries[spot], what, now)
        return self.whole(tuple(entries[: self.most + 3]))

    def _altered(self, entry: Entry, what: str, now: float) -> Entry:
        if what == "policy":
            return replace(entry, policy=self.policy())
        if what == "timing":
            return replace(entry, timing=self.timing(entry.name, now))
        if what == "toggle":
            return replace(entry, timing=replace(entry.timing, enabled=not entry.timing.enabled))
        return replace(entry, call=self.call(entry.name)) if what == "call" else entry

    def whole(self, entries: tuple[Entry, ...]) -> Schedule:
        """Return the schedule of these entries."""
        return _schedule(entries, self.settings)

    def entry(self, now: float, name: str = "") -> Entry:
        """Return an entry that may be anything."""
        if not name:
            self.made += 1
            name = f"e{self.made}"
        return Entry(name=name, timing=self.timing(name, now), call=self.call(name), policy=self.policy())

    def call(self, name: str) -> TaskCall:
        expires = self.draw.choice((None, None, None, 30, 3_600))
        args = (self.draw.randint(1, 99),)
        return TaskCall(task=f"sim.tasks.{name}", args=args, queue=self.draw.choice(QUEUES), expires=expires)

    def timing(self, name: str, now: float) -> Timing:
        zone = self.draw.choice(ZONES)
        starts = self.draw.choice((None,) * 8 + (floor(now) + self.span(1.0),))
        ends = self.draw.choice((None,) * 8 + (floor(now) + self.span(4.0),))
        return Timing(
            recurrence=self.recurrence(name, zone, now),
            zone=zone,
            starts_at=starts,
            ends_at=ends,
            enabled=self.draw.random() > 0.05,
        )

    def span(self, scale: float) -> int:
        return floor(self.draw.random() * scale * (600 if self.dense else 3 * 86_400))

    def recurrence(self, name: str, zone: str, now: float) -> str:
        kind = self.draw.choice(("every", "every", "every", "cron", "cron", "at", "any"))
        if kind == "at":
            ahead = [floor(now) + self.draw.randint(-80, 0) if self.draw.random() < 0.3 else floor(now) + self.span(1.0)]
            return "at " + ",".join(map(str, sorted(set(ahead + [floor(now) + self.span(3.0)]))))
        if kind == "any":
            return any_text([self.every(), self.cron(name, zone)])
        return self.every() if kind == "every" else self.cron(name, zone)

    def every(self) -> str:
        seconds = self.draw.choice(DENSE if self.dense else SPARSE)
        return f"every {seconds} {self.draw.choice((0, self.draw.randrange(seconds)))}"

    def cron(self, name: str, zone: str) -> str:
        return cron_text(self.draw.choice(CRONS_DENSE if self.dense else CRONS_SPARSE), zone=zone, seed=name)

    def policy(self) -> Policy:
        overlap = (
            self.draw.choice((Overlap.ALLOW,) * (1 if self.often_alone else 2) + (Overlap.SKIP, Overlap.WAIT))
            if self.overlap
            else Overlap.ALLOW
        )
        short = (5, 60, 120, 400) if self.dense else (600, 3_600, 7_200)
        percent = self.draw.choice((0, 0, 0, 0, 10))
        return Policy(
            catch_up=self.draw.choice((CatchUp.LATEST, CatchUp.LATEST, CatchUp.ALL, CatchUp.NONE)),
            grace=self.draw.choice((None, None, *short)),
            jitter=0 if percent else self.draw.choice((0, 0, 0, 4, 40)),
            jitter_percent=percent,
            overlap=overlap,
            max_runtime=None if overlap is Overlap.ALLOW else self.draw.choice((20, 60, 300)),
        )


def _schedule(entries: tuple[Entry, ...], settings: LedgerSettings) -> Schedule:
    """Return the schedule as a runner compiles it, with the digest that it has then."""
    return Rules().ruled(Schedule(project="sim", timezone="UTC", entries=entries, ledger=settings))


def half_of(schedule: Schedule, draw: Random) -> Schedule:
    """Return what a reader sees of a checkout at work: some of the entries, under a digest of its own."""
    return _schedule(tuple(entry for entry in schedule.entries if draw.random() < 0.5), schedule.ledger)
