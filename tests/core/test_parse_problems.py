"""Bad input in schedule.toml: each is a problem with where, what, why and fix, and the other entries go on."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from offbeat.core.listing import Directory, Found, Kind, Text, TreeFiles
from offbeat.core.parse import format_problem_json, parse
from offbeat.errors import Problem, Severity

GOOD = '[entries.good]\nevery = "45m"\n'


def tree(text: str | bytes, *files: Found, kind: Kind = Kind.FILE, shared: bool = False) -> TreeFiles:
    content = text.encode() if isinstance(text, str) else text
    return TreeFiles(
        path="cron",
        schedule=Text(path="cron/schedule.toml", kind=kind, content=content, shared=shared),
        directories=(Directory(name="hourly", path="cron/hourly", kind=Kind.DIRECTORY, files=files),),
    )


@dataclass(frozen=True)
class Case:
    name: str
    lines: str  # of [entries.bad], which begins at line 3
    code: str
    line: int
    what: str
    fix: str


CASES = [
    Case("an unknown key", 'every = "1h"\nquue = "x"', "S143", 5, 'the key "quue" is not known', 'did you mean "queue"?'),
    Case(
        "a key of nothing",
        'every = "1h"\nzzz = 1',
        "S143",
        5,
        'the key "zzz" is not known',
        "remove it; the keys here are: any,",
    ),
    Case(
        "a wrong type",
        'every = "1h"\nqueue = 5',
        "S144",
        5,
        '"queue" is a whole number, where it should be text',
        'queue = "text"',
    ),
    Case("a flag for a number", 'every = "1h"\npriority = true', "S144", 5, '"priority" is true or false', "priority = 5"),
    Case("a list for a table", 'every = "1h"\nkwargs = [1]', "S144", 5, '"kwargs" is a list, where it', "kwargs = {"),
    Case("a table for a list", 'every = "1h"\nargs = { a = 1 }', "S144", 5, '"args" is a table', "args = ["),
    Case("text for a flag", 'every = "1h"\nenabled = "no"', "S144", 5, '"enabled" is text, where', "enabled = true"),
    Case("a number for a time", 'every = "1h"\nstarts_at = 5', "S144", 5, '"starts_at" is not a date and time', "starts_at = "),
    Case(
        "bad cron", 'cron = "0 25 * * *"', "S103", 4, 'cron "0 25 * * *": hour 25 is outside 0-23', "use an hour from 0 to 23"
    ),
    Case("cron of another type", "cron = 5", "S144", 4, '"cron" is a whole number', 'cron = "text"'),
    Case("a bad interval", 'every = "5 minutes"', "S104", 4, 'every: duration "5 minutes" is not', 'did you mean "5m"?'),
    Case(
        "a flag for an interval",
        "every = true",
        "S144",
        4,
        '"every" is true or false, where it should be a duration',
        'every = "45m"',
    ),
    Case(
        "a bad instant", 'at = "tomorrow"', "S105", 4, 'at: instant "tomorrow" is not a date and a time', "2026-03-01T04:30:00"
    ),
    Case("no instant", "at = []", "S105", 4, "at names no instant", "2026-03-01T04:30:00"),
    Case("an instant of another type", 'at = ["2026-01-01", 5]', "S144", 4, '"at" is not a date and time', "at = "),
    Case("two recurrences", 'cron = "1 * * * *"\nevery = "1h"', "S147", 5, "it has cron and every, two", "keep one of them"),
    Case("no recurrence", 'queue = "x"', "S147", 3, "it has no recurrence", 'cron = "30 4 * * mon"'),
    Case(
        "an offset of nothing", 'cron = "1 * * * *"\noffset = "5m"', "S133", 5, '"offset" belongs to "every"', "remove offset"
    ),
    Case("an unknown zone", 'every = "1h"\ntimezone = "Europe/Sofa"', "S110", 5, 'time zone "Europe/Sofa"', '"Europe/Sofia"?'),
    Case("an empty task", 'every = "1h"\ntask = ""', "S148", 5, 'the task name "" is empty', "task = "),
    Case("a task with a blank", 'every = "1h"\ntask = "a b"', "S148", 5, 'the task name "a b" has white', "task = "),
    Case("a task with a control", 'every = "1h"\ntask = "a\\u0007"', "S148", 5, 'the task name "a\\x07" has', "task = "),
    Case("a task of another type", 'every = "1h"\ntask = 1', "S144", 5, '"task" is a whole number', 'task = "text"'),
    Case(
        "a date in kwargs",
        'every = "1h"\nkwargs = { a = [{ b = 2026-01-01 }] }',
        "S149",
        5,
        '"kwargs.a[0].b" is a date',
        "as text",
    ),
    Case("nan in args", 'every = "1h"\nargs = [1, nan]', "S149", 5, '"args[1]" is nan, which JSON', "as text or as a number"),
    Case("inf in headers", 'every = "1h"\nheaders = { a = -inf }', "S149", 5, '"headers.a" is -inf', "as text"),
    Case(
        "a header of ours",
        'every = "1h"\nheaders = { offbeat_x = 1 }',
        "S131",
        5,
        '"offbeat_x" is offbeat\'s own',
        "x_offbeat_x",
    ),
    Case("a header of Celery's", 'every = "1h"\nheaders = { ETA = 1 }', "S131", 5, '"ETA" is Celery\'s own', "x_ETA"),
    Case("a priority too high", 'every = "1h"\npriority = 256', "S145", 5, '"priority" 256 is outside 0-255', "priority = 255"),
    Case("a span that is no span", 'every = "1h"\nexpires = "soon"', "S104", 5, 'expires: duration "soon"', "1h30m"),
    Case("no time to live", 'every = "1h"\nexpires = 0', "S104", 5, 'expires: duration "0"', "1h30m"),
    Case(
        "another catch_up",
        'every = "1h"\ncatch_up = "some"',
        "S145",
        5,
        '"catch_up" is "some", and can be "latest", "all" or "none"',
        'catch_up = "latest"',
    ),
    Case(
        "overlap without an end",
        'every = "1h"\noverlap = "skip"',
        "S145",
        5,
        'overlap = "skip" needs "max_runtime"',
        'max_runtime = "1h"',
    ),
    Case(
        "waiting without an end",
        'every = "1h"\noverlap = "wait"',
        "S145",
        5,
        'overlap = "wait" needs "max_runtime"',
        'max_runtime = "1h"',
    ),
    Case(
        "overlap of no kind",
        'every = "1h"\noverlap = "x"',
        "S145",
        5,
        '"overlap" is "x", and can be "allow", "skip" or "wait"',
        '"skip"',
    ),
    Case(
        "an end without overlap",
        'every = "1h"\nmax_runtime = "1h"',
        "S133",
        5,
        '"max_runtime" is for overlap = "skip" or "wait"',
        "remove max_runtime",
    ),
    Case(
        "an end that is no span",
        'every = "1h"\noverlap = "wait"\nmax_runtime = 60',
        "S104",
        6,
        '"max_runtime" 60 has no unit',
        'max_runtime = "60s"',
    ),
    Case("a key of the ledger", 'every = "1h"\nafter_restore = "skip"', "S143", 5, '"after_restore" is not known', "[ledger]"),
    Case(
        "a serializer to come",
        'every = "1h"\nserializer = "pickle"',
        "S130",
        5,
        'serializer "pickle" is not yet',
        'serializer = "json"',
    ),
    Case(
        "an end before the start",
        'every = "1h"\nstarts_at = "2026-02-01"\nends_at = "2026-01-01"',
        "S145",
        6,
        "is before",
        "swap",
    ),
    Case("an empty queue", 'every = "1h"\nqueue = " "', "S145", 5, '"queue" is empty', "leave queue out"),
    Case("a limit for a task", 'every = "1h"\ntime_limit = "5m"', "S133", 5, '"time_limit" is for commands', "worker"),
    Case(
        "a queue for a command", 'every = "1h"\ncommand = "x"\nqueue = "q"', "S133", 6, '"queue" is for tasks', "remove queue"
    ),
    Case("a task and a command", 'every = "1h"\ncommand = "x"\ntask = "t"', "S133", 6, '"task" is for tasks', "remove task"),
    Case("an empty command", 'every = "1h"\ncommand = []', "S145", 5, '"command" is empty', 'command = "make report"'),
    Case("a command of numbers", 'every = "1h"\ncommand = ["a", 1]', "S144", 5, '"command" is a list, where it', "make report"),
    Case(
        "a password in kwargs",
        'every = "1h"\nkwargs = { u = "http://u:hunter2@h" }',
        "C110",
        5,
        '"kwargs.u" has a password',
        "change it",
    ),
    Case(
        "a password in a command",
        'every = "1h"\ncommand = "curl http://u:hunter2@h"',
        "C110",
        5,
        '"command" has a pass',
        "env_file",
    ),
    Case(
        "a password as a zone", 'every = "1h"\ntimezone = "x://u:hunter2@h"', "C110", 5, '"timezone" has a password', "env_file"
    ),
]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_one_bad_entry_is_told_and_stops_nothing_else(case: Case, newline: str) -> None:
    text = f'project = "p"\n\n[entries.bad]\n{case.lines}\n\n{GOOD}'.replace("\n", newline)

    schedule, problems = parse(tree(text), {})

    assert schedule is not None
    assert [entry.name for entry in schedule.entries] == ["good"]
    found = [p for p in problems if p.code == case.code]
    assert len(found) == 1, problems
    problem = found[0]
    assert (problem.where, problem.severity, problem.entry) == (f"cron/schedule.toml:{case.line}", Severity.ERROR, "bad")
    assert problem.what.startswith('entry "bad": ')
    assert case.what in problem.what
    assert case.fix in problem.fix
    assert problem.why
    assert not any("hunter2" in str(each) for each in problems)


def test_all_problems_of_all_entries_come_at_once_in_the_order_of_lines() -> None:
    text = '[entries.a]\ncron = "61 25 * * *"\nquue = 1\n[entries.b]\nat = "x"\n'

    _, problems = parse(tree(text), {"OFFBEAT_PROJECT": "p"})

    assert [(p.line, p.code, p.entry) for p in problems] == [
        (2, "S103", "a"),
        (2, "S103", "a"),
        (3, "S143", "a"),
        (5, "S105", "b"),
    ]


def refused(text: str | bytes, *, kind: Kind = Kind.FILE) -> Problem:
    schedule, problems = parse(tree(text, kind=kind), {"OFFBEAT_PROJECT": "p"})
    assert schedule is None
    assert len(problems) == 1, problems
    assert "the last good schedule stays in force" in problems[0].why
    assert problems[0].severity is Severity.ERROR
    assert problems[0].fix
    return problems[0]


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        (f"{GOOD}[entries.bad\n", 3, "this is not TOML: expected ']' at the end of a table declaration"),
        (f"{GOOD}every = '1h'\n", 3, "this is not TOML: cannot overwrite a value"),
        (f'{GOOD}[a]\nb = "open\nc = 1\n', 4, "this is not TOML: illegal character"),
        (f"{GOOD}[a]\nb =", 4, "this is not TOML: "),
        (f"{GOOD}a = {'[' * 5000}", 0, "this is not TOML: it is nested too deeply"),
    ],
    ids=["header", "twice", "string", "end", "deep"],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_a_syntax_error_refuses_the_whole_file(text: str, line: int, what: str, newline: str) -> None:
    problem = refused(text.replace("\n", newline))

    assert (problem.code, problem.file, problem.line) == ("S140", "cron/schedule.toml", line)
    assert problem.what.startswith(what)


def test_a_file_that_is_not_utf8_is_refused_whole() -> None:
    problem = refused(b'project = "p"\n# caf\xe9\n')

    assert (problem.code, problem.where) == ("S141", "cron/schedule.toml:2")
    assert "iconv" in problem.fix


@pytest.mark.parametrize(
    ("kind", "code"), [(Kind.DIRECTORY, "S208"), (Kind.LOOP, "S206"), (Kind.UNREADABLE, "S207"), (Kind.OTHER, "S208")]
)
def test_what_is_no_readable_file_is_refused_whole(kind: Kind, code: str) -> None:
    problem = refused("", kind=kind)

    assert (problem.code, problem.file) == (code, "cron/schedule.toml")


@pytest.mark.parametrize(
    ("text", "line", "code"),
    [
        ("project = 5", 1, "S144"),
        ('project = ""', 1, "S145"),
        ("\ntask_prefix = 5", 2, "S144"),
        ('task_prefix = "a b."', 1, "S145"),
        ("broker = 5", 1, "S144"),
        ("[broker]\ndefault_queue = 5", 2, "S144"),
        ("[routes]\n'*' = 5", 2, "S144"),
        ("[routes]\n'*' = { queue = 5 }", 2, "S144"),
        ("[routes]\n'*' = {}", 2, "S145"),
        ("[routes]\n'*' = { queue = 'a', exchange = 'b' }", 2, "S130"),
        ("[routes]\n'*' = 'amqp://u:hunter2@h'", 2, "C110"),
    ],
)
def test_what_every_entry_depends_on_is_refused_whole(text: str, line: int, code: str) -> None:
    schedule, problems = parse(tree(text), {})

    errors = [p for p in problems if p.severity is Severity.ERROR]
    assert schedule is None
    assert [(p.line, p.code) for p in errors] == [(line, code)]
    assert "the last good schedule stays in force" in errors[0].why
    assert "hunter2" not in str(errors)


def test_a_table_that_is_there_twice_is_named_as_it_is_written() -> None:
    _, (problem,) = parse(tree("[entries.x]\nevery = '1h'\n[entries.x]  # again\ncron = '* * * * *'\n"), {})

    assert (problem.code, problem.line, problem.what) == ("S140", 3, "[entries.x] is there twice")
    assert problem.fix == "merge the two, or give one of them another name"


@pytest.mark.parametrize(
    ("text", "line", "code", "what", "fix"),
    [
        ("tiemzone = 'UTC'", 1, "S143", 'the key "tiemzone" is not known', 'did you mean "timezone"?'),
        ("broker_url = 'redis://h'", 1, "S143", 'the key "broker_url" is not known', "OFFBEAT_BROKER"),
        ("retention = {}", 1, "S143", 'the key "retention" is not known', '[ledger] with keep = "90d"'),
        ("after_restore = 'skip'", 1, "S143", 'the key "after_restore" is not known', "[ledger]: after_restore"),
        ("rules_version = 1", 1, "S130", '"rules_version" is not yet supported', "remove rules_version"),
        ("ledger = 5", 1, "S144", '"ledger" is a whole number', "ledger = {"),
        ("[ledger]\nkep = '1d'", 2, "S143", '[ledger]: the key "kep"', 'did you mean "keep"?'),
        ("[ledger]\nretention = '1d'", 2, "S143", '[ledger]: the key "retention"', 'keep = "90d"'),
        ("[ledger]\nkeep = 90", 2, "S104", '[ledger]: "keep" 90 has no unit', 'keep = "90d"'),
        ("[ledger]\nkeep = 0", 2, "S104", '[ledger]: keep: duration "0" is not a span', 'keep = "90d"'),
        ("[ledger]\nkeep_rows = 0", 2, "S145", '[ledger]: "keep_rows" 0 is less than 1', "keep_rows = 100000"),
        ("[ledger]\nkeep_rows = '5'", 2, "S144", '[ledger]: "keep_rows" is text', "keep_rows = 5"),
        ("[ledger]\nkeep_bytes = '1 gigabyte'", 2, "S145", '[ledger]: "keep_bytes" "1 gigabyte" is not a size', "1GB"),
        ("[ledger]\nkeep_bytes = '0GB'", 2, "S145", '[ledger]: "keep_bytes" "0GB" is not a size', "1GB"),
        ("[ledger]\nkeep_bytes = true", 2, "S144", '[ledger]: "keep_bytes" is true or false', "1GB"),
        ("[ledger]\nafter_restore = 'x'", 2, "S145", '[ledger]: "after_restore" is "x", and can be "skip" or "send"', "skip"),
        ("[defaults]\noverlap = 'skip'", 2, "S145", '[defaults]: overlap = "skip" needs "max_runtime"', 'max_runtime = "1h"'),
        ("entries = 5", 1, "S144", '"entries" is a whole number', "entries = {"),
        ("env_file = 5", 1, "S144", '"env_file" is a whole number', 'env_file = "text"'),
        ("broker_env = 'A B'", 1, "S145", '"broker_env" is not the name of a variable', "REDIS_URL"),
        ("broker_env = 'redis://:hunter2@h'", 1, "C110", '"broker_env" has a password in it', "env_file"),
        ("[broker]\nurl = 'redis://:hunter2@h'", 2, "C110", '[broker]: "url" has a password', "env_file"),
        ("[defaults]\nqueu = 'x'", 2, "S143", '[defaults]: the key "queu"', 'did you mean "queue"?'),
        ("[defaults]\ncron = 'x'", 2, "S143", '[defaults]: the key "cron"', "remove it"),
        ("[defaults]\nexpires = 'x'", 2, "S104", "[defaults]: expires: duration", "1h30m"),
        ("[directories]\nyearly = '1 * * * *'", 2, "S143", '[directories]: the key "yearly"', "weekly"),
        ("[directories]\nhourly = '61 * * * *'", 2, "S103", "[directories]: cron", "minute"),
        ("[directories]\nhourly = 5", 2, "S144", '[directories]: "hourly" is a whole number', "hourly = "),
        ("[directories.hourly]\ntime_limit = 'x'", 2, "S104", "[directories.hourly]: time_limit", "1h30m"),
        ("[directories.hourly]\nlimit = 'x'", 2, "S143", '[directories.hourly]: the key "limit"', "time_limit"),
    ],
)
def test_a_wrong_key_of_the_top_is_told_and_the_entries_go_on(text: str, line: int, code: str, what: str, fix: str) -> None:
    schedule, problems = parse(tree(f"{text}\n{'' if text.startswith('entries') else GOOD}"), {"OFFBEAT_PROJECT": "p"})

    assert schedule is not None
    assert [entry.name for entry in schedule.entries] == ([] if text.startswith("entries") else ["good"])
    found = [p for p in problems if p.code == code]
    assert [(p.line, p.severity) for p in found] == [(line, Severity.ERROR)]
    assert what in found[0].what
    assert fix in found[0].fix
    assert found[0].why
    assert "hunter2" not in str(problems) + str(schedule)


def test_an_unknown_zone_at_the_top_stops_what_depends_on_it() -> None:
    text = 'timezone = "Mars/Base"\n[entries.a]\ncron = "1 * * * *"\n[entries.b]\ncron = "1 * * * *"\ntimezone = "UTC"\n' + GOOD

    schedule, problems = parse(tree(text, Found(name="x")), {"OFFBEAT_PROJECT": "p"})

    assert schedule is not None
    assert [entry.name for entry in schedule.entries] == ["b", "good"]
    assert [(p.line, p.code) for p in problems] == [(1, "S110"), (2, "S145")]


def test_a_directory_with_a_wrong_time_is_not_loaded() -> None:
    schedule, _ = parse(tree("[directories]\nhourly = 'x'", Found(name="x")), {})

    assert schedule is not None
    assert schedule.entries == ()


def test_a_name_in_the_tree_and_in_the_file_is_a_problem_and_the_link_wins() -> None:
    link = Found(name="good", link="../tasks/run_celery_task", target="run_celery_task")

    schedule, problems = parse(tree(f'task_prefix = "t."\n{GOOD}', link), {"OFFBEAT_PROJECT": "p"})

    assert schedule is not None
    assert [entry.file for entry in schedule.entries] == ["cron/hourly/good"]
    assert [(p.code, p.where, p.entry) for p in problems] == [("S146", "cron/schedule.toml:2", "good")]
    assert "cron/hourly/good" in problems[0].what
    assert "cron/hourly/good" in problems[0].fix


@pytest.mark.parametrize("name", ['""', '" "', '"a\\nb"', '"hourly/x"', "n" * 501])
def test_a_name_that_no_entry_can_have_is_a_problem(name: str) -> None:
    schedule, problems = parse(tree(f'{GOOD}[entries.{name}]\ntask = "t"\nevery = "1h"'), {"OFFBEAT_PROJECT": "p"})

    assert schedule is not None
    assert [entry.name for entry in schedule.entries] == ["good"]
    assert [(p.code, p.line) for p in problems] == [("S132", 3)]
    assert "\n" not in problems[0].what


def test_an_entry_that_is_no_table_is_a_problem() -> None:
    schedule, problems = parse(tree('[entries]\nbad = 5\ngood = { every = "1h" }'), {"OFFBEAT_PROJECT": "p"})

    assert schedule is not None
    assert [entry.name for entry in schedule.entries] == ["good"]
    assert [(p.code, p.line, p.entry) for p in problems] == [("S144", 2, "bad")]


@pytest.mark.parametrize("where", ["file", "tree"])
def test_commands_of_a_file_that_everybody_may_write_are_refused(where: str) -> None:
    text = f'{GOOD}[entries.bad]\ncommand = "x"\nevery = "1h"'
    files = tree(text, shared=where == "file")
    if where == "tree":
        files = TreeFiles(path="cron", schedule=files.schedule, shared=True)

    schedule, problems = parse(files, {"OFFBEAT_PROJECT": "p"})

    assert schedule is not None
    assert [entry.name for entry in schedule.entries] == ["good"]
    assert [(p.code, p.where, p.fix) for p in problems] == [
        ("S211", "cron/schedule.toml:4", "chmod o-w cron/schedule.toml cron")
    ]


def test_a_warning_of_cron_is_placed_and_stops_nothing() -> None:
    schedule, problems = parse(tree('[entries.a]\n\ncron = "*/45 * * * *"'), {"OFFBEAT_PROJECT": "p"})

    assert schedule is not None
    assert [entry.name for entry in schedule.entries] == ["a"]
    assert [(p.where, p.severity, p.entry) for p in problems] == [("cron/schedule.toml:3", Severity.WARNING, "a")]


def test_a_problem_is_one_object_of_json() -> None:
    _, problems = parse(tree("x = 1"), {"OFFBEAT_PROJECT": "p"})

    assert format_problem_json(problems[0]) == {
        "file": "cron/schedule.toml",
        "line": 1,
        "code": "S143",
        "severity": "error",
        "what": 'the key "x" is not known',
        "why": "the key counts for nothing; everything else does",
        "fix": problems[0].fix,
    }
