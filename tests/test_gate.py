"""The gate catches what it is there for: each violation is injected into a copy of the tree."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ARROW = "faces -> runners -> ports -> core -> errors, never back"
PURE = "core does nothing but compute"
STORES = "stores of the ledger do not know each other"
BROKERS = "brokers do not know each other"
OLD = "imports nothing that needs more than Python 3.8"
GUARDS = "a worker's stores do not know each other"
NO_CYCLES = "no cycles anywhere"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a copy of the sources and of the gate's settings, to break."""
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def run(tree: Path, *command: str) -> tuple[int, str]:
    """Run a tool of this environment in the copy; return its status and all that it said."""
    environment = {**os.environ, "PYTHONPATH": str(tree / "src"), "NO_COLOR": "1"}
    words = [sys.executable, *command]
    done = subprocess.run(
        words, cwd=tree, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return done.returncode, done.stdout


def broken_contracts(tree: Path) -> tuple[set[str], str]:
    """Return the names of the contracts that import-linter finds broken, and its report."""
    program = "import sys; from importlinter.cli import lint_imports_command as main; main(['--no-cache'])"
    status, said = run(tree, "-c", program)
    names = set(re.findall(r"^(.+?) BROKEN", said, re.MULTILINE))
    assert bool(names) == (status != 0), said
    return names, said


def inject(tree: Path, file: str, text: str) -> Path:
    """Append `text` to a file of the copy, or make that file."""
    path = tree / "src" / "offbeat" / file
    path.parent.mkdir(exist_ok=True)
    before = path.read_text(encoding="utf-8") if path.exists() else '"""A new file."""\n\nfrom __future__ import annotations\n'
    path.write_text(f"{before}\n\n{text}\n", encoding="utf-8")
    return path


def test_an_unbroken_copy_passes_the_layers_and_the_sizes(tree: Path) -> None:
    names, said = broken_contracts(tree)
    status, sizes = run(tree, "scripts/gate_check.py", ".")

    assert names == set(), said
    assert status == 0, sizes


@pytest.mark.parametrize(
    ("file", "text", "contract"),
    [
        pytest.param("core/plan.py", "import offbeat.ports.clock", ARROW, id="core imports a port"),
        pytest.param("core/plan.py", "def f() -> None:\n    import offbeat.ports.clock", ARROW, id="the same, in a function"),
        pytest.param("runners/extra.py", "import offbeat.faces", ARROW, id="a runner imports a face"),
        pytest.param("errors.py", "import offbeat.core.model", ARROW, id="errors import core"),
        pytest.param("utils/__init__.py", "", ARROW, id="a new folder"),
        pytest.param("runners/extra.py", "import offbeat.worker", "runners do not know", id="a runner imports the guard"),
        pytest.param("faces/extra.py", "import offbeat.worker", "faces do not know", id="a face imports the guard"),
        pytest.param("core/model.py", "import offbeat.worker", ARROW, id="core imports the guard"),
        pytest.param("worker/extra.py", "import offbeat.core.model", OLD, id="the guard imports core"),
        pytest.param("worker/extra.py", "def f() -> None:\n    import offbeat.errors", OLD, id="the guard imports errors"),
        pytest.param("ports/worker_redis.py", "import offbeat.ports.ledger_values", OLD, id="its store imports a ledger"),
        pytest.param("ports/worker_redis.py", "import offbeat.ports.worker_sqlite", GUARDS, id="its stores import each other"),
        pytest.param("core/model.py", "import offbeat.core.plan", NO_CYCLES, id="two core modules import each other"),
        pytest.param("core/plan.py", "import sqlite3", PURE, id="core imports sqlite3"),
        pytest.param("core/plan.py", "import random", PURE, id="core imports random"),
        pytest.param("core/plan.py", "def f() -> None:\n    import os", PURE, id="core imports os in a function"),
        pytest.param("ports/ledger_redis/extra.py", "import offbeat.ports.ledger_memory", STORES, id="a store imports another"),
        pytest.param(
            "ports/broker_kombu/extra.py", "import offbeat.ports.broker_memory", BROKERS, id="a broker imports another"
        ),
    ],
)
def test_import_linter_catches(tree: Path, file: str, text: str, contract: str) -> None:
    inject(tree, file, text)

    names, said = broken_contracts(tree)

    assert any(contract in name for name in names), said


@pytest.mark.parametrize(
    ("file", "text", "code"),
    [
        pytest.param("core/extra.py", "import datetime as d\nNOW = d.datetime.now(d.UTC)", "TID251", id="a clock in core"),
        pytest.param("core/extra.py", "import datetime\nNOW = datetime.datetime.now()", "DTZ005", id="a naive clock"),
        pytest.param("core/extra.py", "import datetime\nDAY = datetime.date.today()", "DTZ011", id="today"),
        pytest.param("core/extra.py", "import datetime\nDAY = datetime.datetime(2026, 1, 1)", "DTZ001", id="a naive datetime"),
        pytest.param("runners/extra.py", "import time\ntime.sleep(1)", "Clock.sleep_until", id="sleep in a runner"),
        pytest.param("runners/extra.py", "import time\nprint(time.time())", "take `now` as an argument", id="time in a runner"),
        pytest.param("runners/extra.py", "import random", "jitter is a hash", id="random"),
        pytest.param("core/extra.py", 'TEXT = open("x").read()', "PTH123", id="open in core"),
        pytest.param("ports/extra.py", "try:\n    import x\nexcept Exception:\n    pass", "BLE001", id="a blind except"),
        pytest.param("ports/extra.py", "try:\n    import x\nexcept Exception:\n    pass", "S110", id="an error swallowed"),
        pytest.param("ports/extra.py", 'print("x")', "T201", id="print"),
    ],
)
def test_ruff_catches(tree: Path, file: str, text: str, code: str) -> None:
    path = inject(tree, file, text)

    status, said = run(tree, "-m", "ruff", "check", "--no-cache", str(path))

    assert status == 1
    assert code in said


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        pytest.param("core/long.py", "x = 1\n" * 400, "400 are the most", id="a long file"),
        pytest.param("core/long.py", "def f() -> None:\n" + "    x = 1\n" * 50, '"f" has 51 lines', id="a long function"),
        pytest.param("core/wide.py", "def f(a: int, b: int, c: int, d: int, e: int, g: int): ...", "takes 6", id="parameters"),
        pytest.param("core/helpers.py", "", "says nothing", id="a file called helpers"),
        pytest.param("core/bare.py", "", "no header", id="a file without a header"),
    ],
)
def test_the_size_check_catches(tree: Path, file: str, text: str, words: str) -> None:
    path = inject(tree, file, text)
    if words == "no header":
        path.write_text("from __future__ import annotations\n", encoding="utf-8")

    status, said = run(tree, "scripts/gate_check.py", ".")

    assert status == 1
    assert any(file in line and words in line for line in said.splitlines()), said


def test_a_docstring_does_not_count_as_length(tree: Path) -> None:
    inject(tree, "core/told.py", 'def f() -> None:\n    """One.\n' + "\n    More." * 60 + '\n    """\n    return None')

    _, said = run(tree, "scripts/gate_check.py", ".")

    assert "told.py" not in said


def test_every_store_and_every_broker_has_its_place_in_a_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    named = {word.strip(" ()") for one in contracts if one["name"] in (STORES, BROKERS) for word in one["layers"][0].split("|")}
    ports = ROOT / "src" / "offbeat" / "ports"
    adapters = {
        file.relative_to(ports).parts[0].removesuffix(".py")
        for file in ports.rglob("*.py")
        if re.search(r"^class (Ledger|Broker)[A-Z]", file.read_text(encoding="utf-8"), re.MULTILINE)
    }

    assert adapters - {"ledger", "ledger_values", "broker"} <= named
