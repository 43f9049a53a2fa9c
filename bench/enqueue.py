"""Ledger and broker on one Redis: what is due is recorded and pushed in one script, or in two; side by side, in one run.

Usage: python -m bench.enqueue [--rounds N] [--rows N] [--no-write]. Writes its table of bench/README.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from tests.servers import free_port, redis_server

from offbeat.core.model import BrokerSettings, Entry, Schedule, State, TaskCall, Timing
from offbeat.core.plan import Portion, Window, plan
from offbeat.ports.broker import Push
from offbeat.ports.broker_kombu.broker import BrokerKombu
from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger_mail import Mail, Post
from offbeat.ports.ledger_redis import LedgerRedis, Place
from offbeat.ports.ledger_values import Claim, Outcome, Runner
from offbeat.runners.letter import letter

README = Path(__file__).resolve().parent / "README.md"
BEGIN, END = "<!-- enqueue: begin -->\n", "<!-- enqueue: end -->\n"
NOON, SCRIPT = 1_772_366_400, 500
ME = Runner(id="bench:1:tick:0", host="bench", pid=1, role="tick")
GAUGES = ("record", "enqueue", "both", "one", "server_two", "server_one", "pass_two", "pass_one")


@dataclass(slots=True, kw_only=True)
class Bench:
    """A ledger of `rows` entries that are due every minute, beside a broker in the same Redis."""

    address: str
    project: str
    rows: int
    stack: ExitStack
    clock: FakeClock = field(default_factory=lambda: FakeClock(float(NOON)))
    ledger: LedgerRedis = field(init=False)
    broker: BrokerKombu = field(init=False)
    client: Any = field(init=False)
    cpu: float = field(default=0.0, init=False)  # seconds that the server had used when a pass began

    def __post_init__(self) -> None:
        import redis

        self.client = self.stack.enter_context(redis.Redis.from_url(self.address))
        place = Place(address=f"{self.address}?prefix=bench", project=self.project)
        self.ledger = self.stack.enter_context(closing(LedgerRedis(place, horizon=self.clock)))
        self.broker = self.stack.enter_context(closing(BrokerKombu(self.address, BrokerSettings(), clock=self.clock)))
        call = TaskCall(task="shop.tasks.report", kwargs={"full": True}, queue=self.project)
        entries = tuple(Entry(name=f"e{n}", timing=Timing(recurrence="every 60 0"), call=call) for n in range(self.rows))
        self.ledger.look(ME)
        self.ledger.activate(Schedule(project="shop", timezone="UTC", entries=entries, digest=self.project), "stamp")
        self.ledger.server_id()

    def portions(self) -> Iterator[tuple[Portion, tuple[Window, ...]]]:
        """Yield what is due, SCRIPT entries at a time."""
        while (portion := self.ledger.take(SCRIPT)).groups:
            yield portion, plan(portion, burst=SCRIPT)

    def posts(self, claims: Sequence[Claim]) -> tuple[Post, ...]:
        """Return the messages of claims, as a runner makes them."""
        now = self.clock.now()
        messages = [letter(claim, project="shop", host="bench", atomic=True, now=now) for claim in claims]
        made = []
        for claim, message, push in zip(claims, messages, self.broker.prepare(messages), strict=True):
            assert isinstance(push, Push)
            outcome = Outcome(key=claim.key, attempt=1, state=State.DISPATCHED, task_id=message.task_id)
            made.append(Post(outcome=outcome, push=push))
        return tuple(made)

    def in_two(self) -> dict[str, float]:
        """Let a minute pass, record and push it in two scripts; return the seconds that each part took."""
        spent, began = {"record": 0.0, "enqueue": 0.0}, self._begin()
        for portion, windows in self.portions():
            claims, took = timed(self.ledger.record, ME, windows, portion.revision)
            posts = self.posts(claims)
            answers, took_too = timed(self.ledger.enqueue, ME, posts)
            assert not any(answers)
            spent["record"], spent["enqueue"] = spent["record"] + took, spent["enqueue"] + took_too
        server, took = self._end(began)
        return {**spent, "both": spent["record"] + spent["enqueue"], "server_two": server, "pass_two": took}

    def in_one(self) -> dict[str, float]:
        """Let a minute pass, record and push it in one script; return the seconds that it took."""
        spent, began = 0.0, self._begin()
        for portion, windows in self.portions():
            draft = self.ledger.draft(portion, windows)
            mail = Mail(mark=draft.mark, until=draft.now + 8, posts=self.posts(draft.claims))
            said, took = timed(self.ledger.record_and_push, ME, windows, portion.revision, mail)
            assert not any(said.answers) and not said.claims
            spent += took
        server, took = self._end(began)
        return {"one": spent, "server_one": server, "pass_one": took}

    def _begin(self) -> float:
        self.clock.advance(60)
        self.cpu = self._used()
        return time.perf_counter()

    def _used(self) -> float:
        """Return the seconds of CPU that the server's main thread has used."""
        said = self.client.info("cpu")
        return float(said["used_cpu_user_main_thread"] + said["used_cpu_sys_main_thread"])

    def _end(self, began: float) -> tuple[float, float]:
        """Return the seconds that the server worked, and those that all of it took."""
        took, used = time.perf_counter() - began, self._used() - self.cpu
        assert self.client.llen(self.project) == self.rows
        self.client.delete(self.project)
        return used, took

    def bytes_of_a_row(self) -> float:
        """Return what the rows kept so far take in Redis, their share of the hashes with it; for each of them."""
        hours = self.client.scan_iter(f"{{bench:{self.project}}}:h:*", count=1000)
        return sum(int(self.client.memory_usage(hour, samples=0)) for hour in hours) / self._rows()

    def _rows(self) -> int:
        return int(self.client.hget(f"{{bench:{self.project}}}:meta", "rows") or 0)


