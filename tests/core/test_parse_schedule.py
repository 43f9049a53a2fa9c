"""What schedule.toml and the directories say, once it is right."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offbeat.core.listing import Directory, Found, Kind, Text, TreeFiles
from offbeat.core.model import BrokerSettings, CatchUp, CommandCall, Entry, Policy, Schedule, TaskCall, Timing
from offbeat.core.parse import parse
from offbeat.core.routes import queue_of
from offbeat.errors import Problem, Severity

DESIGN = """\
# cron/schedule.toml
project = "difio"                  # identity: the same on every host; offbeat init writes it
timezone = "Europe/Sofia"
task_prefix = "difio.tasks."

[broker]                           # how the workers listen, where it is not Celery's default
default_queue = "celery"
[routes]
"difio.tasks.search_*" = "search"  # as Celery's task_routes

[entries.weekly_report]            # task difio.tasks.weekly_report
cron = "30 4 * * mon"

[entries.sweep]
every = "45m"                      # exact
kwargs = { full = true }
jitter = "5m"
grace = "2h"
"""
LINK = Found(name="search_dates", link="../tasks/run_celery_task", target="run_celery_task")
SCRIPT = Found(name="rotate-logs")


def tree(text: str, *files: Found, name: str = "hourly", path: str = "cron") -> TreeFiles:
    return TreeFiles(
        path=path,
        schedule=Text(path=f"{path}/schedule.toml", kind=Kind.FILE, content=text.encode()),
        directories=(Directory(name=name, path=f"{path}/{name}", kind=Kind.DIRECTORY, files=files),),
    )


def parsed(text: str, *files: Found, name: str = "hourly") -> Schedule:
    schedule, problems = parse(tree(text, *files, name=name), {"OFFBEAT_PROJECT": "p"})
    assert schedule is not None
    assert [problem for problem in problems if problem.severity is Severity.ERROR] == []
    return schedule


def one(text: str) -> Entry:
    schedule = parsed(f"[entries.one]\n{text}\n")
    assert len(schedule.entries) == 1
    return schedule.entries[0]


def task(text: str) -> TaskCall:
    call = one(f'every = "1h"\n{text}').call
    assert isinstance(call, TaskCall)
    return call


@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_the_tree_of_the_design_says_what_it_should(newline: str) -> None:
    schedule, problems = parse(tree(DESIGN.replace("\n", newline), LINK, SCRIPT), {})

    assert problems == ()
    assert schedule is not None
    assert schedule == Schedule(
        project="difio",
        timezone="Europe/Sofia",
        task_prefix="difio.tasks.",
        routes=(("difio.tasks.search_*", "search"),),
        digest=schedule.digest,
        entries=(
            Entry(
                name="hourly/rotate-logs",
                timing=Timing(recurrence="cron 1 * * * *", zone="Europe/Sofia"),
                call=CommandCall(argv=("hourly/rotate-logs",), directory="hourly"),
                file="cron/hourly/rotate-logs",
            ),
            Entry(
                name="search_dates",
                timing=Timing(recurrence="cron 1 * * * *", zone="Europe/Sofia"),
                call=TaskCall(task="difio.tasks.search_dates", queue="search"),
                file="cron/hourly/search_dates",
            ),
            Entry(
                name="sweep",
                timing=Timing(recurrence="every 2700 0", zone="Europe/Sofia"),
                call=TaskCall(task="difio.tasks.sweep", kwargs={"full": True}),
                policy=Policy(grace=7200, jitter=300),
                file="cron/schedule.toml",
                line=14,
            ),
            Entry(
                name="weekly_report",
                timing=Timing(recurrence="cron 30 4 * * 1", zone="Europe/Sofia"),
                call=TaskCall(task="difio.tasks.weekly_report"),
                file="cron/schedule.toml",
                line=11,
            ),
        ),
    )


def test_a_tree_without_schedule_toml_is_commands_and_a_warning_about_its_name() -> None:
    files = TreeFiles(
        path=".openshift/cron", schedule=Text(path=".openshift/cron/schedule.toml"), directories=tree("", SCRIPT).directories
    )

    schedule, problems = parse(files, {})

    assert schedule is not None
    assert (schedule.project, schedule.timezone) == ("default", "UTC")
    assert [entry.name for entry in schedule.entries] == ["hourly/rotate-logs"]
    assert [(p.code, p.severity, p.file) for p in problems] == [("C104", Severity.WARNING, ".openshift/cron/schedule.toml")]


@pytest.mark.parametrize(
    ("environ", "written", "project"),
    [
        ({"OFFBEAT_PROJECT": "a", "OPENSHIFT_APP_NAME": "c"}, "b", "a"),
        ({"OPENSHIFT_APP_NAME": "c"}, "b", "b"),
        ({"OPENSHIFT_APP_NAME": "c"}, "", "c"),
        ({"OFFBEAT_PROJECT": ""}, "b", "b"),
    ],
)
def test_the_project_is_the_environments_else_the_files_else_openshifts(
    environ: dict[str, str], written: str, project: str
) -> None:
    schedule, problems = parse(tree(f'project = "{written}"' if written else ""), environ)

    assert schedule is not None
    assert (schedule.project, problems) == (project, ())


@pytest.mark.parametrize(
    ("name", "recurrence"),
    [
        ("minutely", "cron * * * * *"),
        ("hourly", "cron 1 * * * *"),
        ("daily", "cron 2 4 * * *"),
        ("weekly", "cron 22 4 * * 0"),
        ("monthly", "cron 42 4 1 * *"),
    ],
)
def test_a_directory_is_due_when_red_hats_crontab_was(name: str, recurrence: str) -> None:
    assert parsed("", SCRIPT, name=name).entries[0].timing == Timing(recurrence=recurrence)


def test_directories_can_be_given_other_times_and_limits() -> None:
    text = '[directories]\nhourly = "5 * * * *"'
    table = '[directories.hourly]\ncron = "5 * * * *"\ntime_limit = "1h"'
    limit = '[directories]\nhourly = { time_limit = "1h" }'

    short, long, only = (parsed(each, SCRIPT).entries[0] for each in (text, table, limit))

    assert [each.timing.recurrence for each in (short, long, only)] == ["cron 5 * * * *", "cron 5 * * * *", "cron 1 * * * *"]
    assert [each.call.time_limit for each in (short, long, only) if isinstance(each.call, CommandCall)] == [1200, 3600, 3600]


@pytest.mark.parametrize(
    ("text", "recurrence"),
    [
        ('cron = "30 4 * * mon"', "cron 30 4 * * 1"),
        ('every = "45m"', "every 2700 0"),
        ("every = '90s'", "every 90 0"),
        ('every = "1h"\noffset = "5m"', "every 3600 300"),
        ('every = "1h"\noffset = 0', "every 3600 0"),
        ('at = "2026-03-01T04:30:00"', "at 1772332200"),
        ("at = 2026-03-01T02:30:00Z", "at 1772332200"),
        ('at = ["2026-03-01T02:30:01Z", 2026-03-01T04:30:00]', "at 1772332200,1772332201"),
    ],
)
def test_a_recurrence_is_resolved_in_the_entrys_zone(text: str, recurrence: str) -> None:
    assert one(f'{text}\ntimezone = "Europe/Sofia"').timing == Timing(recurrence=recurrence, zone="Europe/Sofia")


def test_every_policy_and_limit_of_an_entry_is_read() -> None:
    entry = one(
        'every = "1h"\ngrace = "2h"\ncatch_up = "all"\njitter = "30s"\noverlap = "allow"\n'
        'enabled = false\ndescription = "why"\n'
        "starts_at = 2026-01-01T00:00:00Z\nends_at = 2026-01-02"
    )

    assert entry.policy == Policy(catch_up=CatchUp.ALL, grace=7200, jitter=30)
    assert entry.timing == Timing(recurrence="every 3600 0", starts_at=1767225600, ends_at=1767312000, enabled=False)
    assert entry.description == "why"


def test_every_key_of_a_task_is_read() -> None:
    call = task(
        'task = "a.b"\nargs = [1, "x", [true]]\nkwargs = { a = { b = 1.5 } }\nqueue = "q"\nexchange = "e"\nrouting_key = "r"\n'
        'priority = 0\nexpires = "1d"\nheaders = { team = "x" }\nserializer = "json"'
    )

    assert call == TaskCall(
        task="a.b", args=(1, "x", [True]), kwargs={"a": {"b": 1.5}}, queue="q", exchange="e", routing_key="r",
        priority=0, expires=86_400, headers={"team": "x"},
    )  # fmt: skip


def test_a_command_is_for_the_shell_when_it_is_text_and_run_as_it_is_when_it_is_a_list() -> None:
    assert one('every = "1h"\ncommand = "make report | mail x"').call == CommandCall(argv=("sh", "-c", "make report | mail x"))
    assert one('every = "1h"\ncommand = ["make", "a b"]\ntime_limit = "5m"').call == CommandCall(
        argv=("make", "a b"), time_limit=300
    )


def test_defaults_hold_for_entries_and_links_that_do_not_say_otherwise() -> None:
    text = (
        'task_prefix = "t."\n[defaults]\nqueue = "d"\nexpires = "1h"\njitter = "5m"\ngrace = "2h"\nkwargs = { a = 1 }\n'
        '[entries.a]\nevery = "1h"\n[entries.b]\nevery = "1h"\nqueue = "own"\njitter = 0\nkwargs = {}\n'
        '[entries.c]\nevery = "1h"\ncommand = "x"\n'
    )

    a, b, c, command, link = parsed(text, LINK, SCRIPT).entries

    assert a.call == TaskCall(task="t.a", queue="d", expires=3600, kwargs={"a": 1})
    assert link.call == dataclasses.replace(a.call, task="t.search_dates")
    assert b.call == TaskCall(task="t.b", queue="own", expires=3600)
    assert [each.policy.jitter for each in (a, b, c, command, link)] == [300, 0, 300, 0, 300]
    assert {each.policy.grace for each in (a, b, c, command, link)} == {7200}


def test_a_wrong_default_counts_for_nothing_and_the_right_ones_hold() -> None:
    schedule, _ = parse(tree('[defaults]\nexpires = "x"\nqueue = "d"\n[entries.a]\nevery = "1h"'), {})

    assert schedule is not None
    assert schedule.entries[0].call == TaskCall(task="a", queue="d")


def test_what_the_broker_is_like_is_kept_and_no_address() -> None:
    text = (
        'env_file = ".env"\nbroker_env = "REDIS_URL"\n[broker]\ndefault_queue = "main"\n'
        'transport_options = { global_keyprefix = "x:", visibility_timeout = 3600 }\nssl = { ca_certs = "/ca.pem" }\n'
        '[entries.a]\nevery = "1h"'
    )

    schedule = parsed(text)

    assert schedule.default_queue == "main"
    assert schedule.entries[0].call == TaskCall(task="a", queue="main")
    assert schedule.broker == BrokerSettings(
        broker_env="REDIS_URL",
        env_file=".env",
        transport_options={"global_keyprefix": "x:", "visibility_timeout": 3600},
        ssl={"ca_certs": "/ca.pem"},
    )


@pytest.mark.parametrize(("text", "expected"), [("ssl = true", True), ("ssl = false", False), ("", False)])
def test_ssl_may_be_yes_or_no(text: str, expected: bool) -> None:
    assert parsed(f"[broker]\n{text}").broker.ssl is expected


ROUTES = (("t.exact", "e"), ("t.a*", "a"), ("t.ab*", "never"), ("*.last", "l"), ("t.?", "literal"))


@pytest.mark.parametrize(
    ("name", "queue"),
    [("t.exact", "e"), ("t.abc", "a"), ("x.last", "l"), ("t.b", "default"), ("t.?", "literal"), ("T.abc", "default")],
)
def test_routes_are_celerys(name: str, queue: str) -> None:
    from celery.app.routes import MapRoute

    assert queue_of(name, ROUTES, "default") == queue
    assert (MapRoute(ROUTES)(name) or {"queue": "default"})["queue"] == queue


def test_an_exact_route_wins_over_an_earlier_pattern() -> None:
    assert queue_of("t.x", (("t.*", "any"), ("t.x", "x")), "default") == "x"


def test_a_route_may_be_a_table_with_a_queue() -> None:
    schedule = parsed('[routes]\n"t.*" = { queue = "q" }')

    assert schedule.routes == (("t.*", "q"),)


def test_a_prefix_without_a_dot_is_a_warning() -> None:
    schedule, problems = parse(tree('task_prefix = "t"'), {"OFFBEAT_PROJECT": "p"})

    assert schedule is not None
    assert [(p.code, p.severity, p.fix) for p in problems] == [("S133", Severity.WARNING, 'task_prefix = "t."')]


def test_a_byte_order_mark_is_no_problem() -> None:
    assert parsed('\ufeff[entries.a]\nevery = "1h"').entries[0].line == 1


def test_the_digest_is_of_what_is_said_not_of_where() -> None:
    one_way = parsed('[entries.a]\nevery = "60m"\n[entries.b]\ncron = "0 4 * * mon"')
    other_way = parsed('# a comment\n\n[entries.b]\ncron = "0  4 * * 1"\n[entries.a]\nevery = "1h"')
    different = parsed('[entries.a]\nevery = "61m"\n[entries.b]\ncron = "0 4 * * mon"')

    assert one_way.digest == other_way.digest != different.digest
    assert one_way != other_way


lines = st.sampled_from(
    """\
