"""The long comparisons, with progress and a summary: `make differential`. Arguments: cronsim, zones, cron (all of them).

Exit status 1 when anything differs, or when one of them could not be made.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.differential import debian, peer

PAIRS = 25_000
SEED = 20_260_101
CHANGES = (
    ("America/New_York", "2026-03-08"),
    ("America/New_York", "2026-11-01"),
    ("Europe/Sofia", "2026-03-29"),
    ("Europe/Sofia", "2026-10-25"),
    ("Australia/Lord_Howe", "2026-04-05"),  # by 30 minutes
    ("Australia/Lord_Howe", "2026-10-04"),
    ("America/Havana", "2026-03-08"),  # at midnight
    ("America/Havana", "2026-11-01"),
    ("Africa/Casablanca", "2026-02-15"),  # Ramadan
    ("Africa/Casablanca", "2026-03-22"),
    ("Asia/Beirut", "2026-03-29"),
    ("Europe/Dublin", "2026-03-29"),  # negative summer time
    ("Europe/Dublin", "2026-10-25"),
    ("Pacific/Chatham", "2026-04-05"),  # from an offset with 45 minutes
    ("Antarctica/Troll", "2026-03-29"),  # by two hours
    ("Antarctica/Troll", "2026-10-25"),
    ("Asia/Pyongyang", "2018-05-04"),  # without daylight saving
    ("Antarctica/Casey", "2022-10-01"),  # by three hours, which is a minute too much to be made up for
    ("Pacific/Apia", "2011-12-30"),  # skipped a day
)


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def against_cronsim() -> bool:
    """Compare PAIRS random pairs."""
    say(f"cronsim: {PAIRS} random expressions and zones, the first {peer.COMPARED} due times of each. Left out:")
    for rule in peer.LEFT_OUT:
        say(f"  - {rule}")
    differences = []
    for number, pair in enumerate(peer.pairs(SEED), 1):
        if found := peer.difference(pair):
            differences.append(found)
            say(f"  DIFFERS {found}")
        if number % 5000 == 0:
            say(f"  {number} pairs, {len(differences)} differences")
        if number == PAIRS:
            break
    say(f"cronsim: {PAIRS} pairs, {len(differences)} differences\n")
    return not differences


def between_zone_databases() -> bool:
    """Compare the system's zone database with the tzdata package, all zones."""
    say("zone databases: every zone, every change from 2000 to 2045")
    environ = {**os.environ, "OFFBEAT_DIFFERENTIAL": "full"}
    program = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "tests/differential/test_zonedata.py"]
    status = subprocess.run(program, env=environ, check=False).returncode
    say(f"zone databases: {'the same answers' if status == 0 else 'DIFFERENCES, or not compared'}\n")
    return status == 0


def against_debians_cron() -> bool:
    """Run Debian's daemon through CHANGES."""
    if sentence := debian.lacking():
        say(f"Debian's cron: NOT COMPARED: {sentence}\n")
        return False
    changes = [debian.change_on(zone, day) for zone, day in CHANGES]
    say(f"Debian's cron: {len(changes)} changes of the clock, two daemons at a time; about a minute each pair")
    differences = jobs = firings = 0
    with tempfile.TemporaryDirectory() as folder:
        for result in debian.compare_all(changes, Path(folder)):
            jobs += result.expressions
            firings += result.firings
            differences += len(result.differences)
            say(
                f"  {result.change}: {result.expressions} expressions, {result.firings} firings ({result.merged} merged), "
                f"x{result.speed}: {len(result.differences) or 'no'} differences"
            )
            for each in result.differences:
                say(f"    DIFFERS {each}")
    say(f"Debian's cron: {jobs} expressions in {len(changes)} changes, {firings} firings, {differences} differences\n")
    return not differences


PARTS: dict[str, Callable[[], bool]] = {
    "cronsim": against_cronsim,
    "zones": between_zone_databases,
    "cron": against_debians_cron,
}


def main(chosen: list[str]) -> int:
    began = time.monotonic()
    results = {name: PARTS[name]() for name in chosen or PARTS}
    say("; ".join(f"{name}: {'agrees' if fine else 'DIFFERS, see above'}" for name, fine in results.items()))
    say(f"{time.monotonic() - began:.0f} s")
    return 0 if all(results.values()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
