"""pause, resume, skip, backfill and rewind: what they do to the ledger, what they say, and what they refuse."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.faces.conftest import Shop

from offbeat.core.model import Reason, State
from offbeat.faces.words import format_utc

Settled = Callable[[str], Shop]
TREE = """timezone = "Europe/Sofia"
[broker]
transport_options = { data_folder_in = "../q", data_folder_out = "../q" }
[entries.report]
cron = "0 * * * *"
[entries.search]
cron = "30 4 * * *"
[entries.off]
every = "1h"
enabled = false
"""
HOUR = 3600


@pytest.fixture
def ticked(settled: Settled, tmp_path: Path) -> Shop:
    """A repository with an hourly and a daily entry, after the tick that counts from now on, at half past some hour."""
    (tmp_path / "q").mkdir()
    shop = settled(TREE)
    shop.environ["USER"] = "ana"
    shop.clock.advance(HOUR - shop.clock.now() % HOUR + HOUR / 2)
    assert shop.call("tick").output == ""
    return shop


def sent(shop: Shop) -> int:
    return len(list((shop.root.parent / "q").iterdir()))


def next_hour(shop: Shop) -> int:
    return int(shop.clock.now() // HOUR + 1) * HOUR


def test_nothing_of_a_paused_entry_is_sent_until_it_is_resumed(ticked: Shop) -> None:
    paused = ticked.call("pause", "report", "--note", "moving")
    ticked.clock.advance(HOUR)
    ticked.call("tick")
    before = sent(ticked)
    resumed = ticked.call("resume", "report")
    ticked.clock.advance(HOUR)
    ticked.call("tick")

    assert (paused.exit_code, paused.output) == (0, "report: paused until somebody resumes\n")
    assert (resumed.exit_code, resumed.output) == (0, "report: resumed\n")
    assert (before, sent(ticked)) == (0, 1)
    assert [row["reason"] for row in ticked.json("history", "report")] == [Reason.PAUSED, ""]


def test_a_pause_ends_by_itself_when_it_was_told_to(ticked: Shop) -> None:
    end = format_utc(ticked.clock.now() + 2 * HOUR)

    result = ticked.call("pause", "--all", "--until", "2h")
    ticked.clock.advance(3 * HOUR)
    ticked.call("tick")

    assert result.stdout.startswith("all entries: paused until ")
    assert f"({end})" in result.stdout
    assert sent(ticked) == 1


def test_a_shorter_pause_leaves_the_longer_one_of_somebody_else_unless_it_is_meant(ticked: Shop) -> None:
    ticked.call("pause", "report", "--note", "archive is moving")
    ticked.environ["USER"] = "bob"
    shorter = ticked.call("-q", "pause", "report", "--until", "30s")
    kept = ticked.json("status")[0]["pauses"]
    meant = ticked.call("pause", "report", "--until", "30s", "--shorten")
    longer = ticked.call("pause", "report", "--until", "3h", "--note", "later")
    (told,) = ticked.json("status")[0]["pauses"]

    assert (shorter.exit_code, shorter.stdout) == (0, "")
    assert "stays so: until somebody resumes, by ana@" in shorter.stderr and "archive is moving" in shorter.stderr
    assert [(each["until_at"], each["note"]) for each in kept] == [(None, "archive is moving")]
    assert "; before: until somebody resumes, by ana@" in meant.stdout and "archive is moving" in meant.stdout
    assert "; before: until " in longer.stdout and "by bob@" in longer.stdout
    assert (told["until_at"], told["note"]) == (format_utc(ticked.clock.now() + 3 * HOUR), "later")


def test_who_pauses_what_and_why_is_told(ticked: Shop) -> None:
    ticked.call("pause", "report", "--until", "2h", "--note", "redis://me:hunter2@h/0 is moving")

    status, listed = ticked.call("status"), ticked.call("list")

    (line,) = [line for line in status.stdout.splitlines() if line.startswith("PAUSED:")]
    assert "report since" in line and "by ana@" in line and "redis://me:***@h/0 is moving" in line
    assert "hunter2" not in status.output + listed.output
    assert [line.partition("paused until ")[1] for line in listed.stdout.splitlines() if line.startswith("report")] == [
        "paused until "
    ]
    assert [row["entry"] for row in ticked.json("list") if row["is_paused"]] == ["report"]
    (pause,) = ticked.json("status")[0]["pauses"]
    assert (pause["entry"], pause["once"], pause["until_at"]) == ("report", False, format_utc(ticked.clock.now() + 2 * HOUR))


def test_a_note_may_be_long_and_is_kept_whole(ticked: Shop) -> None:
    assert ticked.call("pause", "report", "--note", "n" * 1000).exit_code == 0

    assert "n" * 1000 in ticked.call("status").stdout


def test_a_pause_outlives_a_deploy(ticked: Shop, settled: Settled) -> None:
    ticked.call("pause", "report")
    settled(TREE + '[entries.other]\nevery = "1d"\n')

    ticked.call("deploy")

    assert [row["entry"] for row in ticked.json("list") if row["is_paused"]] == ["report"]


def test_resume_says_what_stays_paused(ticked: Shop) -> None:
    ticked.call("pause", "report")
    ticked.call("pause", "--all")

    one = ticked.call("resume", "report")
    ticked.call("pause", "report")
    everything = ticked.call("resume", "--all")
    never = ticked.call("resume", "search")

    assert (one.stdout, one.stderr) == ("report: resumed\n", "all entries are paused still; offbeat resume --all\n")
    assert everything.stdout == "all entries: resumed\n"
    assert everything.stderr == "paused by name still: report; offbeat resume NAME\n"
    assert (never.exit_code, never.output) == (0, "search: not paused\n")


def test_an_entry_that_was_removed_while_it_was_paused_can_be_resumed(ticked: Shop, settled: Settled) -> None:
    ticked.call("pause", "report")
    settled('[entries.search]\nevery = "1h"\n')

    result = ticked.call("resume", "report")

    assert (result.exit_code, result.output) == (0, "report: resumed\n")
    assert ticked.json("status")[0]["pauses"] == []


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("pause",), "say one of NAME and --all"),
        (("pause", "report", "--all"), "say one of NAME and --all"),
        (("pause", "reprot"), 'did you mean "report"?'),
        (("pause", "report", "--until", "soon"), '"soon" is no time'),
        (("pause", "report", "--until", "2020-01-01"), '"2020-01-01" is not in the future'),
        (("pause", "report", "--note", "n" * 1001), "it has 1001 characters, and a note has 1000 at most"),
        (("skip", "report", "--note", "n" * 1001), "a note has 1000 at most"),
        (("deploy", "--note", "n" * 1001), "a note has 1000 at most"),
        (("resume", "reprot"), 'did you mean "report"?'),
        (("skip", "reprot"), 'did you mean "report"?'),
        (("skip", "off"), '"off" has no next due time: it is disabled'),
        (("skip", "report", "--due", "soon"), '"soon" is no instant'),
        (("backfill", "reprot", "--from", "2d", "--to", "now"), 'did you mean "report"?'),
        (("backfill", "report", "--from", "now", "--to", "2d"), "is not after --from"),
        (("backfill", "report", "--from", "soon", "--to", "2d"), '"soon" is no instant'),
        (("rewind", "--to", "soon", "--yes"), '"soon" is no instant'),
        (("rewind", "--to", "2h"), "say --yes if it is meant"),
        (("rewind", "--to", "2999-01-01", "--yes"), "is after now"),
    ],
)
def test_what_cannot_be_meant_is_wrong_usage(ticked: Shop, args: tuple[str, ...], told: str) -> None:
    result = ticked.call(*args)

    assert result.exit_code == 2
    assert told in result.stderr
    assert ticked.json("status")[0]["pauses"] == []


def test_skip_leaves_out_the_next_one_and_no_other(ticked: Shop) -> None:
    due = next_hour(ticked)

    result = ticked.call("skip", "report", "--note", "no data")
    again = ticked.call("skip", "report")
    for _ in range(2):
        ticked.clock.advance(HOUR)
        ticked.call("tick")

    assert result.exit_code == 0
    assert result.stdout.startswith("report: the one due ") and result.stdout.endswith(f" ({format_utc(due)}) is skipped\n")
    assert (again.exit_code, again.stdout) == (0, result.stdout)
    rows = ticked.json("history", "report")
    assert [(row["due_at"], row["state"], row["reason"]) for row in rows] == [
        (format_utc(due), State.SKIPPED, Reason.BY_HAND),
        (format_utc(due + HOUR), State.DISPATCHED, ""),
    ]
    assert "no data" in rows[0]["note"] and "ana@" in rows[0]["note"]


def test_plan_shows_what_is_paused_and_what_is_skipped_by_hand(ticked: Shop) -> None:
    ticked.call("skip", "report")
    ticked.call("pause", "search")

    rows = ticked.json("plan", "--hours", "30")

    assert [row["reason"] for row in rows if row["entry"] == "report"][:2] == [Reason.BY_HAND, ""]
    assert {row["reason"] for row in rows if row["entry"] == "search"} == {Reason.PAUSED}


def test_skip_takes_a_due_time_in_the_entrys_zone_and_as_json_says_which(ticked: Shop) -> None:
    (tomorrow,) = ticked.json("next", "search", "-n", "1")

    (row,) = ticked.json("skip", "search", "--due", tomorrow["local"].rpartition("+")[0])

    assert (row["entry"], row["due_at"], row["state"], row["reason"]) == ("search", tomorrow["due_at"], "skipped", "by_hand")


def test_skip_refuses_a_time_that_is_no_due_time_and_names_the_nearest(ticked: Shop) -> None:
    due = next_hour(ticked)

    result = ticked.call("skip", "report", "--due", format_utc(due + 60))

    assert result.exit_code == 2
    assert f"({format_utc(due)})" in result.stderr and f"({format_utc(due + HOUR)})" in result.stderr


def test_what_was_sent_cannot_be_skipped_any_more(ticked: Shop) -> None:
    due = next_hour(ticked)
    ticked.clock.advance(HOUR)
    ticked.call("tick")

    result = ticked.call("skip", "report", "--due", format_utc(due))

    assert (result.exit_code, result.stdout) == (1, "")
    assert "is dispatched already at" in result.stderr and "cannot be skipped any more" in result.stderr


@pytest.mark.parametrize("hours", [0, 2])
def test_what_was_due_before_the_schedule_began_is_nothing_to_skip_whatever_the_ledgers_age(ticked: Shop, hours: int) -> None:
    before = format_utc(next_hour(ticked) - 24 * HOUR)
    for _ in range(hours):
        ticked.clock.advance(HOUR)
        ticked.call("tick")
    rows = ticked.json("history", "report")

    result = ticked.call("skip", "report", "--due", before)
    (told,) = ticked.json("skip", "report", "--due", before)

    assert (result.exit_code, result.stdout) == (1, "")
    assert "came before the schedule began" in result.stderr and "nothing is skipped" in result.stderr
    assert (told["state"], told["reason"]) == (None, "")
    assert ticked.json("history", "report") == rows


def span(shop: Shop, hours: int) -> tuple[str, str]:
    """Return --from and --to of the hours before the last full one."""
    end = next_hour(shop) - HOUR
    return format_utc(end - hours * HOUR), format_utc(end)


def test_backfill_sends_what_was_due_from_the_first_instant_up_to_the_end_without_it(ticked: Shop) -> None:
    start, end = span(ticked, 3)

    result = ticked.call("backfill", "report", "--from", start, "--to", end, "--per-minute", "6000")
    ticked.call("tick")

    assert result.exit_code == 0
    assert result.stdout.splitlines()[0].startswith("report: 3 occurrences, due from ")
    assert result.stdout.splitlines()[-1] == "recorded 3; runners send them, 6000 a minute, behind what is live"
    assert result.stderr == "recorded 3 of 3\n"
    rows = ticked.json("history", "report")
    assert [(row["kind"], row["cause"]) for row in rows] == [("backfill", "backfill")] * 3
    assert rows[0]["due_at"] == start and rows[-1]["due_at"] < end
    assert sent(ticked) == 3


def test_a_backfill_that_is_said_again_sends_nothing_twice_unless_it_is_meant(ticked: Shop) -> None:
    args = ("backfill", "report", "--from", span(ticked, 2)[0], "--to", span(ticked, 2)[1])
    ticked.call(*args)

    (again,), repeated = ticked.json(*args), ticked.call(*args)
    (meant,) = ticked.json(*args, "--again")
    (gone_on,) = ticked.json(*args, "--token", meant["token"])

    assert (again["count"], again["new"]) == (2, 0)
    assert "all of it was recorded before: nothing is sent twice" in repeated.stdout
    assert (meant["count"], meant["new"]) == (2, 2)
    assert (gone_on["new"], gone_on["token"]) == (0, meant["token"])


def test_a_relative_span_that_is_said_again_a_little_later_sends_nothing_twice(ticked: Shop) -> None:
    args = ("backfill", "report", "--from", "12h", "--to", "6h", "--per-minute", "60000")
    first = ticked.call(*args)
    for seconds in (1, 7):
        ticked.clock.advance(seconds)
        ticked.call("tick")
        again = ticked.call(*args)

    assert "recorded 6;" in first.stdout
    assert "all of it was recorded before: nothing is sent twice" in again.stdout
    assert sent(ticked) == 6


def test_of_a_span_that_overlaps_an_earlier_one_the_rest_is_sent_and_waited_for(ticked: Shop) -> None:
    ticked.call("backfill", "report", "--from", "12h", "--to", "6h", "--per-minute", "60000")
    rest = ticked.call("backfill", "report", "--from", "15h", "--to", "9h", "--per-minute", "60000")
    ticked.clock.advance(1)
    ticked.call("tick")
    ticked.call("backfill", "report", "--from", "3h", "--to", "now")  # waits, and is no part of what is waited for
    waited = ticked.call("backfill", "report", "--from", "15h", "--to", "6h", "--wait")

    assert "recorded 3;" in rest.stdout
    assert rest.stdout.endswith("\n3 were recorded before, and are not sent twice (--again)\n")
    assert sent(ticked) == 9
    assert waited.stderr.splitlines()[-1] == "sent 9 of 9"


def test_a_dry_run_of_a_backfill_records_nothing(ticked: Shop) -> None:
    start, end = span(ticked, 2)

    result = ticked.call("backfill", "report", "--from", start, "--to", end, "--dry-run")

    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "nothing is recorded (--dry-run)"
    assert ticked.json("history") == []


def test_a_dry_run_of_a_backfill_makes_no_ledger_and_compiles_nothing(settled: Settled, ticked: Shop) -> None:
    args = ("backfill", "newer", "--from", "3h", "--to", "now", "--dry-run")
    settled(TREE + '[entries.newer]\nevery = "1h"\n')
    (told,) = ticked.json(*args)
    revision, state = ticked.json("status")[0]["revision"], Path(ticked.environ["XDG_STATE_HOME"])
    ledgers = list(state.rglob("*.db"))
    shutil.rmtree(state)
    (without,) = ticked.json(*args)

    assert (told["count"], without["count"], revision) == (3, 3, 1)
    assert ledgers and not list(state.rglob("*.db"))


def test_a_backfill_of_a_span_in_which_it_is_not_due_says_so(ticked: Shop) -> None:
    result = ticked.call("backfill", "report", "--from", "20m", "--to", "10m")

    assert result.exit_code == 0
    assert "nothing to do" in result.stdout


def test_a_backfill_of_what_is_older_than_the_ledger_keeps_is_sent_once(ticked: Shop) -> None:
    end = next_hour(ticked) - 2400 * HOUR
    args = ("backfill", "search", "--from", format_utc(end - 120 * HOUR), "--to", format_utc(end), "--per-minute", "6000")
    ticked.call(*args)
    ticked.clock.advance(660)  # it is time to remove what is old, in the tick that sends
    ticked.call("tick")

    (again,) = ticked.json(*args)

    assert (again["count"], again["new"], sent(ticked)) == (5, 0, 5)


def test_a_backfill_waits_until_all_of_it_is_sent(ticked: Shop) -> None:
    args = ("backfill", "report", "--from", span(ticked, 2)[0], "--to", span(ticked, 2)[1], "--per-minute", "6000", "--wait")
    ticked.call(*args[:-1])
    ticked.call("tick")

    result = ticked.call(*args)

    assert result.exit_code == 0
    assert result.stderr.splitlines() == ["recorded 2 of 2", "sent 2 of 2"]


def test_rewind_sets_back_what_was_decided_in_a_wrong_future(ticked: Shop) -> None:
    began = ticked.clock.now()
    ticked.clock.advance(3 * HOUR)
    ticked.call("tick")
    ticked.clock.advance(began - ticked.clock.now())
    wrong = ticked.call("status")

    result = ticked.call("rewind", "--to", "0s", "--yes")
    again = ticked.call("rewind", "--to", "0s", "--yes")
    told = ticked.json("status")
    right = ticked.call("status")
    ticked.clock.advance(HOUR)
    ticked.call("tick")

    assert (wrong.exit_code, right.exit_code) == (1, 0)
    assert f"offbeat rewind --to {format_utc(began)}" in wrong.stdout
    assert (result.exit_code, result.stdout) == (0, f"1 group set back to {format_utc(began)}\n")
    assert again.stdout == "nothing was decided after that\n"
    assert sent(ticked) == 2
    assert [row["rewound"]["who"].partition("@")[0] for row in told] == ["ana"]


def test_rewind_says_how_far_it_went_when_the_ledger_is_younger(ticked: Shop) -> None:
    began = format_utc(ticked.clock.now())
    ticked.clock.advance(HOUR)
    ticked.call("tick")

    result = ticked.call("rewind", "--to", "2020-01-01", "--yes")
    (told,) = ticked.json("rewind", "--to", "2020-01-01", "--yes")

    assert result.stdout == f"1 group set back to {began}; before that nothing can be decided again\n"
    assert told["to"] == began


def test_what_a_person_asks_for_goes_out_while_everything_is_paused(ticked: Shop) -> None:
    ticked.call("pause", "--all")

    ticked.call("fire", "report")

    assert sent(ticked) == 1
    assert {row["cause"] for row in ticked.json("history", "report") if row["state"] == "dispatched"} == {"manual"}


def test_a_pause_holds_a_backfill_and_resume_lets_it_go_on(ticked: Shop) -> None:
    ticked.call("pause", "report")
    ticked.call("backfill", "report", "--from", "5h", "--to", "now", "--per-minute", "60000")
    ticked.clock.advance(60)
    ticked.call("tick")
    held = sent(ticked)
    ticked.call("resume", "report")
    ticked.clock.advance(300)
    ticked.call("tick")

    assert (held, sent(ticked)) == (0, 5)


def test_a_backfill_is_cancelled_and_says_what_was_out_already(ticked: Shop) -> None:
    now = ticked.clock.now()
    span = ("--from", format_utc(now - 5 * HOUR), "--to", format_utc(now))
    ticked.call("backfill", "report", *span, "--per-minute", "1")
    ticked.clock.advance(1)
    ticked.call("tick")
    result = ticked.call("backfill", "report", "--cancel")
    (again,) = ticked.json("backfill", "report", "--cancel")
    ticked.clock.advance(HOUR / 4)
    ticked.call("tick")

    assert (result.exit_code, result.output) == (0, "report: 4 occurrences cancelled; 1 was out already\n")
    assert again == {"entry": "report", "token": None, "cancelled": 0, "out": 1}
    assert sent(ticked) == 1
    assert "all of it was recorded before" in ticked.call("backfill", "report", *span).output


@pytest.mark.parametrize("args", [("--cancel", "--from", "2h"), ("--from", "2h"), ()])
def test_a_backfill_without_a_span_or_a_cancel_with_one_is_wrong_usage(ticked: Shop, args: tuple[str, ...]) -> None:
    assert ticked.call("backfill", "report", *args).exit_code == 2


def test_next_says_what_will_not_be_sent_and_why(ticked: Shop) -> None:
    ticked.call("pause", "search", "--until", "240h")
    ticked.call("skip", "report")
    first, second = (row["reason"] for row in ticked.json("next", "-n", "2", "report"))

    assert (first, second) == (Reason.BY_HAND, "")
    assert {row["reason"] for row in ticked.json("next", "-n", "2", "search")} == {Reason.PAUSED}
    assert "not sent: paused, by ana@" in ticked.call("next").output
    assert {row["overlap"] for row in ticked.json("next")} == {"allow"}


def test_pause_resume_and_rewind_say_as_json_what_holds(ticked: Shop) -> None:
    ticked.call("pause", "--all")
    (paused,) = ticked.json("pause", "report", "--note", "moving")
    (resumed,) = ticked.json("resume", "report")
    (rewound,) = ticked.json("rewind", "--to", "1m", "--yes")

    assert (paused["entry"], paused["until_at"], paused["note"], paused["once"]) == ("report", None, "moving", False)
    assert (resumed["was_paused"], [each["entry"] for each in resumed["still"]]) == (True, [None])
    assert rewound["who"].startswith("ana@")


def test_status_calls_people_by_what_they_did(ticked: Shop) -> None:
    ticked.call("pause", "report")
    ticked.call("resume", "report")
    ticked.call("skip", "report")
    ticked.call("backfill", "report", "--from", "2h", "--to", "now")
    (row,) = ticked.json("status")

    assert {each["role"] for each in row["runners"]} >= {"pause", "resume", "skip", "backfill", "tick"}
    assert "fire" not in {each["role"] for each in row["runners"]}
