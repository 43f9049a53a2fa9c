"""What the PostgreSQL ledger costs: rows a second, bytes an occurrence, and the questions that a runner asks all the time.

Usage: python -m bench.postgres [--rows N] [--rounds N] [--no-write] [--json]. The ledger's clock is set, not waited for.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

import psycopg
from tests.servers import free_port, postgres_server

from offbeat.core.identity import occurrence_id
from offbeat.core.model import CatchUp, Entry, LedgerSettings, Policy, Schedule, State, TaskCall, Timing
from offbeat.core.plan import plan
from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger_postgres import LedgerPostgres, place_of
from offbeat.ports.ledger_values import Claim, Outcome, Report, Runner

README = Path(__file__).resolve().parent / "README.md"
BEGIN, END = "<!-- postgres: begin -->\n", "<!-- postgres: end -->\n"
MORNING = 1_772_323_200  # 2026-03-01T00:00:00Z
DAY = 86_400
BATCH, STEP, MOST = 500, 200, 5_000  # rows of a claim and of a settle, as a runner asks for them; of a transaction at most
ME = Runner(id="web1.shop.example:4711:run:9f3c01aa", host="web1.shop.example", pid=4711, role="run")
WORKER = Runner(id="worker7.shop.example:815:worker:5ca1ab1e", host="worker7.shop.example", pid=815, role="worker")

# What is measured, what ledger rule 16 says of it (a transaction at a time, by a program that does nothing else), and how.
CASES = (
    ("record, settle", "occurrences/s", "{:,.0f}"),
    ("record, settle, 5,000 at a time", "occurrences/s", "{:,.0f}"),
    ("claim, settle", "occurrences/s", "{:,.0f}"),
    ("a sent occurrence: history", "bytes", "{:,.0f}"),
    ("a sent occurrence: indexes", "bytes", "{:,.0f}"),
    ("a sent occurrence: in all", "bytes", "{:,.0f}"),
    ("started and ended, as the guard reports: in all", "bytes", "{:,.0f}"),
    ("outbox, after all of it", "KiB", "{:,.0f}"),
    ("dead rows in outbox", "rows", "{:,.0f}"),
    ("`look`, nothing due", "ms", "{:.2f}"),
    ("`take`, 1,000 due groups", "ms", "{:.1f}"),
    ("`prune`, row by row", "rows/s", "{:,.0f}"),
    ("`prune`, a day as a whole", "ms", "{:.0f}"),
)


def main() -> None:
    options = parse_options()
    with tempfile.TemporaryDirectory(prefix="offbeat-postgres-") as folder:
        Path(folder).chmod(0o755)  # PostgreSQL runs as somebody else
        with postgres_server(Path(folder), free_port()) as address:
            rounds = [one_round(address, number, options.rows) for number in range(options.rounds)]
    if options.json:
        sys.stdout.write(json.dumps(rounds) + "\n")
        return
    table = table_of(rounds, options.rows)
    sys.stdout.write(table)
    if options.write:
        before, mark, rest = README.read_text(encoding="utf-8").partition(BEGIN)
        if mark:
            README.write_text(before + BEGIN + table + END + rest.partition(END)[2], encoding="utf-8")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.postgres", description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=60_000, help="occurrences of each case (60000)")
    parser.add_argument("--rounds", type=int, default=3, help="how often all of it is done (3)")
    parser.add_argument("--json", action="store_true", help="print the rounds, and write nothing")
    parser.add_argument("--no-write", dest="write", action="store_false", help="only print the table")
    return parser.parse_args()


def table_of(rounds: Sequence[dict[str, float]], rows: int) -> str:
    head = f"{time.strftime('%Y-%m-%d')}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores; "
    lines = [
        f"{head}medians of {len(rounds)} rounds of {rows:,} occurrences (smallest to largest).",
        "",
        "| case | | |",
        "|---|---:|---|",
    ]
    for case, unit, form in CASES:
        found = [each[case] for each in rounds]
        low, middle, high = (form.format(value) for value in (min(found), median(found), max(found)))
        lines.append(f"| {case} | {middle} ({low} to {high}) | {unit} |")
    return "\n".join([*lines, ""])


class World:
    """A ledger in a schema of its own, and how long it took."""

    def __init__(self, address: str, schema: str, entries: int, recurrence: str = "every 60 0", **policy: Any) -> None:
        self.clock = FakeClock(MORNING + 30.0)
        self.ledger = LedgerPostgres(place_of(f"{address}?schema={schema}", project="shop"), horizon=self.clock)
        self.admin = psycopg.connect(address, autocommit=True)
        self.schema = schema
        self.ledger.look(ME)
        self.ledger.activate(schedule(entries, recurrence, **policy), "stamp")
        self.names: dict[int, str] = {}

    def close(self) -> None:
        self.admin.execute(f'DROP SCHEMA "{self.schema}" CASCADE')
        self.admin.close()
        self.ledger.close()

    def one(self, text: str) -> float:
        """Return one number of the catalog."""
        row = self.admin.execute(text.replace("{s}", self.schema)).fetchone()
        return float(row[0] or 0) if row else 0.0

    def size(self, of: str) -> float:
        """Return the bytes of all of history."""
        children = "SELECT inhrelid FROM pg_inherits WHERE inhparent = '{s}.history'::regclass"
        return self.one(f"SELECT sum({of}(inhrelid)) FROM ({children}) AS c")

    def settle(self, claims: Sequence[Claim], step: int) -> None:
        for start in range(0, len(claims), step):
            accepted = self.ledger.settle(ME, [sent(claim) for claim in claims[start : start + step]])
            assert len(accepted) == len(claims[start : start + step])


def schedule(entries: int, recurrence: str, **policy: Any) -> Schedule:
    made = tuple(
        Entry(
            name=f"shop_entry_{number}",
            timing=Timing(recurrence=recurrence.replace("N", str(number))),
            call=TaskCall(task=f"shop.tasks.entry_{number}"),
            policy=Policy(**policy),
        )
        for number in range(entries)
    )
    return Schedule(project="shop", timezone="UTC", entries=made, digest=f"{entries} {recurrence}")


def sent(claim: Claim) -> Outcome:
    key = claim.key
    task_id = occurrence_id("shop", claim.name, key.due_at, key.kind, key.kind_id)
    return Outcome(key=key, attempt=claim.attempt, state=State.DISPATCHED, task_id=task_id)


def took(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def one_round(address: str, number: int, rows: int) -> dict[str, float]:
    found: dict[str, float] = {}
    for case in (recorded, recorded_large, claimed, reported, asked):
        for name, value in case(address, f"bench_{number}_{case.__name__}", rows):
            found[name] = value
    return found


def recorded(address: str, schema: str, rows: int) -> Iterator[tuple[str, float]]:
    """Everything in batches as a runner asks for them; then what it takes, and what it takes to forget it."""
    with closing(World(address, schema, BATCH)) as world:
        yield "record, settle", rows / work_through(world, rows, BATCH, STEP)
        yield "a sent occurrence: history", world.size("pg_table_size") / rows
        yield "a sent occurrence: indexes", world.size("pg_indexes_size") / rows
        outbox = world.one("SELECT pg_total_relation_size('{s}.outbox')")
        yield "a sent occurrence: in all", (world.size("pg_total_relation_size")) / rows
        yield "outbox, after all of it", outbox / 1024
        world.admin.execute("SELECT pg_stat_force_next_flush()") if world.admin.info.server_version >= 150000 else None
        time.sleep(1)
        yield "dead rows in outbox", world.one("SELECT n_dead_tup FROM pg_stat_all_tables WHERE relid = '{s}.outbox'::regclass")
        looks = [took(lambda: world.ledger.look(ME)) for _ in range(200)]
        yield "`look`, nothing due", median(looks) * 1000
        yield from pruned(world, rows)


def work_through(world: World, rows: int, limit: int, step: int) -> float:
    """Record and settle minute after minute; return the seconds that the ledger took."""
    seconds, done = 0.0, 0
    while done < rows:
        world.clock.advance(60)
        portion = world.ledger.take(limit)
        windows = plan(portion)
        begun = time.perf_counter()
        claims = world.ledger.record(ME, windows, portion.revision)
        world.settle(claims, step)
        seconds += time.perf_counter() - begun
        done += len(claims)
    return seconds


def pruned(world: World, rows: int) -> Iterator[tuple[str, float]]:
    keep = LedgerSettings(keep_seconds=8 * DAY)
    world.clock.advance(30 * DAY)
    for _ in range(2):  # the clock is believed
        world.ledger.look(ME)
        world.clock.advance(6)
    while portion := world.ledger.take(BATCH).groups and world.ledger.take(BATCH):
        world.settle(world.ledger.record(ME, plan(portion), portion.revision), STEP)
    while claims := world.ledger.claim(ME, MOST):
        world.settle(claims, MOST)
    by_row, gone = 0.0, 0
    drop, world.ledger.drop_day = world.ledger.drop_day, lambda day, unless: False  # type: ignore[method-assign]
    while gone < min(rows // 2, 20_000):
        begun = time.perf_counter()
        gone += world.ledger.prune(MOST, keep)
        by_row += time.perf_counter() - begun
    world.ledger.drop_day = drop  # type: ignore[method-assign]
    yield "`prune`, row by row", gone / by_row
    yield "`prune`, a day as a whole", took(lambda: world.ledger.prune(MOST, keep)) * 1000


def recorded_large(address: str, schema: str, rows: int) -> Iterator[tuple[str, float]]:
    with closing(World(address, schema, MOST)) as world:
        yield "record, settle, 5,000 at a time", rows / work_through(world, rows, MOST, MOST)


def claimed(address: str, schema: str, rows: int) -> Iterator[tuple[str, float]]:
    with closing(World(address, schema, 12, "every 3600 0")) as world:
        for number in range(0, rows, MOST):
            dues = [(MORNING - 3600 * n, MORNING) for n in range(MOST)]
            world.ledger.backfill(f"shop_entry_{number // MOST % 12}", f"token{number}", dues)
        world.clock.advance(1)
        seconds, done = 0.0, 0
        while done < rows:
            begun = time.perf_counter()
            claims = world.ledger.claim(ME, BATCH)
            world.settle(claims, STEP)
            seconds += time.perf_counter() - begun
            done += len(claims)
        yield "claim, settle", rows / seconds


def reported(address: str, schema: str, rows: int) -> Iterator[tuple[str, float]]:
    """Workers with the guard: each occurrence is updated twice."""
    with closing(World(address, schema, BATCH)) as world:
        done = 0
        while done < rows // 2:
            world.clock.advance(60)
            portion = world.ledger.take(BATCH)
            claims = world.ledger.record(ME, plan(portion), portion.revision)
            world.settle(claims, STEP)
            for state in (State.STARTED, State.SUCCEEDED):
                for start in range(0, len(claims), 50):
                    some = claims[start : start + 50]
                    world.ledger.report(WORKER, [Report(key=c.key, attempt=c.attempt, state=state) for c in some])
            done += len(claims)
        yield "started and ended, as the guard reports: in all", world.size("pg_total_relation_size") / done


def asked(address: str, schema: str, rows: int) -> Iterator[tuple[str, float]]:
    with closing(World(address, schema, 1000, "every 3600 N", catch_up=CatchUp.ALL)) as world:
        world.clock.advance(7200)
        world.ledger.look(ME)
        world.clock.advance(6)
        world.ledger.look(ME)
        assert len(world.ledger.take(1000).groups) == 1000
        yield "`take`, 1,000 due groups", median(took(lambda: world.ledger.take(1000)) for _ in range(15)) * 1000


if __name__ == "__main__":
    main()
