"""Runs every fault against every peer, and writes the table of README.md and bench/README.md.

Usage: python -m bench.faults [--case TEXT] [--peer NAME] [--no-write]. Takes a quarter of an hour: the minutes are real.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

from bench.faults.cases import CASES, Case, Count, run_case
from bench.faults.peers import Beat, Offbeat, OffbeatAll, OffbeatRedis, Peer, RedBeat
from bench.faults.wire import Wire

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = (ROOT / "README.md", ROOT / "bench" / "README.md")
BEGIN, END = "<!-- faults: begin -->\n", "<!-- faults: end -->\n"
PEERS: dict[str, type[Peer]] = {
    "celery beat": Beat,
    "RedBeat": RedBeat,
    "offbeat": Offbeat,
    'offbeat, `catch_up = "all"`': OffbeatAll,
    "offbeat, all on one Redis": OffbeatRedis,
}
QUIET = 3  # the first cases are minutes of waiting: they run side by side


def main() -> None:
    options = parse_options()
    cases = [case for case in CASES if options.case in case.name]
    peers = {name: kind for name, kind in PEERS.items() if options.peer in name}
    with tempfile.TemporaryDirectory(prefix="offbeat-faults-") as folder:
        found: dict[tuple[str, str], Count] = {}
        for together in ([c for c in cases if c in CASES[:QUIET]], *([c] for c in cases if c in CASES[QUIET:])):
            found |= run_together(together, peers, Path(folder))
    table = format_table(cases, list(peers), found)
    sys.stdout.write(table)
    if options.write:
        for page in PAGES:
            before, mark, rest = page.read_text(encoding="utf-8").partition(BEGIN)
            if mark:
                page.write_text(before + BEGIN + table + END + rest.partition(END)[2], encoding="utf-8")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.faults", description=__doc__.partition("\n")[0])
    parser.add_argument("--case", default="", help="only cases with this in their name")
    parser.add_argument("--peer", default="", help="only peers with this in their name")
    parser.add_argument("--no-write", dest="write", action="store_false", help="only print the table")
    return parser.parse_args()


def run_together(cases: Sequence[Case], peers: dict[str, type[Peer]], folder: Path) -> dict[tuple[str, str], Count]:
    """Run these cases for all peers at once, each with a Redis of its own."""
    lanes = [(case, name) for case in cases for name in peers]
    if not lanes:
        return {}
    with ThreadPoolExecutor(len(lanes)) as pool:
        counts = list(pool.map(lambda lane: one(*lane, peers[lane[1]], folder), lanes))
    return {(case.name, name): count for (case, name), count in zip(lanes, counts, strict=True)}


def one(case: Case, name: str, kind: type[Peer], folder: Path) -> Count:
    """Run one case against one peer in a folder of its own."""
    place = Path(tempfile.mkdtemp(dir=folder))
    count = run_case(case, kind(name=name, folder=place / "peer", wire=Wire(folder=place / "redis"), load=case.load()))
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {case.name} | {name}: {words(count)}\n")
    return count


def words(count: Count) -> str:
    """Return what a cell says."""
    said = [f"{count.sent} of {count.due}"]
    if count.explained:
        said.append(f"{count.explained} skipped with a reason")
    if count.lost:
        said.append(f"**{count.lost} lost**")
    if count.repeated:
        said.append(f"**{count.repeated} repeated**")
    return ", ".join([*said, *([count.note] if count.note else [])])


def format_table(cases: Sequence[Case], peers: Sequence[str], found: dict[tuple[str, str], Count]) -> str:
    """Return the Markdown between the two marks."""
    lines = ["| fault | " + " | ".join(peers) + " |", "|---|" + "---|" * len(peers)]
    for case in cases:
        lines.append(f"| {case.name} | " + " | ".join(words(found[case.name, name]) for name in peers) + " |")
    packages = ", ".join(f"{name} {version(name)}" for name in ("celery", "celery-redbeat", "redis"))
    system = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return "\n".join(
        [*lines, "", f"Messages sent of those due; {time.strftime('%Y-%m-%d')}, {system}, {packages}, defaults.", ""]
    )


if __name__ == "__main__":
    main()
