"""Herds: entries that come due in the same minute and are worth spreading. The rule is in docs/how-to/spread-the-load.md.

Never changes a schedule: it says who, when, and by how much.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from offbeat.core.explain_cron import listed
from offbeat.core.load import MINUTES, Load, Member

LEAST = 5  # entries in one minute; fewer are no herd
PEAK = 4  # times the entries of the median minute; less is no peak
CALM = 4  # tasks a minute that a herd should be spread to
_SPREADS = (1, 2, 5, 10, 15, 30, 60)  # minutes of jitter
_HOURLY = tuple(sum(1 << hour * 60 + minute for hour in range(24)) for minute in range(60))


@dataclass(frozen=True, slots=True, kw_only=True)
class Herd:
    """Entries that come due together.

    names: sorted. minutes: of the day. hourly: it is these minutes of every hour, 0 to 59. queues: None stands for commands.
    spread: minutes of jitter that would calm it. most: how many of them at once, at most: some may be due on other days.
    """

    names: tuple[str, ...]
    queues: tuple[str | None, ...]
    minutes: tuple[int, ...]
    hourly: bool
    spread: int
    most: int

    @property
    def when(self) -> str:
        """Return when it comes due, in words.

        >>> Herd(names=(), queues=(), minutes=(0, 30), hourly=True, spread=5, most=0).when
        ':00 and :30 of every hour'
        """
        few = self.minutes if len(self.minutes) <= 6 else self.minutes[:4]
        texts = [f":{each:02}" if self.hourly else f"{each // 60:02}:{each % 60:02}" for each in few]
        if len(few) < len(self.minutes):
            texts.append(f"{len(self.minutes) - len(few)} minutes more")
        return listed(texts) + (" of every hour" if self.hourly else "")


def find_herds(load: Load) -> tuple[Herd, ...]:
    """Return the herds, the largest first.

    A minute has a herd when on one day at least LEAST different entries come due in it, and at least PEAK times as many as in
    the median minute of the day. Only entries that count for a herd count, on both sides: how often each is due does not.
    Entries of every hour are a herd of their own, and not again in the single minutes.
    """
    least = max(LEAST, PEAK * median(load.together))
    members = [member for member in load.members if member.herds]
    found: list[Herd] = []
    hourly: dict[int, frozenset[int]] = {}
    groups: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
    for minute, pattern in enumerate(_HOURLY):
        together = tuple(place for place, member in enumerate(members) if member.minutes & pattern == pattern)
        hourly[minute] = frozenset(together)
        if _size(members, together) >= least and max(load.together[minute::60]) >= least:
            groups[together].append(minute)
    found += (_herd(members, together, load.together, minutes=minutes, hourly=True) for together, minutes in groups.items())
    groups.clear()
    sizes = [_size(members, hourly[minute]) for minute in range(60)]
    on_top = [count - sizes[minute % 60] for minute, count in enumerate(load.together)]
    for minute, count in enumerate(on_top):
        if count >= least:
            always = hourly[minute % 60]
            together = tuple(p for p, member in enumerate(members) if member.minutes >> minute & 1 and p not in always)
            if _size(members, together) >= least:
                groups[together].append(minute)
    found += (_herd(members, together, on_top, minutes=minutes, hourly=False) for together, minutes in groups.items())
    return tuple(sorted(found, key=lambda herd: (-len(herd.names), not herd.hourly, herd.minutes)))


def herd_minutes(herds: Sequence[Herd]) -> frozenset[int]:
    """Return the minutes of the day that have a herd."""
    return frozenset(_minutes(herds))


def _minutes(herds: Sequence[Herd]) -> Iterator[int]:
    for herd in herds:
        for minute in herd.minutes:
            yield from range(minute, MINUTES, 60) if herd.hourly else (minute,)


def _size(members: Sequence[Member], places: Collection[int]) -> int:
    return sum(len(members[place].names) for place in places)


def _herd(
    members: Sequence[Member], together: Sequence[int], most: Sequence[float], *, minutes: Sequence[int], hourly: bool
) -> Herd:
    names = sorted(name for place in together for name in members[place].names)
    queues = {members[place].queue for place in together}
    around = 60 if hourly else MINUTES
    gap = min(later - before for before, later in pairwise([*minutes, minutes[0] + around]))
    fitting = [spread for spread in _SPREADS if spread <= gap] or [1]
    return Herd(
        names=tuple(names),
        queues=tuple(sorted(queues, key=lambda queue: (queue is None, queue or ""))),
        minutes=tuple(minutes),
        hourly=hourly,
        most=min(len(names), round(max(max(most[minute::60]) if hourly else most[minute] for minute in minutes))),
        spread=next((spread for spread in fitting if len(names) <= CALM * spread), fitting[-1]),
    )
