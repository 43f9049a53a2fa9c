"""Fuzzing for as long as one likes: `make fuzz SECONDS=600`. With atheris where it is installed, else with hypothesis.

What breaks something is printed, to be added to hostile.REGRESSIONS or BAD_FILES; the exit status is not 0 then. atheris
prints it in base64, behind one byte that chose the target.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from tests.fuzz import hostile, targets


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def run(content: bytes) -> None:
    """Give the same bytes to every target: the first byte chooses it."""
    names = [*targets.TEXTS, "schedule"]
    name = names[content[0] % len(names)] if content else "schedule"
    try:
        if name == "schedule":
            targets.schedule(content[1:])
        else:
            targets.TEXTS[name](content[1:4097].decode("utf-8", "surrogateescape"))
    except targets.TooManySteps as endless:
        raise AssertionError(str(endless)) from endless


def with_atheris(seconds: int) -> None:
    """Let atheris look for ways through the code; ends this process."""
    atheris: Any = importlib.import_module("atheris")
    for name in [each for each in sys.modules if each.startswith("offbeat.core")]:
        for function in vars(sys.modules[name]).values():
            if callable(function) and getattr(function, "__module__", "") == name and hasattr(function, "__code__"):
                function.__code__ = atheris.instrument_func(function).__code__
    with tempfile.TemporaryDirectory() as corpus:
        names = [*targets.TEXTS, "schedule"]
        known = [(name, text) for name in targets.TEXTS for text in hostile.REGRESSIONS[name]]
        seeds = [bytes([names.index(name)]) + text.encode("utf-8", "surrogateescape") for name, text in known]
        seeds += [bytes([len(names) - 1]) + content for content in hostile.BAD_FILES]
        for number, seed in enumerate(seeds):
            (Path(corpus) / str(number)).write_bytes(seed)
        atheris.Setup(
            [sys.argv[0], f"-max_total_time={seconds}", "-max_len=4097", f"-artifact_prefix={tempfile.gettempdir()}/", corpus],
            run,
        )
        atheris.Fuzz()


def with_hypothesis(seconds: int) -> int:
    """Draw examples in rounds until the time is over; return the number of targets that broke."""
    broken: set[str] = set()
    rounds = 0
    until = time.monotonic() + seconds
    while time.monotonic() < until and not broken:
        rounds += 1
        for name in (*targets.TEXTS, "schedule"):
            target: Callable[[Any], None] = targets.TEXTS.get(name, targets.schedule)
            if not _survives(target, hostile.files if name == "schedule" else hostile.texts):
                broken.add(name)
        say(f"  round {rounds}: {rounds * 2000} texts for each of {len(targets.TEXTS) + 1} targets")
    return len(broken)


def _survives(target: Callable[[Any], None], texts: Any) -> bool:
    @settings(max_examples=2000, deadline=None, database=None, suppress_health_check=list(HealthCheck), phases=list(Phase))
    @given(texts)
    def hostile_text(text: Any) -> None:
        target(text)

    try:
        hostile_text()
    except (Exception, targets.TooManySteps) as found:  # noqa: BLE001 - whatever comes out is what we look for
        say(f"BROKEN {type(found).__name__}: {found}\n  {' '.join(getattr(found, '__notes__', []))}")
        return False
    return True


def main() -> int:
    seconds = int(os.environ.get("FUZZ_SECONDS", "300"))
    if importlib.util.find_spec("atheris") is None:
        say(f"hypothesis, {seconds} s (pip install atheris, where it has a wheel, for fuzzing that sees the code)")
        return with_hypothesis(seconds)
    say(f"atheris, {seconds} s")
    return subprocess.run([sys.executable, "-m", "tests.fuzz", "--atheris"], check=False).returncode


if __name__ == "__main__":
    if "--atheris" in sys.argv:
        with_atheris(int(os.environ.get("FUZZ_SECONDS", "300")))
    sys.exit(main())
