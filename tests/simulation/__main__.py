"""A long soak, or one seed again: `python -m tests.simulation --minutes 10 --start-seed 1`, `--seed 17 --trace`.

Prints every failing seed with the rule that it breaks; exit status 1 when there is one.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from tests.simulation.scenario import Result, simulate


def main() -> int:
    options = _options()
    if options.seed is not None:
        result = simulate(options.seed, options.kind, sqlite=options.sqlite)
        if options.trace:
            for line in result.trace:
                say(" ".join(map(str, line)))
        say(summary([result]))
        for violation in result.violations:
            say(f"   {violation}")
        return int(bool(result.violations))
    return soak(options.minutes * 60, options.start_seed, options.kind, sqlite=options.sqlite)


def soak(seconds: float, first: int, kind: str, *, sqlite: bool = False) -> int:
    """Run seed after seed for so long."""
    began, told = time.monotonic(), time.monotonic()
    results: list[Result] = []
    failing = 0
    while time.monotonic() - began < seconds:
        result = simulate(first + len(results), kind, sqlite=sqlite)
        results.append(result)
        if result.violations:
            failing += 1
            say(f"seed {result.seed} ({result.kind}): {len(result.violations)} violations; the first: {result.violations[0]}")
        if time.monotonic() - told > 10:
            told = time.monotonic()
            say(summary(results))
    say(summary(results))
    return int(bool(failing))


def summary(results: list[Result]) -> str:
    """Return what so many runs came to."""
    counts = sum((result.counts for result in results), Counter[str]())
    days = sum(result.days for result in results)
    failing = sum(1 for result in results if result.violations)
    return (
        f"{len(results)} seeds, {days:,.1f} simulated days, {counts['push']:,} pushed ({counts['repeated push']:,} again), "
        f"{counts['start']:,} started ({counts['start again']:,} by redelivery or retry, "
        f"{counts['start repeated in silence']:,} repeated while the ledger was silent), "
        f"{counts['look']:,} looks, {counts['claim']:,} claims; {failing} seeds fail"
    )


def say(text: str) -> None:
    """Write a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--start-seed", type=int, default=1)
    parser.add_argument("--seed", type=int, help="run this one only")
    parser.add_argument("--kind", default="", help="only runs of this kind")
    parser.add_argument("--sqlite", action="store_true", help="on a SQLite ledger in a file, but for kinds that it cannot do")
    parser.add_argument("--trace", action="store_true", help="print everything that happens")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
