"""Three runners on one PostgreSQL ledger: how late occurrences reach the broker, and what the death of a runner costs.

Usage: python -m bench.replicas [--seconds N] [--ledger postgres|redis|sqlite] [--no-write]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from calendar import timegm
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers import free_port, postgres_server, redis_server

README = Path(__file__).resolve().parent / "README.md"
BEGIN, END = "<!-- replicas: begin -->\n", "<!-- replicas: end -->\n"
RUNNERS = 3
STEADY = 200  # entries that are due each second
BURST = 5000  # entries that are due at once
LEASE = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What is up. ledger, broker: addresses."""

    folder: Path
    ledger: str
    broker: str


def main() -> None:
    options = parse_options()
    lines = []
    with tempfile.TemporaryDirectory(prefix="offbeat-replicas-") as folder:
        Path(folder).chmod(0o755)  # PostgreSQL runs as somebody else
        with stage(Path(folder), options.ledger) as up:
            lines.append(steady(up, options.seconds))
        with stage(Path(folder) / "again", options.ledger) as up:
            lines.append(failover(up))
    head = f"{time.strftime('%Y-%m-%d')}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores, {RUNNERS} runners."
    table = "\n".join([head, "", "| case | allowed | measured | |", "|---|---:|---:|---|", *lines, ""])
    sys.stdout.write(table)
    if options.write:
        before, mark, rest = README.read_text(encoding="utf-8").partition(BEGIN)
        if mark:
            README.write_text(before + BEGIN + table + END + rest.partition(END)[2], encoding="utf-8")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.replicas", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=60, help="how long the steady load lasts (60)")
    parser.add_argument("--ledger", choices=("postgres", "redis", "sqlite"), default="postgres")
    parser.add_argument("--no-write", dest="write", action="store_false", help="only print the table")
    return parser.parse_args()


@contextmanager
def stage(folder: Path, store: str) -> Iterator[Stage]:
    """Start the servers in `folder`."""
    with ExitStack() as stack:
        for name in ("redis", "postgres"):
            (folder / name).mkdir(parents=True, mode=0o755)
        flags = ("--appendonly", "yes")
        broker = stack.enter_context(redis_server(folder / "redis", free_port(), "", flags))
        ledger = f"sqlite:///{folder / 'ledger.sqlite3'}" if store == "sqlite" else f"{broker}/1"
        if store == "postgres":
            ledger = stack.enter_context(postgres_server(folder / "postgres", free_port()))
        yield Stage(folder=folder, ledger=ledger, broker=broker)


@contextmanager
def runners(up: Stage, name: str, text: str) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run RUNNERS of `offbeat run` over one tree."""
    tree = up.folder / name
    tree.mkdir()
    (tree / "schedule.toml").write_text(f'project = "{name}"\ntask_prefix = "b."\n{text}', encoding="utf-8")
    environ = {**os.environ, "OFFBEAT_LEDGER": up.ledger, "OFFBEAT_BROKER": up.broker}
    programs: list[subprocess.Popen[bytes]] = []
    try:
        for number in range(RUNNERS):
            own = {**environ, "XDG_STATE_HOME": str(up.folder / f"state{number}")}
            argv = [sys.executable, "-m", "offbeat", "--tree", str(tree), "-q", "run"]
            programs.append(subprocess.Popen(argv, env=own))
        yield programs
    finally:
        for program in programs:
            program.send_signal(signal.SIGTERM)
        for program in programs:
            program.wait(30)


def client_of(broker: str) -> Any:
    """Return a redis-py client of the broker."""
    import redis

    return redis.Redis.from_url(broker)


def steady(up: Stage, seconds: int) -> str:
    """STEADY entries, each due every second: how late they are in the queue."""
    text = "".join(f'[entries.e{n}]\nevery = "1s"\n' for n in range(STEADY))
    lateness: list[float] = []
    with runners(up, "steady", text), client_of(up.broker) as client:
        until = time.time() + seconds + 8
        begin = time.time() + 8
        while time.time() < until:
            answer = client.brpop("celery", timeout=2)
            now = time.time()
            found = [answer[1], *(client.rpop("celery", 1000) or [])] if answer else []
            if now >= begin:
                lateness += [now - due_of(message) for message in found]
    lateness.sort()
    wanted = STEADY * seconds
    p50, p99, longest = (lateness[int(len(lateness) * share)] for share in (0.5, 0.99, 0.99999))
    measured = f"p50 {p50 * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms, max {longest * 1000:.0f} ms ({len(lateness)} of {wanted})"
    return f"| {STEADY} due a second: due time to broker, p99 | 500 ms | {measured} | {verdict(p99 < 0.5)} |"


def failover(up: Stage) -> str:
    """Kill -9 the runner that has worked most when a tenth of a burst is out: how long until all of it is out."""
    first = time.gmtime(time.time() + 25)
    minute = (first.tm_min + 1) % 60
    text = '[defaults]\ncatch_up = "all"\n'
    text += "".join(f'[entries.e{n}]\ncron = "{minute} * * * *"\n' for n in range(BURST))
    with runners(up, "burst", text) as programs, client_of(up.broker) as client:
        while client.llen("celery") < BURST * 0.1:
            time.sleep(0.002)
        victim = busiest(programs)
        victim.send_signal(signal.SIGKILL)
        began, took, at_kill = time.monotonic(), 0.0, client.llen("celery")
        victim.wait()
        ids: list[str] = []
        while len(set(ids)) < BURST and time.monotonic() - began < 60:
            time.sleep(0.05)
            took = time.monotonic() - began
            ids += [json.loads(message)["headers"]["id"] for message in client.lrange("celery", 0, -1 - len(ids))]
    repeated = len(ids) - len(set(ids))
    measured = f"{took:.1f} s (killed after {at_kill}; {len(set(ids))} of {BURST} out, {repeated} repeated)"
    met = took <= LEASE + 1 and len(set(ids)) == BURST
    case = f"kill -9 of a runner in a burst of {BURST:,}: until the rest is out"
    return f"| {case} | {LEASE + 1:.0f} s | {measured} | {verdict(met)} |"


def busiest(programs: list[subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    """Return the runner that has used the most CPU: the one that has published so far."""

    def used(program: subprocess.Popen[bytes]) -> int:
        fields = Path(f"/proc/{program.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    return max(programs, key=used)


def due_of(message: bytes) -> int:
    """Return the due time that a message carries."""
    return timegm(time.strptime(json.loads(message)["headers"]["offbeat_due_at"], "%Y-%m-%dT%H:%M:%SZ"))


def verdict(met: bool) -> str:
    return "met" if met else "**not met**"


if __name__ == "__main__":
    main()
