"""What only a process of its own shows: imports, signals, and a task run here with pdb at hand."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from offbeat.faces.crontab_line import tree_of

OFFBEAT = (sys.executable, "-m", "offbeat")
HEAVY = {
    *("click", "uuid", "rich", "kombu", "amqp", "redis", "tomllib", "subprocess", "hashlib", "ssl", "zoneinfo", "asyncio"),
    *(
        "tempfile",
        "secrets",
        "importlib.metadata",
        "offbeat.core.parse",
        "offbeat.core.plan",
        "offbeat.ports.broker_kombu.broker",
    ),
    *("offbeat.ports.broker_kombu.broker", "offbeat.runners.fire", "offbeat.runners.daemon", "offbeat.faces.cli"),
}
TREE = 'project = "shop"\ntask_prefix = "shop.tasks."\n[entries.report]\ncron = "30 4 29 2 *"\n'


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    root = tmp_path / "repo"
    (root / "cron").mkdir(parents=True)
    (root / ".git").mkdir()
    (root / "cron" / "schedule.toml").write_text(TREE, "utf-8")
    return root


@pytest.fixture
def environ(tmp_path: Path) -> Mapping[str, str]:
    here = os.environ
    kept = {name: here[name] for name in ("PATH", "PYTHONPATH", "LANG") if name in here}
    return {**kept, "HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state"), "OFFBEAT_BROKER": "filesystem://"}


def offbeat(repo: Path, environ: Mapping[str, str], *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*OFFBEAT, *args], cwd=repo, env=environ, capture_output=True, text=True, check=False)


def test_a_tick_with_nothing_due_loads_nothing_heavy(repo: Path, environ: Mapping[str, str]) -> None:
    first = offbeat(repo, environ, "tick")
    assert (first.returncode, first.stdout, first.stderr) == (0, "", "")

    words = [sys.executable, "-X", "importtime", "-m", "offbeat", "tick"]
    done = subprocess.run(words, cwd=repo, env=environ, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, "")
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "sqlite3" in loaded
    assert sorted(loaded & HEAVY) == []


@pytest.mark.parametrize(
    ("args", "tree"),
    [
        (["tick"], (None, False)),
        (["tick", "--tree", "x"], ("x", False)),
        (["--tree=x", "tick"], ("x", False)),
        (["--from-ledger", "tick"], (None, True)),
        (["tick", "--tree"], None),
        (["tick", "-v"], None),
        (["tick", "--help"], None),
        (["fire", "tick"], None),
        (["tick", "tick"], None),
        ([], None),
    ],
)
def test_only_a_plain_tick_goes_the_short_way(args: list[str], tree: tuple[str | None, bool] | None) -> None:
    assert tree_of(args) == tree


@pytest.mark.parametrize("args", [["tick"], ["tick", "--max-time", "50s"]])
def test_the_short_way_and_the_long_way_say_the_same(repo: Path, environ: Mapping[str, str], args: list[str]) -> None:
    (repo / "cron" / "schedule.toml").write_text("project = ", "utf-8")

    done = offbeat(repo, environ, *args)

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("cron/schedule.toml:1: this is not TOML")
    assert done.stderr.count("  fix: ") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_ends_when_it_is_told_to(repo: Path, environ: Mapping[str, str], number: signal.Signals) -> None:
    with subprocess.Popen(
        [*OFFBEAT, "run", "--log-format", "json"],
        cwd=repo,
        env=environ,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as runner:
        assert runner.stderr and runner.stdout
        events = []
        for line in runner.stderr:
            events.append(json.loads(line)["event"])
            if events[-1] == "started":
                runner.send_signal(number)
        said = runner.stdout.read()

    assert (runner.returncode, said) == (0, "")
    assert events[-1] == "stopped"


def test_a_run_of_a_tree_with_problems_logs_them_and_goes_on(repo: Path, environ: Mapping[str, str]) -> None:
    (repo / "cron" / "schedule.toml").write_text(f'{TREE}[entries.bad]\ncron = "0 25 * * *"\n', "utf-8")

    with subprocess.Popen(
        [*OFFBEAT, "run", "--log-format", "json"], cwd=repo, env=environ, stderr=subprocess.PIPE, text=True
    ) as runner:
        assert runner.stderr
        lines = []
        for text in runner.stderr:
            lines.append(json.loads(text))
            if {"started", "problem"} <= {line["event"] for line in lines}:
                runner.terminate()

    (problem,) = [line for line in lines if line["event"] == "problem"]
    assert problem["where"] == "cron/schedule.toml:6"
    assert runner.returncode == 0


APP = """
from celery import Celery

app = Celery("proj", broker="redis://127.0.0.1:1/0")


@app.task(name="shop.tasks.report", bind=True)
def report(self, full=False):
    if full:
        return inner(full)
    return f"eager={self.request.is_eager}"


def inner(full):
    raise ValueError(f"cannot: {full}")
