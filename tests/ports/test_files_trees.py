"""Real trees, rebuilt from their manifests and from the story of the team, run unchanged."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from offbeat.core.model import DIRECTORIES, CommandCall, TaskCall
from offbeat.core.parse import parse
from offbeat.core.settings import TIMES
from offbeat.errors import Severity
from offbeat.ports.command_process import start, start_words
from offbeat.ports.files import find_tree
from offbeat.ports.treereader import read_tree

MANIFESTS = Path(__file__).parent.parent / "trees"

RUNS = {
    "drupal-quickstart": ["hourly/drupal_cron", "weekly/chronograph"],
    "aim-openshift": ["hourly/loadprices.sh", "weekly/chronograph", "monthly/postgres_vacuum"],
    "otrs-openshift-quickstart": [
        "minutely/timedcron.py", "hourly/generatedashboardstats.sh", "daily/otrs-daily.sh",
        "weekly/chronograph", "weekly/clearcache.sh",
    ],
    "senti-stock": [
        "hourly/news", "hourly/search", "hourly/stream",
        "daily/Accuracy", "daily/StockClassifier", "daily/inside", "daily/quote",
        "weekly/BayTrainer", "weekly/LinTrainer",
    ],
    "openboinc": ["hourly/jobs_check", "weekly/chronograph"],
}  # fmt: skip

WARNINGS = {  # of what runs: its name is skipped elsewhere (S202), not executable (S203), no `#!` (S204)
    "drupal-quickstart": {"hourly/drupal_cron": ["S204"]},
    "aim-openshift": {"hourly/loadprices.sh": ["S202", "S203"], "monthly/postgres_vacuum": ["S203"]},
    "otrs-openshift-quickstart": {
        "minutely/timedcron.py": ["S202"], "hourly/generatedashboardstats.sh": ["S202"], "daily/otrs-daily.sh": ["S202"],
        "weekly/clearcache.sh": ["S202"],
    },
    "senti-stock": {
        name: ["S203", "S204"] if name == "daily/Accuracy" else ["S203"] for name in RUNS["senti-stock"]
    },
    "openboinc": {},
}  # fmt: skip


def rebuild(manifest: Path, root: Path) -> Path:
    """Lay out the tree that a manifest names, with contents of our own."""
    tree = root / ".openshift" / "cron"
    for file in tomllib.loads(manifest.read_text("utf-8"))["files"]:
        path = tree / file["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        if "link" in file:
            path.symlink_to(file["link"])
            continue
        body = f"echo {path.name}\n"
        if "lines" in file:
            body = "# a comment\n\n" + "\n".join(file["lines"]) + ("\n" if file.get("ends_in_newline", True) else "")
        path.write_text(f"#!/bin/sh\n{body}" if file.get("script") else body, "utf-8")
        path.chmod(int(file["mode"][-3:], 8))
    return tree


@pytest.mark.parametrize("name", sorted(RUNS))
def test_a_public_repositorys_tree_runs_unchanged(name: str, tmp_path: Path) -> None:
    rebuild(MANIFESTS / f"{name}.toml", tmp_path)

    tree = find_tree(tmp_path / ".openshift", None, {})
    schedule, problems = parse(read_tree(tree), {"OPENSHIFT_APP_NAME": name})

    assert schedule is not None
    assert schedule.project == name
    order = {directory: place for place, directory in enumerate(DIRECTORIES)}
    runs = sorted((entry.name for entry in schedule.entries), key=lambda each: (order[each.partition("/")[0]], each.encode()))
    assert runs == RUNS[name]
    for entry in schedule.entries:
        directory = entry.name.partition("/")[0]
        assert entry.call == CommandCall(argv=(entry.name,), directory=directory, time_limit=1200)
        assert entry.timing.recurrence == f"cron {TIMES[directory]}"
    assert {p.severity for p in problems} <= {Severity.WARNING}
    assert sorted((p.file.removeprefix(".openshift/cron/"), p.code) for p in problems) == sorted(
        (file, code) for file, codes in WARNINGS[name].items() for code in codes
    )


def output_of(call: object, tree: Path, root: Path) -> str:
    """Start one command as the supervisor does, and return what it wrote."""
    assert isinstance(call, CommandCall)
    with (root / "output").open("w+b") as file:
        done = start(start_words(call, str(tree)), str(root), env={"PATH": "/usr/bin:/bin"}, output=file.fileno())
        assert done.wait(60) == 0
        file.seek(0)
        return file.read().decode()


@pytest.mark.parametrize("name", sorted(RUNS))
def test_each_file_that_runs_really_runs(name: str, tmp_path: Path) -> None:
    tree = rebuild(MANIFESTS / f"{name}.toml", tmp_path)
    schedule, _ = parse(read_tree(tree), {})

    assert schedule is not None
    for entry in schedule.entries:
        assert output_of(entry.call, tree, tmp_path) == f"{entry.name.partition('/')[2]}\n"


def test_every_manifest_names_its_source_and_is_tested() -> None:
    manifests = {path.stem: tomllib.loads(path.read_text("utf-8")) for path in MANIFESTS.glob("*.toml")}

    assert set(manifests) == set(RUNS)
    for manifest in manifests.values():
        assert manifest["source"].startswith("https://github.com/")
        assert len(manifest["commit"]) == 40


TEAMS_SCRIPT = """\
#!/bin/bash
# Run a Celery task by its name, which is the first argument or else the name of the link.
[ -n "$OPENSHIFT_PYTHON_DIR" ] && . "$OPENSHIFT_PYTHON_DIR/virtenv/bin/activate"
here=$(dirname "$(readlink -f "$0")")
task=${1:-$(basename "$0")}
echo "import difio.tasks; difio.tasks.$task.delay()" | "$here/../../../manage.py" shell
"""


def teams_tree(root: Path) -> Path:
    tree = root / ".openshift" / "cron"
    for name in ("tasks", *DIRECTORIES):
        (tree / name).mkdir(parents=True)
        (tree / name / ".gitignore").touch()
    script = tree / "tasks" / "run_celery_task"
    script.write_text(TEAMS_SCRIPT, "utf-8")
    script.chmod(0o755)
    for link in ("hourly/search_dates", "hourly/refresh_packages", "daily/clean_up"):
        (tree / link).symlink_to("../tasks/run_celery_task")
    (tree / "daily" / "rotate-logs.sh").write_text("find . -name '*.log' -delete\n", "utf-8")
    return tree


def test_the_teams_tree_runs_its_own_script_until_there_is_a_prefix(tmp_path: Path) -> None:
    tree = teams_tree(tmp_path)

    schedule, problems = parse(read_tree(tree), {"OPENSHIFT_APP_NAME": "difio"})

    assert schedule is not None
    assert [(entry.name, type(entry.call)) for entry in schedule.entries] == [
        ("daily/clean_up", CommandCall),
        ("daily/rotate-logs.sh", CommandCall),
        ("hourly/refresh_packages", CommandCall),
        ("hourly/search_dates", CommandCall),
    ]
    assert [p.file for p in problems if p.code == "S209"] == [
        f".openshift/cron/{link}" for link in ("daily/clean_up", "hourly/refresh_packages", "hourly/search_dates")
    ]


def test_the_teams_script_goes_on_sending_what_its_links_are_called(tmp_path: Path) -> None:
    tree = teams_tree(tmp_path)
    (tmp_path / "manage.py").write_text("#!/bin/sh\ncat\n", "utf-8")
    (tmp_path / "manage.py").chmod(0o755)
    schedule, _ = parse(read_tree(tree), {})

    assert schedule is not None
    calls = {entry.name: entry.call for entry in schedule.entries}
    assert output_of(calls["hourly/search_dates"], tree, tmp_path) == "import difio.tasks; difio.tasks.search_dates.delay()\n"


def test_one_line_makes_the_teams_links_tasks(tmp_path: Path) -> None:
    tree = teams_tree(tmp_path)
    (tree / "schedule.toml").write_text('task_prefix = "difio.tasks."\n', "utf-8")

    schedule, problems = parse(read_tree(tree), {"OPENSHIFT_APP_NAME": "difio"})

    assert schedule is not None
    calls = {entry.name: entry.call for entry in schedule.entries}
    assert calls["search_dates"] == TaskCall(task="difio.tasks.search_dates")
    assert calls["clean_up"] == TaskCall(task="difio.tasks.clean_up")
    assert calls["daily/rotate-logs.sh"] == CommandCall(argv=("daily/rotate-logs.sh",), directory="daily")
    assert len(calls) == 4
    assert {p.file for p in problems} == {".openshift/cron/daily/rotate-logs.sh"}


def test_a_tree_whose_links_git_wrote_as_text_says_what_it_runs(tmp_path: Path) -> None:
    tree = teams_tree(tmp_path)
    (tree / "schedule.toml").write_text('task_prefix = "difio.tasks."\n', "utf-8")
    link = tree / "hourly" / "search_dates"
    link.unlink()
    link.write_text("../tasks/run_celery_task", "utf-8")
    os.chmod(link, 0o644)

    schedule, problems = parse(read_tree(tree), {"OPENSHIFT_APP_NAME": "difio"})

    assert schedule is not None
    assert "search_dates" not in [entry.name for entry in schedule.entries]
    assert [p.code for p in problems if p.file.endswith("hourly/search_dates")] == ["S213"]