def timed(work: Callable[..., Any], *args: Any) -> tuple[Any, float]:
    """Return what the work returns, and how long it took."""
    began = time.perf_counter()
    return work(*args), time.perf_counter() - began


@contextmanager
def stage(rows: int) -> Iterator[tuple[Bench, Bench]]:
    """Yield two equal benches in a Redis that keeps an append-only file."""
    with tempfile.TemporaryDirectory(prefix="offbeat-enqueue-") as folder, ExitStack() as stack:
        address = stack.enter_context(redis_server(Path(folder), free_port(), "", ("--appendonly", "yes")))
        one, other = (Bench(address=f"{address}/0", project=name, rows=rows, stack=stack) for name in ("two", "one"))
        yield one, other


def main() -> int:
    """Measure, print, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--rows", type=int, default=5000, help="entries that are due at once")
    parser.add_argument("--no-write", action="store_true", help="print the table only")
    given = parser.parse_args()
    rounds: list[dict[str, float]] = []
    with stage(given.rows) as (two, one):
        for _ in range(given.rounds + 1):
            rounds.append({**two.in_two(), **one.in_one()})
        sizes = two.bytes_of_a_row(), one.bytes_of_a_row()
    text = table({name: given.rows / median(each[name] for each in rounds[1:]) for name in GAUGES}, sizes, rounds[1:])
    sys.stdout.write(text)
    if not given.no_write:
        write(text)
    return 0


def table(rates: dict[str, float], sizes: tuple[float, float], rounds: Sequence[dict[str, float]]) -> str:
    """Return the table as Markdown. rates: rows a second, medians."""

    def line(what: str, two: str, one: str) -> str:
        ratio = median(each[two] / each[one] for each in rounds)
        return f"| {what} | {rates[two]:,.0f} | {rates[one]:,.0f} | {ratio:.1f} |\n"

    return (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"medians of {len(rounds)} rounds in turn.\n\n"
        "| occurrences a second | two scripts | one script | ratio |\n|---|---:|---:|---:|\n"
        + line("the ledger's calls (of two: record and enqueue)", "both", "one")
        + line("the server's own time", "server_two", "server_one")
        + line("a whole pass: take, plan, messages, record, push", "pass_two", "pass_one")
        + f"| bytes an occurrence keeps in Redis | {sizes[0]:.0f} | {sizes[1]:.0f} | {sizes[0] / sizes[1]:.1f} |\n\n"
        f"Of the two: recorded {rates['record']:,.0f} a second, pushed {rates['enqueue']:,.0f}.\n"
    )


def write(text: str) -> None:
    """Put the table into bench/README.md."""
    before, mark, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    if mark:
        README.write_text(before + BEGIN + text + END + rest.partition(END)[2], encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
