"""The checker's own simple model: which versions of entries there were, which pauses, and what must be known of a due time.

Written from the ledger's rules in words, not from its code. All instants are by the store's clock.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import ceil, floor, inf

from tests.simulation.due_times import due_times

from offbeat.core.model import PUNCTUAL, Entry, Policy, Schedule, Timing


@dataclass(slots=True, kw_only=True)
class Version:
    """An entry as it stood in [first, until), by the rules of ledger rule 3.

    sure_from, sure_until: between these nobody can doubt it; they differ from first and until only where a clock had been
    ahead when the change was made, and what is decided already stays. passed: instants of an `at` that the change recorded.
    """

    timing: Timing
    first: int
    sure_from: int
    until: int | None = None
    sure_until: int | None = None
    passed: tuple[int, ...] = ()

    def due(self, low: int, high: int, *, sure: bool) -> list[int]:
        """Return its due times in [low, high]: those that must be known (sure), or those that may be."""
        if not self.timing.enabled:
            return []
        first, until = (self.sure_from, self.sure_until) if sure else (self.first, self.until)
        lows = [low, first, *(() if self.timing.starts_at is None else (self.timing.starts_at,))]
        highs = [
            high,
            *(() if until is None else (until - 1,)),
            *(() if self.timing.ends_at is None else (self.timing.ends_at,)),
        ]
        found = due_times(self.timing.recurrence, self.timing.zone, max(lows), min(highs))
        return sorted({*found, *(at for at in self.passed if low <= at <= high)})


@dataclass(slots=True, kw_only=True)
class Pause:
    """A pause of one entry ("": all) in [since, until).

    sure: nothing later than its begin was decided when it was made. longest: the latest end that it ever had.
    """

    name: str
    since: float
    until: float | None
    longest: float
    sure: bool = True

    def holds(self, instant: float) -> bool:
        return self.since <= instant and (self.until is None or instant < self.until)


@dataclass(slots=True, kw_only=True)
class Book:
    """Everything that the ledger was told of its schedule."""

    revision: int = 0
    active: Schedule | None = None
    deployed: bool = False
    entries: dict[str, Entry] = field(default_factory=dict)
    versions: dict[str, list[Version]] = field(default_factory=dict)
    pauses: list[Pause] = field(default_factory=list)
    removed: set[str] = field(default_factory=set)  # names that were not in the schedule, or disabled, at some time since
    policies: dict[str, list[Policy]] = field(default_factory=dict)  # all that a name ever had
    skipped: set[tuple[str, int]] = field(default_factory=set)

    def activate(self, schedule: Schedule, revision: int, now: float, newest: float) -> None:
        """A revision came into force. newest: the newest instant that the store's clock ever showed."""
        begins, sure = floor(now) + 1, floor(max(now, newest)) + 1
        coming = {entry.name: entry for entry in schedule.entries}
        for name, old in self.entries.items():
            if name not in coming or coming[name].timing != old.timing:
                self._end(name, begins, sure)
            if name not in coming or not coming[name].timing.enabled:
                self.removed.add(name)
        for name, entry in coming.items():
            self.policies.setdefault(name, []).append(entry.policy)
            if name not in self.entries or self.entries[name].timing != entry.timing:
                passed = self._passed(entry.timing, now) if self.revision else ()
                version = Version(timing=entry.timing, first=begins, sure_from=sure, passed=passed)
                self.versions.setdefault(name, []).append(version)
        self.revision, self.active, self.entries = revision, schedule, coming

    def _end(self, name: str, begins: int, sure: int) -> None:
        open_one = self.versions[name][-1]
        open_one.until, open_one.sure_until = max(sure, begins), begins

    def _passed(self, timing: Timing, now: float) -> tuple[int, ...]:
        """Return the instants of an `at` that have just passed: the change itself records them (ledger rule 2)."""
        if not timing.recurrence.startswith("at "):
            return ()
        low, high = floor(now) - PUNCTUAL + 1, floor(now)
        low = low if timing.starts_at is None else max(low, timing.starts_at)
        high = high if timing.ends_at is None else min(high, timing.ends_at)
        return tuple(due_times(timing.recurrence, timing.zone, low, high)) if timing.enabled else ()

    def rewind(self, to: int, now: float) -> None:
        """Let what began or ended in a future of the clock do so after `to`; what was in force by now was so all the same."""
        wrong = max(to, floor(now)) + 1

        def back(at: int) -> int:
            return to + 1 if at > wrong else at

        for version in (version for versions in self.versions.values() for version in versions):
            version.first, version.sure_from = back(version.first), back(version.sure_from)
            version.until = None if version.until is None else back(version.until)
            version.sure_until = None if version.sure_until is None else back(version.sure_until)

    def due(self, name: str, low: int, high: int, *, sure: bool) -> list[int]:
        """Return the due times of an entry in [low, high], of all its versions."""
        return sorted({at for version in self.versions.get(name, ()) for at in version.due(low, high, sure=sure)})

    def pause(self, name: str, until: float | None, now: float, *, sure: bool) -> None:
        """While it is paused already, the same interval gets another end."""
        for pause in self.pauses:
            if pause.name == name and pause.holds(now):
                pause.until, pause.sure = until, pause.sure and sure
                pause.longest = max(pause.longest, inf if until is None else until)
                return
        self.pauses.append(Pause(name=name, since=now, until=until, sure=sure, longest=inf if until is None else until))

    def resume(self, name: str, now: float) -> None:
        for pause in self.pauses:
            if pause.name == name and pause.holds(now):
                pause.until = now

    def is_paused(self, name: str, instant: float, *, sure: bool = False) -> bool:
        """Return whether an instant lies in a pause of the entry, or of all, or is skipped by hand."""
        if (name, floor(instant)) in self.skipped:
            return True
        return any(p.holds(instant) and (p.sure or not sure) for p in self.pauses if p.name in ("", name))

    def was_paused(self, name: str, instant: float) -> bool:
        """Return whether an instant lay in a pause for a time, at least."""
        paused = any(p.since <= instant < p.longest for p in self.pauses if p.name in ("", name))
        return paused or (name, floor(instant)) in self.skipped

    def has_usable(self, name: str, after: int, until: float, *, sure: bool) -> bool:
        """Return whether the entry was due in (after, until] at an instant that no pause covers. sure: beyond any doubt."""
        return any(not self.is_paused(name, at, sure=not sure) for at in self._rising(name, after + 1, floor(until), sure=sure))

    def _rising(self, name: str, low: int, high: int, *, sure: bool) -> Iterator[int]:
        """Yield due times from the front, a widening piece at a time: mostly the first one answers."""
        step = 120
        while low <= high:
            yield from self.due(name, low, min(low + step - 1, high), sure=sure)
            low, step = low + step, step * 8


def inside(times: list[int], low: int, high: int) -> list[int]:
    """Return what lies in [low, high] of a sorted list."""
    return times[bisect_right(times, low - 1) : bisect_right(times, high)]


def is_late(due_at: int, now: float) -> bool:
    """Return whether a due time is more than punctual late."""
    return now - due_at > PUNCTUAL


def spread_at_most(timing: Timing, policy: Policy, due_at: int) -> int:
    """Return by how much a send time may follow its due time at most."""
    if not policy.jitter and not policy.jitter_percent:
        return 0
    horizon = due_at + 400 * 86_400
    found: list[int] = []
    step = 3_600
    while not found and due_at + step <= horizon * 2:
        found = due_times(timing.recurrence, timing.zone, due_at + 1, min(due_at + step, horizon))
        if due_at + step >= horizon:
            break
        step *= 8
    if not found:
        return policy.jitter
    gap = found[0] - due_at
    return min(gap - 1, gap * policy.jitter_percent // 100 if policy.jitter_percent else policy.jitter)


__all__ = ["Book", "Pause", "Version", "ceil", "inside", "is_late", "spread_at_most"]
