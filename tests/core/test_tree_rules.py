"""The five directories: OpenShift's rules, one by one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from offbeat.core.listing import Directory, Found, Kind, Text, TreeFiles
from offbeat.core.tree import Piece, listed, pieces
from offbeat.errors import Problem, Severity

LINK = Found(name="search_dates", link="../tasks/run_celery_task", target="run_celery_task")


def hourly(*files: Found, allow: bytes | None = None, deny: bytes | None = None, name: str = "hourly") -> Directory:
    def text(which: str, content: bytes | None) -> Text | None:
        return None if content is None else Text(path=f"cron/{name}/{which}", kind=Kind.FILE, content=content)

    return Directory(
        name=name,
        path=f"cron/{name}",
        kind=Kind.DIRECTORY,
        files=files,
        allow=text("jobs.allow", allow),
        deny=text("jobs.deny", deny),
    )


def tree(*directories: Directory, shared: bool = False) -> TreeFiles:
    return TreeFiles(path="cron", schedule=Text(path="cron/schedule.toml"), directories=directories, shared=shared)


def names(found: tuple[Piece, ...]) -> list[str]:
    return [piece.name for piece in found]


def only(problems: tuple[Problem, ...]) -> Problem:
    assert len(problems) == 1, problems
    return problems[0]


def test_files_run_in_byte_order_directory_by_directory() -> None:
    files = [Found(name=name) for name in ("aa", "a", "B", "10-foo", "_b", "é")]

    found, _ = pieces(tree(hourly(*files), hourly(Found(name="z"), name="minutely")), linked=False)

    assert names(found) == [
        "minutely/z", "hourly/10-foo", "hourly/B", "hourly/_b", "hourly/a", "hourly/aa", "hourly/é",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name", [".hidden", ".gitignore", "a~", "a,", "a,v", "a.rpmsave", "a.rpmorig", "a.rpmnew", "a.swp", "a.cfsaved"]
)
def test_leftovers_and_dotfiles_are_skipped_without_a_word(name: str) -> None:
    assert pieces(tree(hourly(Found(name=name))), linked=False) == ((), ())


@pytest.mark.parametrize(
    ("name", "shown", "odd"),
    [
        ("two words", "two words", "has white space in it"),
        ("tab\tbed", "tab\\tbed", "has white space in it"),
        ("new\nline", "new\\nline", "has white space in it"),
        ("bell\x07", "bell\\x07", "has control characters in it"),
        ("star*", "star*", "has a character in it that shells expand"),
        ("latin\udce9", "latin\\udce9", "is not UTF-8"),
    ],
)
def test_a_name_that_run_parts_breaks_on_is_skipped_with_a_warning(name: str, shown: str, odd: str) -> None:
    found, problems = pieces(tree(hourly(Found(name=name), Found(name="fine"))), linked=False)

    problem = only(problems)
    assert names(found) == ["hourly/fine"]
    assert (problem.code, problem.severity, problem.file) == ("S201", Severity.WARNING, f"cron/hourly/{shown}")
    assert problem.what == f'the name "{shown}" {odd}'
    assert "the other files are" in problem.why
    assert "rename it" in problem.fix


def test_a_task_whose_link_looks_like_a_leftover_is_skipped_with_a_warning() -> None:
    found, problems = pieces(tree(hourly(replace(LINK, name="search_dates~"))), linked=True)

    assert found == ()
    assert only(problems).what == 'the name "search_dates~" looks like a leftover of an editor or a packager'


@pytest.mark.parametrize(
    ("name", "who"),
    [
        ("rotate-logs.sh", "Debian's run-parts"),
        ("a+b", "Debian's and BusyBox's run-parts"),
        ("é", "Debian's and BusyBox's run-parts"),
    ],
)
def test_a_name_that_other_run_parts_skip_runs_with_a_warning(name: str, who: str) -> None:
    found, problems = pieces(tree(hourly(Found(name=name))), linked=False)

    problem = only(problems)
    assert names(found) == [f"hourly/{name}"]
    assert (problem.code, problem.severity) == ("S202", Severity.WARNING)
    assert problem.what == f'the name "{name}" is skipped by {who}'
    assert problem.fix.startswith(f"git mv cron/hourly/{name} cron/hourly/")


def test_a_file_that_is_not_executable_runs_with_a_warning() -> None:
    found, problems = pieces(tree(hourly(Found(name="a", executable=False))), linked=False)

    problem = only(problems)
    assert names(found) == ["hourly/a"]
    assert (problem.code, problem.severity, problem.file) == ("S203", Severity.WARNING, "cron/hourly/a")
    assert problem.why == "it runs all the same, as OpenShift made it executable"
    assert "git update-index --chmod=+x cron/hourly/a" in problem.fix


def test_a_file_without_an_interpreter_is_run_by_bash_with_a_warning() -> None:
    found, problems = pieces(tree(hourly(Found(name="a", script=False))), linked=False)

    assert names(found) == ["hourly/a"]
    assert (only(problems).code, only(problems).why) == ("S204", "bash runs it, as run-parts did")


def test_a_program_is_no_script_and_needs_no_warning() -> None:
    found, problems = pieces(tree(hourly(Found(name="a", script=False, binary=True))), linked=False)

    assert (names(found), problems) == (["hourly/a"], ())


def test_a_picture_is_not_run() -> None:
    found, problems = pieces(tree(hourly(Found(name="a", script=False, binary=True, executable=False))), linked=False)

    assert found == ()
    assert (only(problems).code, only(problems).severity) == ("S210", Severity.WARNING)


def test_a_link_that_git_wrote_as_text_is_a_problem() -> None:
    found, problems = pieces(tree(hourly(Found(name="a", script=False, flattened=True))), linked=True)

    assert found == ()
    assert (only(problems).code, only(problems).severity) == ("S213", Severity.ERROR)
    assert "core.symlinks true" in only(problems).fix


@pytest.mark.parametrize(
    ("kind", "code", "severity", "what"),
    [
        (Kind.MISSING, "S205", Severity.ERROR, '"a" is a link to nothing'),
        (Kind.LOOP, "S206", Severity.ERROR, '"a" is a link that leads back to itself'),
        (Kind.UNREADABLE, "S207", Severity.ERROR, '"a" cannot be read by this user'),
        (Kind.DIRECTORY, "S208", Severity.WARNING, '"a" is a directory, where a file should be'),
        (Kind.OTHER, "S208", Severity.ERROR, '"a" is a pipe, socket or device, where a file should be'),
    ],
)
def test_what_is_no_file_is_a_problem_and_the_others_run(kind: Kind, code: str, severity: Severity, what: str) -> None:
    found, problems = pieces(tree(hourly(Found(name="a", kind=kind), Found(name="b"))), linked=True)

    problem = only(problems)
    assert names(found) == ["hourly/b"]
    assert (problem.code, problem.severity, problem.file, problem.what) == (code, severity, "cron/hourly/a", what)
    assert "not loaded; the other files are" in problem.why
    assert "cron/hourly/a" in problem.fix


@pytest.mark.parametrize(
    ("kind", "code"), [(Kind.FILE, "S208"), (Kind.LOOP, "S206"), (Kind.UNREADABLE, "S207"), (Kind.OTHER, "S208")]
)
def test_what_is_no_directory_is_a_problem_and_the_other_directories_run(kind: Kind, code: str) -> None:
    found, problems = pieces(
        tree(Directory(name="hourly", path="cron/hourly", kind=kind), hourly(LINK, name="daily")), linked=True
    )

    problem = only(problems)
    assert names(found) == ["search_dates"]
    assert (problem.code, problem.file) == (code, "cron/hourly")
    assert problem.why == 'no file of "hourly" is loaded; the other directories and schedule.toml are'


def test_a_directory_that_is_not_there_is_no_problem() -> None:
    assert pieces(tree(Directory(name="hourly", path="cron/hourly")), linked=True) == ((), ())


@pytest.mark.parametrize("which", ["allow", "deny"])
def test_a_list_that_cannot_be_read_stops_its_directory(which: str) -> None:
    broken = Text(path=f"cron/hourly/jobs.{which}", kind=Kind.DIRECTORY)
    directory = replace(hourly(LINK), allow=broken) if which == "allow" else replace(hourly(LINK), deny=broken)

    found, problems = pieces(tree(directory), linked=True)

    assert found == ()
    assert (only(problems).code, only(problems).file) == ("S208", f"cron/hourly/jobs.{which}")


@pytest.mark.parametrize(
    ("name", "allow", "deny", "runs"),
    [
        ("a", None, None, True),
        ("a", b"a\n", None, True),
        ("a", b"b\n", None, False),
        ("a", b"", None, False),
        ("a", None, b"a\n", False),
        ("a", None, b"b\n", True),
        ("a", None, b"", True),
        ("a", b"a\n", b"a\n", False),
        ("a", b"#\n# a\na", b"# a\n", True),
        ("a", b"a\r\n", None, False),
        ("a", None, b"a\r\n", True),
        ("a", b"a \n", None, False),
        ("a", b" a\n", None, False),
        ("a", b"aa\n", None, False),
        ("a.sh", b"a.sh\n", None, True),
        ("a.sh", b"a-sh\n", None, True),
        ("a-sh", b"a.sh\n", None, False),
        ("a+b", b"a+b\n", None, True),
        ("é", "é\n".encode(), None, True),
    ],
)
def test_a_name_runs_by_allow_and_deny_as_grep_matches_it(
    name: str, allow: bytes | None, deny: bytes | None, runs: bool
) -> None:
    assert listed(name, hourly(allow=allow, deny=deny)) is runs


def test_lines_that_no_name_can_match_are_a_warning() -> None:
    found, problems = pieces(tree(hourly(LINK, allow=b"# list\r\n\r\nsearch_dates\r\n", deny=b"x \n")), linked=True)

    assert found == ()
    crlf, blanks = problems
    assert (crlf.code, crlf.severity, crlf.where) == ("S212", Severity.WARNING, "cron/hourly/jobs.allow:3")
    assert (crlf.what, blanks.what) == ("1 line ends in CRLF", "1 line ends in blanks")
    assert blanks.where == "cron/hourly/jobs.deny:1"
    assert "match nothing" in crlf.why
    assert crlf.fix.startswith("sed -i")


def test_a_link_to_the_script_is_a_task_once_there_is_a_prefix() -> None:
    assert names(pieces(tree(hourly(LINK)), linked=True)[0]) == ["search_dates"]


def test_without_a_prefix_it_is_the_command_that_it_was_and_a_warning_tells_how_to_convert() -> None:
    found, problems = pieces(tree(hourly(LINK)), linked=False)

    problem = only(problems)
    assert names(found) == ["hourly/search_dates"]
    assert not found[0].task
    assert (problem.code, problem.severity) == ("S209", Severity.WARNING)
    assert problem.fix == 'set task_prefix = "PACKAGE.tasks." in schedule.toml'


@pytest.mark.parametrize("file", [Found(name="run_celery_task"), Found(name="x", link="../tasks/other", target="other")])
def test_other_files_and_links_are_commands(file: Found) -> None:
    assert not pieces(tree(hourly(file)), linked=True)[0][0].task


def test_a_task_linked_twice_is_a_problem_and_the_first_directory_wins() -> None:
    found, problems = pieces(tree(hourly(LINK, name="daily"), hourly(LINK)), linked=True)

    problem = only(problems)
    assert [piece.directory for piece in found] == ["hourly"]
    assert (problem.code, problem.severity, problem.file) == ("S146", Severity.ERROR, "cron/daily/search_dates")
    assert problem.what == 'the task "search_dates" is linked in "hourly" and in "daily"'
    assert "cron/daily/search_dates" in problem.fix


def test_a_command_may_have_the_same_name_in_two_directories() -> None:
    found, problems = pieces(tree(hourly(Found(name="a")), hourly(Found(name="a"), name="daily")), linked=True)

    assert (names(found), problems) == (["hourly/a", "daily/a"], ())


@pytest.mark.parametrize("what", ["script", "directory", "tree"])
def test_what_everybody_may_write_is_refused_for_commands_while_tasks_go_on(what: str) -> None:
    directory = replace(hourly(LINK, Found(name="a", shared=what == "script")), shared=what == "directory")

    found, problems = pieces(tree(directory, shared=what == "tree"), linked=True)

    problem = only(problems)
    assert names(found) == ["search_dates"]
    assert (problem.code, problem.severity, problem.file, problem.entry) == (
        "S211",
        Severity.ERROR,
        "cron/hourly/a",
        "hourly/a",
    )
    assert "Celery tasks go on" in problem.why
    assert problem.fix == "chmod o-w cron/hourly/a cron/hourly cron"
