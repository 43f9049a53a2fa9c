"""Measures offbeat against the shell script that it replaces, and writes the table of bench/README.md.

Usage: bench.py [--runs N] [--no-write]. All cases take turns in one run, so that a slow minute of the machine hits each alike.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
EXAMPLE = HERE.parent / "examples" / "difio"
README = HERE / "README.md"
BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"
TASK = "search_dates"
BIN = Path(sys.executable).parent
MIB = 1024 if sys.platform.startswith("linux") else 1024 * 1024  # macOS counts bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One command to measure. sends: it leaves one message in the queue."""

    name: str
    argv: tuple[str, ...]
    sends: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """One run of a case."""

    wall: float
    cpu: float
    peak: float  # MiB


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a case may cost. share: of the first case's wall time; peak: MiB, 0 for no limit."""

    name: str
    share: float
    peak: float = 0


SHELL = f'echo "import difio.tasks; difio.tasks.{TASK}.delay()" | {sys.executable} manage.py shell'
OFFBEAT = (str(BIN / "offbeat"),) if (BIN / "offbeat").exists() else (sys.executable, "-m", "offbeat")
CASES = (
    Case(name="the script: `echo … \\| manage.py shell`", argv=("/bin/sh", "-c", SHELL), sends=True),
    Case(name="`offbeat tick`, nothing due", argv=(*OFFBEAT, "tick")),
    Case(name=f"`offbeat fire {TASK}`", argv=(*OFFBEAT, "fire", TASK), sends=True),
    Case(name="`celery call`", argv=(sys.executable, "-m", "celery", "-A", "difio", "call", f"difio.tasks.{TASK}"), sends=True),
    Case(name="`python -c pass`", argv=(sys.executable, "-c", "pass")),
)
BUDGETS = (
    Budget(name=CASES[1].name, share=1 / 6, peak=18),
    Budget(name=CASES[2].name, share=1 / 2),
)


def main() -> None:
    options = parse_options()
    with tempfile.TemporaryDirectory(prefix="offbeat-bench-") as folder, redis_server(Path(folder)) as url:
        project = Path(folder, "difio")
        shutil.copytree(EXAMPLE, project, symlinks=True, ignore=shutil.ignore_patterns("var", "before", "__pycache__"))
        settings = environment(project, url)
        subprocess.run([*OFFBEAT, "tick"], cwd=project, env=settings, check=True)  # compiles the tree into a new ledger
        costs = measure_all(project, settings, options.runs)
        check_queue(url, options.runs)
    table = format_table(costs, options.runs)
    sys.stdout.write(table)
    if options.write:
        before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
        README.write_text(before + BEGIN + table + END + rest.partition(END)[2], encoding="utf-8")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=15, help="runs of each case (15)")
    parser.add_argument("--no-write", dest="write", action="store_false", help="only print the table")
    return parser.parse_args()


def environment(project: Path, url: str) -> dict[str, str]:
    """Return a small environment: the caller's addresses and PYTHON* settings must not change what is measured."""
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "PYTHONPATH") if name in os.environ}
    return kept | {
        "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "DIFIO_VAR": str(project / "var"),
        "CELERY_BROKER_URL": url,
        "OFFBEAT_TREE": str(project / "cron"),
        "OFFBEAT_LEDGER": f"sqlite:///{project / 'ledger.sqlite3'}",
        "OFFBEAT_BROKER": url,
    }


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """Run a private Redis on a free port; yield its URL."""
    program = shutil.which("redis-server")
    if program is None:
        raise SystemExit("bench: no redis-server found: apt-get install redis-server, or brew install redis")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    argv = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    server = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        for line in server.stdout:
            if "eady to accept connections" in line:
                break
        else:
            raise SystemExit(f"bench: {' '.join(argv)} ended with status {server.wait()}")
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.terminate()
        server.wait()


def measure_all(project: Path, settings: dict[str, str], runs: int) -> list[list[Cost]]:
    """Return the costs of each case, in the order of CASES. A first round is not counted: it warms the page cache."""
    costs: list[list[Cost]] = [[] for _ in CASES]
    for turn in range(runs + 1):
        for case, found in zip(CASES, costs, strict=True):
            cost = measure(case, project, settings)
            if turn:
                found.append(cost)
        if sys.stderr.isatty():
            sys.stderr.write(f"\rround {turn} of {runs} " if turn < runs else "\r" + " " * 20 + "\r")
    return costs


def measure(case: Case, project: Path, settings: dict[str, str]) -> Cost:
    argv = [sys.executable, "-I", "-S", str(HERE / "measure.py"), *case.argv]
    done = subprocess.run(argv, cwd=project, env=settings, capture_output=True, text=True, check=True)
    wall, cpu, peak, status = done.stdout.split()
    if status != "0":
        raise SystemExit(f"bench: {' '.join(case.argv)} ended with status {status}:\n{done.stderr}")
    return Cost(wall=float(wall), cpu=float(cpu), peak=float(peak) / MIB)


def check_queue(url: str, runs: int) -> None:
    """A case that sent nothing would look splendid: count the messages."""
    import redis

    with redis.Redis.from_url(url) as client:
        found = client.llen("celery")
    expected = sum(case.sends for case in CASES) * (runs + 1)
    if found != expected:
        raise SystemExit(f"bench: {found} messages are in the queue, {expected} should be: the figures mean nothing")


def format_table(costs: Sequence[Sequence[Cost]], runs: int) -> str:
    """Return the Markdown between the two marks of README.md."""
    walls = {case.name: statistics.median(cost.wall for cost in found) for case, found in zip(CASES, costs, strict=True)}
    peaks = {case.name: statistics.median(cost.peak for cost in found) for case, found in zip(CASES, costs, strict=True)}
    script = walls[CASES[0].name]
    lines = [f"{machine()}; medians of {runs} runs (smallest to largest).", ""]
    lines += ["| case | wall ms | of the script's | CPU ms | peak RSS MiB |", "|---|---:|---:|---:|---:|"]
    for case, found in zip(CASES, costs, strict=True):
        wall = sorted(1000 * cost.wall for cost in found)
        cpu = 1000 * statistics.median(cost.cpu for cost in found)
        spread = f"{1000 * walls[case.name]:.0f} ({wall[0]:.0f} to {wall[-1]:.0f})"
        lines.append(f"| {case.name} | {spread} | {walls[case.name] / script:.2f} | {cpu:.0f} | {peaks[case.name]:.1f} |")
    lines += ["", "| budget | allowed | measured | |", "|---|---:|---:|---|"]
    for budget in BUDGETS:
        share = walls[budget.name] / script
        allowed = f"1/{1 / budget.share:.0f} of the script's wall time"
        lines.append(f"| {budget.name} | {allowed} | 1/{1 / share:.1f} | {verdict(share <= budget.share)} |")
        if budget.peak:
            peak = peaks[budget.name]
            lines.append(f"| {budget.name} | {budget.peak:.0f} MiB | {peak:.1f} MiB | {verdict(peak <= budget.peak)} |")
    return "\n".join(lines) + "\n"


def verdict(met: bool) -> str:
    return "met" if met else "**not met**"


def machine() -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in ("Django", "celery", "kombu", "redis"))
    system = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return f"{time.strftime('%Y-%m-%d')}, {system}, Python {platform.python_version()}, {packages}"


if __name__ == "__main__":
    main()
