"""plan, tick, fire, slot, status and history: what they say of a ledger, and their exit codes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tests.faces.conftest import Shop

from offbeat.core.model import State
from offbeat.faces.words import parse_instant
from offbeat.ports.ledger_values import Outcome, Report
from offbeat.runners.site import open_site

HISTORY_KEYS = {"entry", "due_at", "state", "reason", "cause", "task_id", "dispatched_at"}
EVERY_MINUTE = (
    '[entries.ping]\nevery = "1m"\n[broker]\ntransport_options = { data_folder_in = "../q", data_folder_out = "../q" }\n'
)
Settled = Callable[[str], Shop]


@pytest.fixture
def ticked(settled: Settled, tmp_path: Path) -> Shop:
    """A repository with an entry a minute, after the tick that counts from now on."""
    (tmp_path / "q").mkdir()
    shop = settled(EVERY_MINUTE)
    first = shop.call("tick")
    assert (first.exit_code, first.output) == (0, "")
    return shop


def sent(shop: Shop) -> int:
    return len(list((shop.root.parent / "q").iterdir()))


def test_a_tick_prints_nothing_when_all_is_well(ticked: Shop) -> None:
    ticked.clock.advance(60)

    result = ticked.call("tick")

    assert (result.exit_code, result.output) == (0, "")
    assert sent(ticked) == 1


@pytest.mark.parametrize("args", [("tick",), ("status",), ("check",), ("fire", "ping"), ("deploy",)])
def test_a_projects_name_that_is_no_text_is_told(ticked: Shop, args: tuple[str, ...]) -> None:
    ticked.environ["OFFBEAT_PROJECT"] = os.fsdecode(b"\xff")
    result = ticked.call(*args)

    assert result.exit_code == 1
    assert "OFFBEAT_PROJECT: the project's name is not UTF-8 [C303]" in result.output


def test_a_tick_says_with_v_what_it_sent(ticked: Shop) -> None:
    ticked.clock.advance(60)

    result = ticked.call("tick", "-v", "--log-format", "json")

    events = [json.loads(line) for line in result.stderr.splitlines()]
    assert [event["entry"] for event in events if event["event"] == "dispatched"] == ["ping"]


def test_a_tick_tells_a_new_problem_once(ticked: Shop, settled: Settled) -> None:
    settled(EVERY_MINUTE + '[entries.bad]\ncron = "0 25 * * *"\n')

    first, second = ticked.call("tick"), ticked.call("tick")

    assert first.exit_code == 1
    assert first.stdout == ""
    assert "25" in first.stderr and "  fix: " in first.stderr
    assert (second.exit_code, second.output) == (0, "")


def test_a_tick_without_a_broker_exits_with_3(ticked: Shop) -> None:
    ticked.environ["OFFBEAT_BROKER"] = "redis://:hunter2@127.0.0.1:1/0"
    ticked.clock.advance(60)

    result = ticked.call("tick")

    assert result.exit_code == 3
    assert result.stderr.count("  fix: ") == 1
    assert "broker_down" not in result.stderr
    assert "hunter2" not in result.output


def test_a_tick_tells_that_the_broker_is_down_only_once(ticked: Shop) -> None:
    ticked.environ["OFFBEAT_BROKER"] = "redis://127.0.0.1:1/0"
    ticked.clock.advance(60)
    ticked.call("tick")
    ticked.clock.advance(60)

    again = ticked.call("tick")

    assert (again.exit_code, again.output) == (3, "")


def test_a_tick_with_v_logs_what_it_tells_too(ticked: Shop) -> None:
    ticked.environ["OFFBEAT_BROKER"] = "redis://127.0.0.1:1/0"
    ticked.clock.advance(60)

    assert "broker_down" in ticked.call("tick", "-v").stderr


def test_problems_are_log_lines_where_logs_are_json(ticked: Shop, settled: Settled) -> None:
    settled(EVERY_MINUTE + '[entries.bad]\ncron = "0 25 * * *"\n')

    result = ticked.call("tick", "--log-format", "json")

    (line,) = [json.loads(line) for line in result.stderr.splitlines()]
    assert (line["event"], line["level"], line["where"]) == ("problem", "error", "cron/schedule.toml:8")


def test_plan_before_the_first_tick_says_so_and_makes_no_ledger(settled: Settled, tmp_path: Path) -> None:
    shop = settled('[entries.a]\nevery = "30m"\n')

    result = shop.call("plan")

    assert result.exit_code == 0
    assert "nothing has ticked yet" in result.stderr
    assert result.stdout.startswith("now: nothing is due\nin the next 1 h:\n")
    assert result.stdout.count("dispatch") == 2
    assert not (tmp_path / "state").exists()


def test_plan_shows_what_is_due_now_and_why_the_rest_is_skipped(ticked: Shop) -> None:
    ticked.clock.advance(600)

    rows = [row for row in ticked.json("plan", "--hours", "0") if row["when"] == "now"]

    assert [(row["action"], row["reason"]) for row in rows][-1] == ("dispatch", "")
    assert {row["reason"] for row in rows[:-1]} <= {"coalesced", ""}
    assert sum(row.get("count", 1) for row in rows) == 10


def test_plan_changes_nothing(ticked: Shop) -> None:
    ticked.clock.advance(600)

    before = ticked.json("plan")
    assert ticked.json("plan") == before

    assert sent(ticked) == 0
    assert ticked.json("history") == []


def test_plan_folds_what_repeats_for_people_only(ticked: Shop) -> None:
    assert len(ticked.json("plan", "--hours", "1")) == 60
    assert len(ticked.call("plan").stdout.splitlines()) < 10


def test_plan_names_overlap_where_it_may_keep_something_from_being_sent(settled: Settled) -> None:
    limits = 'overlap = "{}"\nmax_runtime = "30m"\n'
    text = '[entries.a]\nevery = "30m"\n{}[entries.b]\nevery = "30m"\n{}[entries.c]\nevery = "30m"\n'
    shop = settled(text.format(limits.format("skip"), limits.format("wait")))

    told = [line.split("dispatch")[1].strip() for line in shop.call("plan").stdout.splitlines() if "dispatch" in line]

    often = [f"due, unless the one before still runs (overlap: {word})" for word in ("skip", "wait")]
    assert told[:3] == [*often, "due"]


def test_plan_skips_what_is_disabled_and_says_why(settled: Settled) -> None:
    shop = settled('[entries.off]\nevery = "30m"\nenabled = false\n')

    assert {(row["action"], row["reason"]) for row in shop.json("plan")} == {("skip", "disabled")}


def test_plan_shows_what_is_recorded_and_waits_for_its_jitter(settled: Settled) -> None:
    shop = settled('[entries.a]\nevery = "1h"\njitter = "59m"\n')
    shop.call("tick")
    due = shop.json("next", "-n", "1")[0]
    shop.clock.wall = float(int(parse(due["due_at"])))
    shop.call("tick")

    first = shop.json("plan", "--hours", "0.01")[0]

    assert (first["due_at"], first["send_at"], first["when"]) == (due["due_at"], due["send_at"], "later")


def parse(text: str) -> int:
    instant = parse_instant(text, 0)
    assert instant is not None
    return instant


def test_plan_skips_what_is_removed_from_the_schedule(ticked: Shop, settled: Settled) -> None:
    ticked.environ["OFFBEAT_BROKER"] = "redis://127.0.0.1:1/0"
    ticked.clock.advance(60)
    ticked.call("tick")
    settled("")
    ticked.call("tick")
    ticked.clock.advance(60)

    rows = ticked.json("plan")

    assert {(row["entry"], row["action"], row["reason"]) for row in rows} == {("ping", "skip", "removed")}


def test_fire_prints_the_tasks_id(ticked: Shop) -> None:
    result = ticked.call("fire", "ping")

    assert (result.exit_code, result.stderr) == (0, "")
    assert len(result.stdout.strip()) == 36
    assert sent(ticked) == 1


def test_each_fire_has_an_id_of_its_own(ticked: Shop) -> None:
    assert ticked.call("fire", "ping").stdout != ticked.call("fire", "ping").stdout


def test_fire_sends_what_it_is_told_instead_of_the_entrys_own(ticked: Shop) -> None:
    result = ticked.call("fire", "ping", "full=true", "who=me", "--args", "[1]", "--queue", "slow")

    assert result.exit_code == 0, result.output
    (file,) = (ticked.root.parent / "q").iterdir()
    message = json.loads(file.read_text("utf-8"))
    assert message["properties"]["delivery_info"]["routing_key"] == "slow"
    assert message["headers"]["task"] == "shop.tasks.ping"
    assert message["headers"]["kwargsrepr"] == "{'full': True, 'who': 'me'}"


DEEP = "[" * 50_000 + "]" * 50_000


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("fire", "\udcff"), "not UTF-8"),
        (("fire", "ping", "x=\udcff"), "not UTF-8"),
        (("fire", "ping", "--queue", "\udcff"), "not UTF-8"),
        (("history", "\udcff"), "not UTF-8"),
        (("fire", "ping", "--kwargs", '{"a": NaN}'), "NaN"),
        (("fire", "ping", "--kwargs", '{"a": [-Infinity]}'), "-Infinity"),
        (("fire", "ping", "--args", "[1e999]"), "too large"),
        (("fire", "ping", "--args", DEEP), "nested"),
        (("fire", "ping", "--args", "[" * 300 + "]" * 300), "nested"),
        (("fire", "ping", "--args", '["\\ud800"]'), "half of a character"),
        (("fire", "ping", "x=1e999"), "too large"),
        (("fire", "ping", f"x={DEEP}"), "nested"),
        (("fire", "ping", 'x={"\\udc00": 1}'), "half of a character"),
        (("fire", "ping", "--here", "-A", "proj", "x=[1e999]"), "too large"),
        (("add", "new", "--every", "1h", "--kwargs", '{"a": NaN}'), "NaN"),
    ],
)
def test_what_no_message_can_hold_is_wrong_usage_and_nothing_is_recorded(ticked: Shop, args: Sequence[str], words: str) -> None:
    before = ticked.json("history")

    result = ticked.call(*args)

    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr
    assert len(result.stderr) < 2000
    assert ticked.json("history") == before


def test_what_only_looks_like_json_is_text(ticked: Shop) -> None:
    result = ticked.call("fire", "ping", "brand=Infinity", "x=NaN", "deep=" + "[" * 50 + "]" * 50)

    assert result.exit_code == 0, result.stderr


def test_fire_of_a_name_that_is_nearly_an_entrys_sends_nothing_and_says_which_one_was_meant(ticked: Shop) -> None:
    result = ticked.call("fire", "pnig")

    assert (result.exit_code, result.stdout, sent(ticked)) == (2, "", 0)
    assert '"pnig" is not an entry; did you mean "ping"? fire pnig --unlisted sends the task shop.tasks.pnig' in result.stderr
    assert ticked.json("history") == []


def test_fire_of_a_path_that_is_nearly_an_entrys_does_not_offer_to_send_it(ticked: Shop) -> None:
    result = ticked.call("fire", "a/ping")

    assert (result.exit_code, sent(ticked)) == (2, 0)
    assert 'did you mean "ping"?' in result.stderr
    assert "--unlisted" not in result.stderr


def test_fire_with_unlisted_sends_a_task_whatever_the_entries_are_called(ticked: Shop) -> None:
    result = ticked.call("fire", "pnig", "--unlisted")

    assert (result.exit_code, sent(ticked)) == (0, 1)
    assert result.stderr == '"pnig" is sent as the task shop.tasks.pnig, which is not in the schedule\n'


@pytest.mark.parametrize("name", ["rebuild", "shop.tasks.rebuild", "shop.tasks.pnig"])
def test_fire_of_a_task_that_no_entry_names_says_what_it_is_sent_as(ticked: Shop, name: str) -> None:
    result = ticked.call("fire", name)

    task = name if "." in name else f"shop.tasks.{name}"
    assert (result.exit_code, sent(ticked)) == (0, 1)
    assert result.stderr == f'"{name}" is sent as the task {task}, which is not in the schedule\n'
    assert ticked.call("fire", name, "-q").stderr == ""


def test_fire_of_a_task_by_its_full_name_says_nothing_where_an_entry_has_it(ticked: Shop) -> None:
    assert ticked.call("fire", "shop.tasks.ping").stderr == ""


def test_fire_of_a_task_that_is_not_sent_does_not_say_that_it_was(ticked: Shop) -> None:
    ticked.environ["OFFBEAT_BROKER"] = "redis://127.0.0.1:1/0"

    result = ticked.call("fire", "rebuild")

    assert result.exit_code == 3
    assert "is sent" not in result.stderr


def test_fire_without_a_broker_address_exits_as_a_tick_does(ticked: Shop) -> None:
    del ticked.environ["OFFBEAT_BROKER"]

    ticked.clock.advance(60)

    tick, result = ticked.call("tick"), ticked.call("fire", "ping")

    assert (tick.exit_code, result.exit_code) == (3, 3)
    assert "[C220]" in result.stderr
    assert result.stderr.count("no broker address") == 1


def test_fire_of_a_key_that_is_given_twice_is_wrong_usage(ticked: Shop) -> None:
    result = ticked.call("fire", "ping", "who=a", "full=true", "who=b")

    assert (result.exit_code, sent(ticked)) == (2, 0)
    assert '"who" is given twice' in result.stderr


@pytest.mark.parametrize(
    "args",
    [["ping", "nonsense"], ["ping", "--args", "{}"], ["ping", "--kwargs", "[1"], ["ping", "-A", "x"], ["ping", "--here"]]
    + [["ping", "--queue", ""], ["ping", "--queue", " \t"]],
)
def test_arguments_that_make_no_sense_are_wrong_usage(ticked: Shop, args: list[str]) -> None:
    result = ticked.call("fire", *args)

    assert result.exit_code == 2
    assert sent(ticked) == 0


def test_fire_while_the_broker_is_down_is_recorded_and_says_so(ticked: Shop) -> None:
    ticked.environ["OFFBEAT_BROKER"] = "redis://:hunter2@127.0.0.1:1/0"

    result = ticked.call("fire", "ping")

    assert result.exit_code == 3
    assert len(result.stdout.strip()) == 36
    assert "not sent yet; it is recorded" in result.stderr
    assert "[B210]" in result.stderr and "start the broker at redis://***@127.0.0.1:1/0, or mend" in result.stderr
    assert "hunter2" not in result.output
    assert [row["state"] for row in ticked.json("history")] == ["pending"]


def test_an_executed_link_sends_its_period_once(settled: Settled, tmp_path: Path) -> None:
    (tmp_path / "q").mkdir()
    shop = settled('[broker]\ntransport_options = { data_folder_in = "../q", data_folder_out = "../q" }\n')
    shop.link("hourly", "search_dates")
    shop.clock.advance(60)

    first, second = shop.call("slot", "hourly/search_dates"), shop.call("slot", str(shop.tree / "hourly" / "search_dates"))

    assert (first.exit_code, second.exit_code) == (0, 0)
    assert first.stdout.startswith("search_dates: sent, due ")
    assert second.stdout.startswith("search_dates: already sent at ")
    assert second.stdout.endswith("; run_celery_task search_dates sends it anyway\n")
    assert sent(shop) == 1


@pytest.mark.parametrize(("table", "reason"), [("", "paused"), ("enabled = false", "disabled")])
def test_a_slot_that_is_not_to_be_sent_says_why_and_is_no_failure_however_often_it_is_asked_for(
    settled: Callable[[str], Shop], table: str, reason: str
) -> None:
    shop = settled("")
    shop.link("hourly", "report")
    shop = settled(f"[defaults]\n{table}\n")
    shop.call("tick")
    if reason == "paused":
        assert shop.call("pause", "--all").exit_code == 0

    first, second = shop.call("slot", "hourly/report"), shop.call("slot", "hourly/report")

    assert (first.exit_code, second.exit_code) == (0, 0)
    assert first.stdout.startswith(f"report: not sent: skipped, {reason}")
    assert f"skipped, {reason}" in second.stdout
    assert "offbeat resume report" in first.stdout or reason != "paused"


def test_a_slot_that_is_no_path_is_wrong_usage(ticked: Shop) -> None:
    assert ticked.call("slot", "search_dates").exit_code == 2


def test_history_has_the_newest_last_and_the_promised_keys(ticked: Shop) -> None:
    for _ in range(2):
        ticked.clock.advance(60)
        ticked.call("tick")
    ticked.clock.advance(1)  # or the two could be due in the same second
    ticked.call("fire", "ping")

    rows = ticked.json("history")

    assert all(set(row) >= HISTORY_KEYS for row in rows)
    assert [row["cause"] for row in rows] == ["schedule", "schedule", "manual"]
    assert {row["state"] for row in rows} == {"dispatched"}
    assert [row["due_at"] for row in rows] == sorted(row["due_at"] for row in rows)
    assert all(row["dispatched_at"].endswith("Z") and len(row["task_id"]) == 36 for row in rows)


def test_history_of_an_outage_is_one_gap(ticked: Shop) -> None:
    ticked.clock.advance(600)
    ticked.call("tick")

    rows = ticked.json("history")

    gaps = [row for row in rows if "until" in row]
    assert [(row["state"], row["reason"]) for row in gaps] == [("skipped", "coalesced")]
    assert sum(row.get("count", 1) for row in rows) == 10


def test_history_can_be_cut(ticked: Shop) -> None:
    for _ in range(3):
        ticked.clock.advance(60)
        ticked.call("tick")

    assert len(ticked.json("history", "-n", "2")) == 2
    assert len(ticked.json("history", "--since", "61s")) <= 2
    assert ticked.json("history", "--since", "2050-01-01") == []
    assert ticked.json("history", "--failed") == []
    assert ticked.call("history", "--since", "soon").exit_code == 2
    assert ticked.call("history", "--since", "99999999999999999w").exit_code == 2


def test_history_shows_what_a_command_wrote(settled: Settled) -> None:
    shop = settled('[entries.tidy]\ncommand = "echo hello"\nevery = "1h"\n')
    shop.call("tick")
    site = open_site(start=shop.root, tree=None, environ=shop.environ, clock=shop.clock)
    runner = site.runner("supervisor")
    claim = site.ledger.fire(runner, "tidy", "token").claim
    assert claim
    ended = Report(key=claim.key, attempt=claim.attempt, state=State.FAILED, exit_status=3, output=b"caf\xe9\nhello\n")
    site.ledger.report(runner, [Report(key=claim.key, attempt=claim.attempt, state=State.STARTED)])
    site.ledger.report(runner, [ended])
    site.close()

    told = shop.call("history", "--output")

    assert told.exit_code == 0
    assert told.stdout.startswith("==> ")
    assert "exit 3" in told.stdout
    assert told.stdout.endswith("caf\ufffd\nhello\n")
    assert shop.json("history", "--output")[0]["output"] == "caf\ufffd\nhello\n"
    assert shop.json("history", "--failed")[0]["exit_status"] == 3


def test_history_shows_a_command_that_has_not_ended_yet(settled: Settled) -> None:
    shop = settled('[entries.tidy]\ncommand = "echo hello"\nevery = "1h"\n')
    shop.call("tick")
    site = open_site(start=shop.root, tree=None, environ=shop.environ, clock=shop.clock)
    runner = site.runner("supervisor")
    claim = site.ledger.fire(runner, "tidy", "token").claim
    assert claim

    before = shop.call("history", "--output")
    site.ledger.settle(runner, [Outcome(key=claim.key, attempt=claim.attempt, state=State.DISPATCHED)])
    handed = shop.call("history", "--output")
    site.ledger.report(runner, [Report(key=claim.key, attempt=claim.attempt, state=State.STARTED)])
    running = shop.call("history", "tidy", "--output")
    site.close()

    assert "no output is kept" in before.stderr
    assert handed.stdout.startswith("==> ") and handed.stdout.endswith("\nnot started yet\n")
    assert "  tidy  " in running.stdout and running.stdout.endswith("\nstill running\n")
    assert running.stderr == ""


def test_history_says_once_how_a_command_ended(settled: Settled) -> None:
    shop = settled('[entries.tidy]\ncommand = "false"\nevery = "1h"\n')
    shop.call("tick")
    site = open_site(start=shop.root, tree=None, environ=shop.environ, clock=shop.clock)
    runner = site.runner("supervisor")
    for code, note in ((3, "exit status 3"), (143, "ended by SIGTERM")):
        claim = site.ledger.fire(runner, "tidy", f"token {code}").claim
        assert claim
        ended = Report(key=claim.key, attempt=claim.attempt, state=State.FAILED, exit_status=code, note=note)
        site.ledger.report(runner, [Report(key=claim.key, attempt=claim.attempt, state=State.STARTED), ended])
        shop.clock.advance(1)
    site.close()

    _, first, second = shop.call("history").stdout.splitlines()

    assert first.endswith("  exit 3, took 0 s")
    assert second.endswith("  exit 143, ended by SIGTERM, took 0 s")


def test_history_has_what_came_in_one_second_in_the_order_in_which_it_was_recorded(settled: Settled, tmp_path: Path) -> None:
    (tmp_path / "q").mkdir()
    shop = settled(EVERY_MINUTE + '[entries.alive]\nevery = "1d"\n')
    shop.call("tick")
    shop.clock.wall = float(int(shop.clock.wall) + 1)
    ids = []
    for name in ("ping", "alive", "ping", "alive"):
        ids.append(shop.call("fire", name).stdout.strip())
        shop.clock.advance(0.125)

    assert [row["task_id"] for row in shop.json("history")] == ids


def test_history_with_v_has_the_ids_of_tasks_and_fits_120_columns(ticked: Shop) -> None:
    number = ticked.call("fire", "ping").stdout.strip()

    head, line = ticked.call("history", "-v").stdout.splitlines()

    assert "TASK ID" in head and number[:8] in line.split()
    assert len(line) <= 120
    assert number[:8] not in ticked.call("history").stdout


def test_history_says_when_no_output_is_kept(ticked: Shop) -> None:
    ticked.call("fire", "ping")

    result = ticked.call("history", "--output")

    assert (result.exit_code, result.stdout) == (0, "")
    assert "no output is kept" in result.stderr


def test_history_of_a_mistyped_entry_says_which_one_was_meant(ticked: Shop) -> None:
    result = ticked.call("history", "pnig")

    assert result.exit_code == 2
    assert 'did you mean "ping"?' in result.stderr


def test_status_tells_where_the_ledger_is_and_who_ticked(ticked: Shop) -> None:
    result = ticked.call("status")

    assert result.exit_code == 0
    shown = dict(line.split(": ", 1) for line in result.stdout.splitlines())
    assert list(shown) == ["project", "ledger", "tree", "revision", "last tick", "next due", "waiting", "delivery", "runner"]
    assert shown["runner"].strip().startswith("tick on ")
    (row,) = ticked.json("status")
    assert row["tree_state"] == "accepted"
    assert row["revision"] == 1
    assert row["last_tick_at"].endswith("Z")
    assert row["project"] == "shop"


def test_status_of_a_refused_tree_says_that_the_last_good_one_is_in_force(ticked: Shop) -> None:
    (ticked.tree / "schedule.toml").write_text("project = \n", "utf-8")
    ticked.clock.advance(60)
    ticked.call("tick")

    result = ticked.call("status")

    assert result.exit_code == 1
    assert "REFUSED" in result.stdout and "stays in force" in result.stdout
    assert "cron/schedule.toml:1: " in result.stdout
    assert ticked.json("status")[0]["tree_state"] == "refused"


@pytest.mark.parametrize(("age", "code"), [("1h", 0), ("5m", 1)])
def test_status_can_watch_whether_anybody_ticks(ticked: Shop, age: str, code: int) -> None:
    ticked.clock.advance(600)

    assert ticked.call("status", "--max-age", age).exit_code == code


def test_status_before_the_first_tick_is_no_error(settled: Settled) -> None:
    shop = settled('[entries.a]\nevery = "1h"\n')

    assert shop.call("status").exit_code == 0
    assert shop.call("status", "--max-age", "5m").exit_code == 1
    assert shop.json("status")[0]["tree_state"] == "new"


# --- a clock that was wrong -----------------------------------------------------------------------------------------------


@pytest.fixture
def misled(ticked: Shop) -> Shop:
    """A ledger that has believed a clock which was ten days ahead, and is right again."""
    ticked.clock.advance(10 * 86_400)
    ticked.call("tick")
    ticked.clock.advance(6)
    ticked.call("tick")
    ticked.clock.wall -= 10 * 86_400
    return ticked


def test_status_says_that_the_ledger_is_ahead_of_the_clock_and_how_to_mend_it(misled: Shop) -> None:
    result = misled.call("status")

    assert result.exit_code == 1
    assert "h ahead of the clock" in result.stdout
    assert "fix: set the clock right" in result.stdout
    assert "[L302]" in result.stdout
    rows = misled.json("status")
    assert [problem["code"] for problem in rows[0]["problems"]] == ["L302"]


def test_plan_says_that_the_ledger_is_ahead_of_the_clock(misled: Shop) -> None:
    result = misled.call("plan")

    assert "[L302]" in result.stderr
    assert result.exit_code == 0


def test_a_clock_that_is_right_is_no_problem(ticked: Shop) -> None:
    ticked.clock.advance(60)

    assert ticked.call("status").exit_code == 0
    assert "L302" not in ticked.call("plan").output


@pytest.mark.parametrize(
    "words", [("plan", "--hours", "nan"), ("backfill", "tick", "--from", "1h", "--to", "now", "--per-minute", "NaN")]
)
def test_nan_is_wrong_usage_wherever_a_number_is_asked_for(ticked: Shop, words: tuple[str, ...]) -> None:
    result = ticked.call(*words)

    assert result.exit_code == 2
    assert "nan is not a number" in result.stderr


def test_status_says_when_the_ledger_was_looked_at_after_a_month_without_a_tick(ticked: Shop) -> None:
    last = ticked.json("status")[0]["last_tick_at"]
    ticked.clock.advance(31 * 86_400)

    (line,) = (line for line in ticked.call("status").stdout.splitlines() if line.startswith("last tick:"))
    (row,) = ticked.json("status")

    assert f"none for a day, the ledger was last looked at {last}, 31 d ago; offbeat install crontab" in line
    assert (row["last_tick_at"], row["looked_at"]) == (None, last)
