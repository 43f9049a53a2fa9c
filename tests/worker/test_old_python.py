"""The guard runs where users' workers run: Python 3.8 and newer."""

from __future__ import annotations

import ast
import os
import pwd
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCE = ROOT / "src" / "offbeat"
FILES = sorted(
    [SOURCE / "__init__.py", SOURCE / "__main__.py", SOURCE / "ports" / "__init__.py", SOURCE / "ports" / "clock.py"]
    + [*(SOURCE / "worker").rglob("*.py"), *(SOURCE / "ports").glob("worker_*.py")]
)
NEWER = re.compile(
    r"\.removeprefix\(|\.removesuffix\(|\bslots=True|\bkw_only=True|\bstrict=True|\bStrEnum\b|datetime\.UTC|\bzoneinfo\b"
)


def old_pythons() -> list[str]:
    """Return interpreters of 3.8 to 3.10 that are on PATH, or that pyenv keeps."""
    home = Path(os.environ.get("PYENV_ROOT") or Path(pwd.getpwuid(os.getuid()).pw_dir) / ".pyenv")
    places = list(home.glob("versions/3.8.*/bin/python"))
    places += [Path(found) for minor in (8, 9, 10) if (found := shutil.which(f"python3.{minor}"))]
    return [str(place) for place in places if runs(place)]


def runs(place: Path) -> bool:
    return subprocess.run([place, "-c", "import sys; assert sys.version_info < (3, 11)"], capture_output=True).returncode == 0


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_a_file_that_workers_load_is_python_3_8(file: Path) -> None:
    text = file.read_text(encoding="utf-8")

    tree = ast.parse(text, feature_version=(3, 8))
    assert NEWER.findall(text) == []
    assert len(tree.body) == 1 or "from __future__ import annotations" in text


@pytest.fixture
def old_python() -> str:
    found = old_pythons()
    if not found:
        pytest.skip("no Python older than 3.11 is installed here")
    return found[0]


def run(python: str, *words: str) -> subprocess.CompletedProcess[str]:
    bare = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "src"),
        "PYTHONWARNINGS": "error",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return subprocess.run([python, *words], env=bare, capture_output=True, text=True, timeout=60, check=False)


def test_what_needs_no_celery_is_imported_by_an_old_python(old_python: str) -> None:
    modules = [".".join(file.relative_to(ROOT / "src").with_suffix("").parts) for file in FILES if "ports" in file.parts]

    done = run(old_python, "-c", "import offbeat\n" + "\n".join(f"import {name}" for name in modules if "__init__" not in name))

    assert (done.returncode, done.stderr) == (0, "")


def test_the_command_says_in_one_line_what_it_needs(old_python: str) -> None:
    done = run(old_python, "-m", "offbeat", "status")

    assert done.returncode == 1
    assert done.stderr == (
        "offbeat's commands need Python 3.11 or newer; on this one only offbeat.worker works, beside Celery tasks\n"
    )


def test_it_can_be_installed_there_and_then_needs_nothing_else() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert project["requires-python"] == ">=3.8"
    assert [text for text in project["dependencies"] if "python_version >= '3.11'" not in text] == []


@pytest.mark.skipif(sys.version_info >= (3, 15), reason="not released yet")
def test_importing_the_guard_connects_to_nothing_and_loads_no_store() -> None:
    program = "import sys, offbeat.worker; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    loaded = set(done.stdout.split())
    assert {"offbeat.worker.guard", "celery"} <= loaded
    assert loaded & {"redis", "psycopg", "sqlite3", "offbeat.core", "offbeat.errors", "offbeat.ports.ledger"} == set()
