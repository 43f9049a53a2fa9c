"""The system's zone database and the tzdata package give the same answers, wherever their versions say the same of a zone.

They are read by two processes. Rules are compared first, without offbeat, so that a newer version of one is no difference.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zoneinfo
from pathlib import Path

import pytest
from tests.differential import zonedata

STEP = 1 if os.environ.get("OFFBEAT_DIFFERENTIAL") == "full" else 12
ROOT = Path(__file__).resolve().parents[2]


def answers(tzpath: str) -> dict[str, list[str]]:
    """Return [rules, due times] of each zone, from the database on this path; "" means the tzdata package."""
    environ = {"PATH": os.environ["PATH"], "PYTHONTZPATH": tzpath, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    program = [sys.executable, "-W", "error", "-m", zonedata.__name__, str(STEP)]
    done = subprocess.run(program, env=environ, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    zones: dict[str, list[str]] = json.loads(done.stdout)["zones"]
    return zones


def system_path() -> str:
    """Return where this machine keeps its zone database, "" where it has none."""
    return next((path for path in zoneinfo.TZPATH if (Path(path) / "Europe/Sofia").is_file()), "")


def test_both_zone_databases_give_the_same_due_times() -> None:
    pytest.importorskip("tzdata")
    if not system_path():
        sentence = "this machine has no zone database of its own: apt-get install tzdata"
        pytest.fail(sentence) if os.environ.get("CI") == "true" else pytest.skip(sentence)

    system, package = answers(system_path()), answers("")

    common = system.keys() & package.keys()
    alike = {name for name in common if system[name][0] == package[name][0]}
    assert {name for name in alike if system[name][1] != package[name][1]} == set()
    assert len(alike) > 0.9 * len(common), f"too few zones are alike to prove anything: {sorted(common - alike)}"
    assert len(alike) >= 40


def test_the_comparison_would_notice_another_rule() -> None:
    """Else the test above would prove little: a change an hour later gives other due times, and other rules."""
    sofia, berlin = (list(zonedata.changes(f"Europe/{city}")) for city in ("Sofia", "Berlin"))
    around = [instant for instant, _ in sofia]

    assert len(sofia) == 93  # two a year, and where it began
    assert sofia != berlin
    assert list(zonedata.due_times("Europe/Sofia", around)) != list(zonedata.due_times("Europe/Berlin", around))