every = "1h"
cron = "0 25 * * *"
at = 5
queue = "q"
queue = 5
kwargs = { a = 2026-01-01 }
priority = 999
task = "a b"
timezone = "Nowhere"
command = "x"
zzz = 1
overlap = "wait"
args = [nan]
jitter = "x"
""".splitlines()
)


@given(st.lists(st.lists(lines, max_size=4, unique_by=lambda line: line.split(" =")[0]), max_size=4))
def test_a_wrong_entry_changes_nothing_about_the_others(bodies: list[list[str]]) -> None:
    def entries(text: str) -> tuple[Schedule, tuple[Problem, ...]]:
        schedule, problems = parse(tree(text), {"OFFBEAT_PROJECT": "p"})
        assert schedule is not None
        return schedule, problems

    alone = [entries("\n".join([f"[entries.e{number}]", *body]))[0].entries for number, body in enumerate(bodies)]

    together, problems = entries("\n".join("\n".join([f"[entries.e{number}]", *body]) for number, body in enumerate(bodies)))

    assert [dataclasses.replace(entry, line=0) for entry in together.entries] == [
        dataclasses.replace(entry, line=0) for each in alone for entry in each
    ]
    loaded = {entry.name for entry in together.entries}
    stopped = {problem.entry for problem in problems if problem.severity is Severity.ERROR}
    assert loaded | stopped == {f"e{number}" for number in range(len(bodies))}
    assert not loaded & stopped


@pytest.mark.parametrize("depth", range(100, 600, 10))
def test_no_depth_makes_the_parser_raise(depth: int) -> None:
    content = f'[entries.a]\nevery = "1h"\nargs = {"[" * depth}{"]" * depth}'.encode()

    schedule, problems = parse(
        TreeFiles(path="cron", schedule=Text(path="cron/schedule.toml", kind=Kind.FILE, content=content)),
        {"OFFBEAT_PROJECT": "p"},
    )

    assert (schedule is None) == ([problem.code for problem in problems] == ["S140"])


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_make_the_parser_raise(content: bytes) -> None:
    files = TreeFiles(path="cron", schedule=Text(path="cron/schedule.toml", kind=Kind.FILE, content=content))

    schedule, problems = parse(files, {"OFFBEAT_PROJECT": "p"})

    assert schedule is not None or problems
    assert all("\n" not in problem.what for problem in problems)
