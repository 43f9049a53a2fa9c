"""Which data a schedule's due times are worked out with: versions of zones, holidays and the sun, and which one is older.

Never looks what is installed: ports/rules.py does. Its authority is rule 18 of the ledger's design (docs/adr/0019).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from offbeat.core.identity import fingerprint
from offbeat.core.model import Entry, Schedule
from offbeat.core.serial import canonical_text

TZDATA, HOLIDAYS, ASTRAL = "tzdata", "holidays", "astral"
NONE = "none"  # nothing that differs between hosts is used; "" is of a revision from before there were rules
UNKNOWN = "?"  # a version that is not told: older than any
_SAME_EVERYWHERE = ("every ", "at ", "solar ")  # kinds that no zone matters to
_OTHER_ZONE = re.compile(r"\d+s (?!UTC )[^ ]+ rrule|TZID=")


def packages_of(entries: Iterable[Entry]) -> tuple[str, ...]:
    """Return what the entries' due times depend on, of TZDATA, HOLIDAYS and ASTRAL."""
    timings = [entry.timing for entry in entries]
    uses = {
        TZDATA: any(
            (timing.zone != "UTC" and not timing.recurrence.startswith(_SAME_EVERYWHERE))
            or _OTHER_ZONE.search(timing.recurrence)
            for timing in timings
        ),
        HOLIDAYS: any('"holidays:' in timing.recurrence for timing in timings),
        ASTRAL: any("solar " in timing.recurrence for timing in timings),
    }
    return tuple(package for package, used in uses.items() if used)


def rules_text(versions: Mapping[str, str]) -> str:
    """Return the versions as one text.

    >>> rules_text({"tzdata": "2025b", "astral": "3.2"}), rules_text({})
    ('tzdata 2025b; astral 3.2', 'none')
    """
    return "; ".join(f"{package} {version}" for package, version in versions.items()) or NONE


def versions_in(rules: str) -> Mapping[str, str]:
    """Return the versions that `rules_text` wrote."""
    pairs = (each.partition(" ") for each in rules.split("; ") if " " in each)
    return {package: version for package, _, version in pairs}


def older_in(mine: str, theirs: str) -> tuple[str, ...]:
    """Return the packages, of those that both texts name, whose version in `mine` is older.

    >>> older_in("tzdata 2025b; holidays 0.86", "tzdata 2025c; holidays 0.85"), older_in("tzdata 2026.1", "tzdata 2026a")
    (('tzdata',), ())
    """
    have = versions_in(mine)
    return tuple(name for name, version in versions_in(theirs).items() if name in have and order(have[name]) < order(version))


def is_newer(mine: str, theirs: str) -> bool:
    """Return whether what was compiled with `theirs` is to be compiled anew with `mine`: nothing is older, something newer."""
    return theirs == "" or (not older_in(mine, theirs) and bool(older_in(theirs, mine)))


def order(version: str) -> tuple[int, ...]:
    """Return what versions are ordered by: their numbers, a letter after a year being one too.

    >>> order("2025b") == order("2025.2") < order("2025c") < order("2026a"), order("?") < order("0.9") < order("0.10")
    (True, True)
    """
    parts = re.findall(r"\d+|(?<=\d)[a-z](?![a-z])", version.lower())
    return tuple(int(part) if part.isdecimal() else ord(part) - ord("a") + 1 for part in parts)


def with_rules(schedule: Schedule, rules: str) -> Schedule:
    """Return the schedule as compiled by these rules, with the digest that it has then; as it is, if they are its own."""
    if schedule.rules == rules and schedule.digest:
        return schedule
    ruled = replace(schedule, rules=rules)
    return replace(ruled, digest=fingerprint(canonical_text(ruled).encode()))


def forget_zones() -> None:
    """Let go of every due time and zone that was kept, so that zones are read again."""
    from zoneinfo import ZoneInfo

    from offbeat.core import transitions
    from offbeat.core.recurrences import localdays, recurrence, timeline, zones

    ZoneInfo.clear_cache()
    kept = (zones._load, zones._all_names, localdays.local_days, timeline.timeline, recurrence.compile_recurrence)
    for each in (*kept, transitions.compiled, transitions.tally):
        each.cache_clear()
