"""Writing into a tree: init, links and entries; nothing that is there is ever changed."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offbeat.core.model import DIRECTORIES, CommandCall, Schedule, TaskCall
from offbeat.core.parse import parse
from offbeat.errors import ConfigError, OffbeatError, ScheduleError
from offbeat.ports.files import find_tree
from offbeat.ports.treereader import read_tree
from offbeat.ports.treewriter import _format, add_entry, add_link, init_tree, script_text


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return the tree of a repository that `init` has laid out."""
    init_tree(tmp_path, "difio")
    return tmp_path / "cron"


def parsed(tree: Path) -> Schedule:
    schedule, problems = parse(read_tree(tree), {})
    assert schedule is not None
    assert problems == ()
    return schedule


def contents(root: Path) -> dict[str, bytes | str]:
    return {
        str(path.relative_to(root)): str(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in root.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def code(error: pytest.ExceptionInfo[OffbeatError]) -> str:
    (problem,) = error.value.problems
    assert problem.what and problem.why and problem.fix
    return problem.code


def test_init_lays_out_a_tree_without_a_problem_and_lists_what_it_wrote(tmp_path: Path) -> None:
    written = init_tree(tmp_path, "dif-io", zone="Europe/Sofia")

    schedule = parsed(find_tree(tmp_path, None, {}))
    assert (schedule.project, schedule.timezone, schedule.task_prefix) == ("dif-io", "Europe/Sofia", "dif_io.tasks.")
    assert schedule.entries == ()
    assert sorted(map(str, written)) == sorted(contents(tmp_path))
    assert [name for name in DIRECTORIES if not (tmp_path / "cron" / name).is_dir()] == []
    assert os.access(tmp_path / "cron" / "tasks" / "run_celery_task", os.X_OK)


def test_init_takes_the_prefix_that_it_is_given(tmp_path: Path) -> None:
    init_tree(tmp_path, 'my "project"', task_prefix="shop.jobs.")

    assert (parsed(tmp_path / "cron").project, parsed(tmp_path / "cron").task_prefix) == ('my "project"', "shop.jobs.")


def test_what_init_comments_out_is_right_as_it_stands(tmp_path: Path) -> None:
    init_tree(tmp_path, "difio")
    path = tmp_path / "cron" / "schedule.toml"
    head, _, rest = path.read_text().partition("# env_file")

    path.write_text(head + "\n".join(line.removeprefix("# ") for line in f"# env_file{rest}".splitlines()))

    schedule = parsed(tmp_path / "cron")
    assert [entry.name for entry in schedule.entries] == ["invoices", "search_dates", "street_lights", "weekly_report"]
    assert schedule.routes == (("difio.tasks.search_*", "search"),)


@pytest.mark.parametrize("there", ["cron/schedule.toml", "cron/tasks/run_celery_task", ".openshift/cron/hourly/x"])
def test_init_overwrites_nothing(tmp_path: Path, there: str) -> None:
    (tmp_path / there).parent.mkdir(parents=True)
    (tmp_path / there).write_text("mine")
    before = contents(tmp_path)

    with pytest.raises(ConfigError) as error:
        init_tree(tmp_path, "difio")

    assert code(error) == "C120"
    assert contents(tmp_path) == before


def test_a_link_is_a_task_of_its_directory(tree: Path) -> None:
    written = add_link(tree, "hourly", "search_dates")

    assert written == (Path("cron/hourly/search_dates"),)
    assert (tree / "hourly" / "search_dates").readlink() == Path("../tasks/run_celery_task")
    assert parsed(tree).entries[0].call == TaskCall(task="difio.tasks.search_dates")


def test_a_missing_script_and_directory_come_with_the_link(tmp_path: Path) -> None:
    tree = tmp_path / ".openshift" / "cron"
    (tree / "daily").mkdir(parents=True)

    written = add_link(tree, "hourly", "search_dates")

    assert list(map(str, written)) == [".openshift/cron/hourly/search_dates", ".openshift/cron/tasks/run_celery_task"]
    assert (tree / "hourly" / "search_dates").read_text() == script_text()


def test_an_entry_whose_name_has_a_password_is_refused_and_nothing_written(tree: Path) -> None:
    before = contents(tree)

    with pytest.raises(ScheduleError) as error:
        add_entry(tree, "redis://u:hunter2@h", {"every": "1h"})

    assert [problem.code for problem in error.value.problems] == ["C110"]
    assert "hunter2" not in str(error.value)
    assert contents(tree) == before


@pytest.mark.parametrize(
    ("directory", "name", "expected"),
    [
        ("yearly", "a", "C121"),
        ("hourly", "", "C121"),
        ("hourly", "a b", "C121"),
        ("hourly", ".a", "C121"),
        ("hourly", "a~", "C121"),
        ("hourly", "../a", "C121"),
        ("hourly", "there", "C122"),
        ("daily", "there", "C122"),
        ("daily", "entry", "C122"),
        ("weekly", "a", "C123"),
        ("monthly", "run_celery_task", "C121"),
    ],
)
def test_a_link_that_would_not_run_is_refused_and_nothing_written(tree: Path, directory: str, name: str, expected: str) -> None:
    add_link(tree, "hourly", "there")
    add_entry(tree, "entry", {"every": "1h"})
    (tree / "weekly" / "jobs.allow").write_text("b\n")
    before = contents(tree)

    with pytest.raises(ConfigError) as error:
        add_link(tree, directory, name)

    assert code(error) == expected
    assert contents(tree) == before


def test_where_no_link_can_be_made_the_other_way_is_told(tree: Path) -> None:
    with pytest.raises(ConfigError, match="offbeat add a+ --cron") as error:
        add_link(tree, "hourly", "a" * 300)

    assert code(error) == "C124"


def test_an_entry_is_appended_and_every_other_byte_stays(tree: Path) -> None:
    path = tree / "schedule.toml"
    before = path.read_bytes()
    path.chmod(0o640)

    written = add_entry(tree, "weekly_report", {"cron": "30 4 * * mon", "kwargs": {"full": True, "a b": [1, 'x"y']}})

    assert written == Path("cron/schedule.toml")
    assert path.read_bytes().startswith(before)
    assert path.stat().st_mode & 0o777 == 0o640
    assert parsed(tree).entries[0].call == TaskCall(task="difio.tasks.weekly_report", kwargs={"full": True, "a b": [1, 'x"y']})
    assert list(tree.glob(".*")) == []


def test_a_command_can_be_added(tree: Path) -> None:
    add_entry(tree, "two words", {"every": "45m", "command": "make report"})

    assert parsed(tree).entries[0].call == CommandCall(argv=("sh", "-c", "make report"))


@pytest.mark.parametrize(
    "before", [b'project = "p"', b'project = "p"\n', b'project = "p"\r\n', b'\xef\xbb\xbfproject = "p"\n', b"\n# end", b""]
)
def test_an_entry_is_appended_to_a_file_of_any_ending(tree: Path, before: bytes) -> None:
    (tree / "schedule.toml").write_bytes(before)

    add_entry(tree, "a", {"every": "1h"})
    add_entry(tree, "b", {"every": "1h"})

    after = (tree / "schedule.toml").read_bytes()
    schedule, _ = parse(read_tree(tree), {})
    assert after.startswith(before)
    assert schedule is not None
    assert [entry.name for entry in schedule.entries] == ["a", "b"]
    assert (b"\r\n" in after) == (b"\r\n" in before)
    assert after.count(b"\r\n") in (0, after.count(b"\n"))


def test_a_schedule_that_is_not_there_is_begun(tmp_path: Path) -> None:
    (tmp_path / "cron" / "hourly").mkdir(parents=True)

    add_entry(tmp_path / "cron", "a", {"every": "1h"})

    assert (tmp_path / "cron" / "schedule.toml").read_text() == '[entries.a]\nevery = "1h"\n'


def test_a_linked_schedule_stays_a_link(tree: Path) -> None:
    real = tree.parent / "real.toml"
    (tree / "schedule.toml").rename(real)
    (tree / "schedule.toml").symlink_to("../real.toml")

    add_entry(tree, "a", {"every": "1h"})

    assert (tree / "schedule.toml").is_symlink()
    assert "[entries.a]" in real.read_text()


@pytest.mark.parametrize(
    ("name", "fields", "expected"),
    [
        ("a", {"cron": "0 25 * * *"}, "S103"),
        ("a", {}, "S147"),
        ("a", {"every": "1h", "quue": "x"}, "S143"),
        ("a/b", {"every": "1h"}, "S132"),
        ("a", {"every": "1h", "kwargs": {"u": "redis://:hunter2@h"}}, "C110"),
        ("there", {"every": "1h"}, "C122"),
        ("linked", {"every": "1h"}, "C122"),
    ],
)
def test_an_entry_with_a_problem_is_refused_and_nothing_written(
    tree: Path, name: str, fields: dict[str, object], expected: str
) -> None:
    add_entry(tree, "there", {"every": "1h"})
    add_link(tree, "hourly", "linked")
    before = contents(tree)

    with pytest.raises(OffbeatError) as error:
        add_entry(tree, name, fields)

    assert code(error) == expected
    assert "hunter2" not in str(error.value)
    assert contents(tree) == before


@pytest.mark.parametrize("content", [b"[entries\n", b"\xff", b"entries = { a = { every = '1h' } }\n", b"project = 5\n"])
def test_a_file_that_cannot_be_appended_to_stays_as_it_is(tree: Path, content: bytes) -> None:
    (tree / "schedule.toml").write_bytes(content)

    with pytest.raises(ScheduleError) as error:
        add_entry(tree, "b", {"every": "1h"})

    assert code(error).startswith("S1")
    assert (tree / "schedule.toml").read_bytes() == content


@pytest.mark.parametrize("what", ["init", "link", "entry"])
def test_what_cannot_be_written_is_told(tmp_path: Path, what: str) -> None:
    root = tmp_path / "repo"
    if what == "init":
        root.write_text("a file")
    else:
        (root / "cron" / "hourly").mkdir(parents=True)
        (root / "cron" / "tasks").write_text("a file")
        (root / "cron" / "schedule.toml").symlink_to("no/folder/schedule.toml")

    with pytest.raises(ConfigError, match="it cannot be written here: ") as error:
        if what == "init":
            init_tree(root, "difio")
        elif what == "link":
            add_link(root / "cron", "hourly", "a")
        else:
            add_entry(root / "cron", "a", {"every": "1h"})

    assert code(error) == "C124"


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
values = st.recursive(
    text | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(text, values, min_size=1, max_size=3))
def test_whatever_is_written_is_read_back(value: dict[str, object]) -> None:
    assert tomllib.loads(f"a = {_format(value)}")["a"] == value


def test_entries_that_are_added_at_the_same_time_are_all_there(tree: Path) -> None:
    words = "import sys; from pathlib import Path; from offbeat.ports.treewriter import add_entry; import offbeat.core.parse\n"
    words += "sys.stdin.readline(); add_entry(Path(sys.argv[1]), sys.argv[2], {'every': '45m'})"
    started = [
        subprocess.Popen([sys.executable, "-c", words, str(tree), f"e{number}"], stdin=subprocess.PIPE) for number in range(6)
    ]
    for process in started:
        process.communicate(b"\n")

    assert [process.returncode for process in started] == [0] * 6
    assert sorted(entry.name for entry in parsed(tree).entries) == [f"e{number}" for number in range(6)]


def test_an_entry_whose_name_a_link_has_is_refused_with_the_place_of_the_link(tree: Path) -> None:
    add_link(tree, "hourly", "report")

    with pytest.raises(ConfigError) as refused:
        add_entry(tree, "report", {"every": "45m"})

    assert code(refused) == "C122"
    assert refused.value.problems[0].file == "cron/hourly/report"