"""


@pytest.fixture
def app(repo: Path) -> Path:
    (repo / "proj.py").write_text(APP, "utf-8")
    return repo


def test_here_runs_the_task_in_this_process_and_touches_no_ledger(
    app: Path, environ: Mapping[str, str], tmp_path: Path
) -> None:
    done = offbeat(app, environ, "fire", "report", "--here", "-A", "proj")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("shop.tasks.report returned 'eager=True' after ")
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("name", ["proj:app", "proj.app", "proj"])
def test_here_finds_the_app_as_celery_does(app: Path, environ: Mapping[str, str], name: str) -> None:
    assert offbeat(app, environ, "fire", "report", "--here", "-A", name).returncode == 0


def test_here_shows_the_tasks_own_traceback(app: Path, environ: Mapping[str, str]) -> None:
    done = offbeat(app, environ, "fire", "report", "full=true", "--here", "-A", "proj")

    assert (done.returncode, done.stdout) == (1, "")
    lines = done.stderr.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert "proj.py" in lines[1] and lines[1].endswith("in report")
    assert lines[-1] == "ValueError: cannot: True"


def test_here_can_be_debugged_with_pdb(app: Path, environ: Mapping[str, str]) -> None:
    text = (app / "proj.py").read_text("utf-8").replace("    if full:", "    breakpoint()\n    if full:")
    (app / "proj.py").write_text(text, "utf-8")

    done = subprocess.run(
        [*OFFBEAT, "fire", "report", "--here", "-A", "proj"],
        cwd=app, env=environ, input="p 6 * 7\nc\n", capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "42" in done.stdout


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["report", "--here", "-A", "nosuch"], 'there is no Celery app "nosuch"'),
        (["reprot", "--here", "-A", "proj"], 'has no task "shop.tasks.reprot"; did you mean "shop.tasks.report"?'),
    ],
)
def test_here_says_what_is_missing_without_a_traceback(
    app: Path, environ: Mapping[str, str], args: list[str], said: str
) -> None:
    done = offbeat(app, environ, "fire", *args)

    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_broken_module_of_the_user_is_shown_as_its_own(app: Path, environ: Mapping[str, str]) -> None:
    (app / "broken.py").write_text("import nosuchpackage\n", "utf-8")

    done = offbeat(app, environ, "fire", "report", "--here", "-A", "broken")

    assert done.returncode == 1
    assert "No module named 'nosuchpackage'" in done.stderr
    assert "bug in offbeat" not in done.stderr


def test_here_sets_django_up_as_a_worker_does(repo: Path, environ: Mapping[str, str]) -> None:
    (repo / "site_settings.py").write_text('SECRET_KEY = "x"\nINSTALLED_APPS = ["shop"]\nUSE_TZ = True\n', "utf-8")
    (repo / "shop").mkdir()
    (repo / "shop" / "__init__.py").write_text("", "utf-8")
    (repo / "shop" / "tasks.py").write_text(
        "from celery import shared_task\nfrom django.apps import apps\n\n\n"
        "@shared_task\ndef report():\n    return [config.name for config in apps.get_app_configs()]\n",
        "utf-8",
    )
    (repo / "site_celery.py").write_text(
        "import os\nfrom celery import Celery\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'site_settings')\n"
        "app = Celery('site')\napp.autodiscover_tasks()\n",
        "utf-8",
    )

    done = offbeat(repo, environ, "fire", "report", "--here", "-A", "site_celery")

    assert done.returncode == 0, done.stderr
    assert "['shop']" in done.stdout


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["fire", ""], ["report"]),
        (["--tree", "cron", "next", "re"], ["report"]),
        (["history", "x"], []),
        (["add", "h"], ["hourly"]),
        (["add", "hourly", ""], []),
        (["che"], ["check"]),
    ],
)
def test_a_shell_is_offered_what_fits(repo: Path, environ: Mapping[str, str], words: list[str], offered: list[str]) -> None:
    typed = {"COMP_WORDS": " ".join(["offbeat", *words]), "COMP_CWORD": str(len(words))}

    done = offbeat(repo, {**environ, **typed, "_OFFBEAT_COMPLETE": "bash_complete"})

    assert done.stderr == ""
    assert done.stdout.split() == [f"plain,{word}" for word in offered]


def test_completing_where_there_is_no_tree_is_quiet(tmp_path: Path, environ: Mapping[str, str]) -> None:
    typed = {"COMP_WORDS": "offbeat fire ", "COMP_CWORD": "2", "_OFFBEAT_COMPLETE": "bash_complete"}

    done = offbeat(tmp_path, {**environ, **typed})

    assert (done.stdout, done.stderr) == ("\n", "")


def on_terminal(repo: Path, environ: Mapping[str, str], *args: str) -> str:
    """Run offbeat with a terminal for its output, and return what it wrote there."""
    reader, writer = os.openpty()
    with subprocess.Popen([*OFFBEAT, *args], cwd=repo, env=environ, stdout=writer, stderr=writer) as process:
        os.close(writer)
        said = b""
        while True:
            try:
                part = os.read(reader, 65536)
            except OSError:  # Linux: the other end is closed
                break
            if not part:
                break
            said += part
        process.wait()
    os.close(reader)
    return said.decode()


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_colours_are_for_terminals_that_want_them(
    repo: Path, environ: Mapping[str, str], no_color: str, coloured: bool
) -> None:
    (repo / "cron" / "schedule.toml").write_text(f'{TREE}[entries.bad]\ncron = "0 25 * * *"\n', "utf-8")
    seen = {**environ, "TERM": "xterm-256color", "NO_COLOR": no_color, "COLUMNS": "120"}

    assert ("\x1b[31m" in on_terminal(repo, seen, "check")) is coloured
    assert ("\x1b[1m" in on_terminal(repo, seen, "list")) is coloured
    assert "\x1b" not in offbeat(repo, seen, "check").stdout


@pytest.mark.parametrize("columns", ["40", "80"])
@pytest.mark.parametrize("words", ["list", "history report"])
def test_a_narrow_terminal_keeps_every_cell_whole_and_every_row_in_one_line(
    repo: Path, environ: Mapping[str, str], words: str, columns: str
) -> None:
    (repo / "cron" / "schedule.toml").write_text(
        TREE.replace("shop.tasks.", "shop.tasks.of.a.long.name.").replace("report", "a_long_name_of_a_report"), "utf-8"
    )
    words = words.replace("report", "a_long_name_of_a_report")
    if words.startswith("history"):
        offbeat(repo, environ, "fire", "a_long_name_of_a_report")
    seen = {**environ, "COLUMNS": columns}

    plain, shown = offbeat(repo, seen, *words.split()).stdout, on_terminal(repo, {**seen, "TERM": "dumb"}, *words.split())

    assert len(plain.splitlines()) == 2
    assert [line.split() for line in shown.splitlines()] == [line.split() for line in plain.splitlines()]


def test_names_that_the_locale_cannot_write_are_written_still(repo: Path, environ: Mapping[str, str]) -> None:
    (repo / "cron" / "schedule.toml").write_text(TREE.replace("report", '"caf\u00e9"'), "utf-8")

    done = offbeat(repo, {**environ, "PYTHONIOENCODING": "iso8859-5"}, "list")

    assert done.returncode == 0
    assert "caf\\xe9" in done.stdout


@pytest.mark.parametrize("closed", [">&-", "2>&-", "0<&- >&- 2>&-"])
@pytest.mark.parametrize("args", ["tick", "list --json", "fire report", "status"])
def test_a_closed_standard_file_is_like_one_that_leads_nowhere(
    repo: Path, environ: Mapping[str, str], args: str, closed: str
) -> None:
    words = f"{sys.executable} -m offbeat {args}"
    shown = subprocess.run(["sh", "-c", words], cwd=repo, env=environ, capture_output=True, text=True, check=False)
    done = subprocess.run(["sh", "-c", f"{words} {closed}"], cwd=repo, env=environ, capture_output=True, text=True, check=False)

    assert done.returncode == shown.returncode
    assert "Traceback" not in done.stderr
    if "2>&-" not in closed:
        assert ("rror" in done.stderr) == ("rror" in shown.stderr)


def test_no_file_of_ours_gets_the_number_of_a_closed_standard_file() -> None:
    program = """
