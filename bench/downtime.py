"""Measures what a year of downtime costs: 1,000 minutely entries, 525,600,000 due times, one tick; and with catch_up "all".

Usage: python -m bench.downtime [--no-write]. Writes its table of bench/README.md; the ledger's clock is set, not waited for.
"""

from __future__ import annotations

import argparse
import platform
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from offbeat.core.plan import plan
from offbeat.ports.clock import FakeClock
from offbeat.ports.files import stamp
from offbeat.ports.ledger_open import open_ledger
from offbeat.ports.ledger_values import Runner
from offbeat.runners.site import Site

README = Path(__file__).resolve().parent / "README.md"
BEGIN, END = "<!-- downtime: begin -->\n", "<!-- downtime: end -->\n"
NOON, YEAR, ENTRIES = 1_772_366_400, 365 * 86_400, 1000
ALLOWED = {
    "latest": 2.0,
    "all": 120.0,
}  # seconds to plan and record, by catch_up; with `all` 200 rows of each entry are written
PORTION = 500  # members of one portion, as a runner takes them


def main() -> int:
    """Measure, print, and write the table; return 1 when the budget is not met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-write", action="store_true", help="print the table only")
    given = parser.parse_args()
    runs = []
    for catch_up in ALLOWED:
        with tempfile.TemporaryDirectory() as folder:
            runs.append(measure(Path(folder), catch_up))
    text = table(runs)
    sys.stdout.write(text)
    if not given.no_write:
        write(text)
    return int(any(figures["seconds"] > ALLOWED[figures["catch_up"]] for figures in runs))


def measure(folder: Path, catch_up: str = "latest") -> dict[str, Any]:
    """Return what planning a year costs on a SQLite ledger, until no more can be recorded: seconds, calls, rows, memory."""
    tree = folder / "cron"
    tree.mkdir()
    entries = "".join(f'[entries.e{n}]\nevery = "1m"\ntask = "shop.t"\ncatch_up = "{catch_up}"\n' for n in range(ENTRIES))
    (tree / "schedule.toml").write_text(f'project = "shop"\n{entries}')
    clock = FakeClock(float(NOON))
    site = Site(tree=tree, root=folder, environ={"XDG_STATE_HOME": str(folder / "state")}, clock=clock)
    schedule, _ = site.read()
    assert schedule is not None
    runner = Runner(id="bench", host="bench", pid=1, role="tick")
    ledger = open_ledger(f"sqlite:///{folder / 'ledger.db'}", clock=clock, project="shop", owner="bench")
    ledger.look(runner)
    ledger.activate(schedule, stamp(tree).text)
    clock.advance(YEAR)
    ledger.look(runner)
    clock.advance(6)  # a step of a year is believed by a second look
    ledger.look(runner)
    calls, gaps, began, before = 0, 0, time.monotonic(), None
    while (portion := ledger.take(PORTION)).groups and portion.groups != before:
        windows, before = plan(portion), portion.groups
        ledger.record(runner, windows, portion.revision)
        calls, gaps = calls + 2, gaps + sum(len(w.gaps) for w in windows)
    seconds = time.monotonic() - began
    status = ledger.status()
    ledger.close()
    unit = 1024 if sys.platform.startswith("linux") else 1024 * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    rows = status.pending + status.claimed
    return {"catch_up": catch_up, "seconds": seconds, "calls": calls + 1, "rows": rows, "gaps": gaps, "peak": peak}


def table(runs: list[dict[str, Any]]) -> str:
    """Return the table as Markdown."""
    head = (
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, SQLite ledger.\n\n"
        "| catch_up | due times | seconds to plan and record | allowed | | ledger calls | rows | gaps | peak MiB |\n"
        "|---|---:|---:|---:|---|---:|---:|---:|---:|\n"
    )
    return head + "".join(map(_line, runs))


def _line(figures: dict[str, Any]) -> str:
    allowed = ALLOWED[figures["catch_up"]]
    met = "met" if figures["seconds"] <= allowed else "missed"
    return (
        f"| `{figures['catch_up']}` | {ENTRIES * YEAR // 60:,} | {figures['seconds']:.2f} | {allowed:g} | {met} "
        f"| {figures['calls']} | {figures['rows']:,} | {figures['gaps']} | {figures['peak']:.0f} |\n"
    )


def write(text: str) -> None:
    """Put the table into bench/README.md, with its heading the first time."""
    page = README.read_text(encoding="utf-8")
    if BEGIN not in page:
        about = "A year without any runner, 1,000 minutely entries, then one: `python -m bench.downtime` makes the table again."
        page = f"{page.rstrip()}\n\n# What a year of downtime costs\n\n{about}\n\n{BEGIN}{END}"
    head, _, rest = page.partition(BEGIN)
    README.write_text(head + BEGIN + text + END + rest.partition(END)[2], encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