import os
from offbeat.__main__ import open_closed
for fd in (0, 1, 2):
    os.close(fd)
open_closed()
print("into nothing", flush=True)
assert [os.readlink(f"/proc/self/fd/{fd}") for fd in (0, 1, 2)] == ["/dev/null"] * 3
assert os.open("/etc/passwd", os.O_RDONLY) > 2
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_difference_is_coloured_and_a_backfill_has_a_bar_on_a_terminal_only(repo: Path, environ: Mapping[str, str]) -> None:
    seen = {**environ, "TERM": "xterm-256color", "COLUMNS": "120"}
    offbeat(repo, seen, "deploy")
    (repo / "cron" / "schedule.toml").write_text(f'{TREE}[entries.more]\nevery = "1h"\n', "utf-8")
    shown, plain = on_terminal(repo, seen, "diff"), offbeat(repo, seen, "diff")
    offbeat(repo, seen, "deploy")
    span = ("backfill", "more", "--from", "2d", "--to", "1d")

    barred, lines = on_terminal(repo, seen, *span), offbeat(repo, seen, *span, "--again")

    assert "\x1b[32m+ more\x1b[0m" in shown
    assert "+ more\n" in plain.stdout and "\x1b" not in plain.stdout
    assert "100%" in barred and "recorded 24 of 24" not in barred
    assert lines.stderr == "recorded 24 of 24\n"


@pytest.mark.parametrize(("answer", "code"), [(b"n\n", 130), (b"y\n", 0)])
def test_rewind_asks_on_a_terminal(repo: Path, environ: Mapping[str, str], answer: bytes, code: int) -> None:
    offbeat(repo, environ, "deploy")
    reader, writer = os.openpty()
    with subprocess.Popen([*OFFBEAT, "rewind", "--to", "1m"], cwd=repo, env=environ, stdin=writer, stderr=-1) as process:
        os.write(reader, answer)
        assert process.stderr is not None
        said = process.stderr.read().decode()
    os.close(reader)
    os.close(writer)

    assert process.returncode == code
    assert "decide everything after" in said
