"""deploy, log, diff and rollback: what they make active, what they say differs, and what they refuse."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest
from tests.faces.conftest import Shop

Settled = Callable[[str], Shop]
FIRST = 'timezone = "Europe/Sofia"\n[entries.report]\ncron = "30 4 * * mon"\n[entries.old]\nevery = "1h"\n'
SECOND = (
    'timezone = "Europe/Sofia"\n[entries.report]\ncron = "30 5 * * mon"\nkwargs = { a = 1 }\n[entries.search]\nevery = "2h"\n'
)
BAD = FIRST + '[entries.bad]\ncron = "0 25 * * *"\n'


@pytest.fixture
def deployed(settled: Settled) -> Shop:
    """A repository whose first revision is deployed."""
    shop = settled(FIRST)
    assert shop.call("deploy").exit_code == 0
    return shop


def git(shop: Shop, *words: str) -> None:
    settings = ("-c", "user.name=Ana", "-c", "user.email=ana@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *settings, "-C", str(shop.root), *words], check=True, capture_output=True)


def test_the_first_deploy_makes_all_entries_of_the_tree_active(settled: Settled) -> None:
    shop = settled(FIRST)

    result = shop.call("deploy", "--note", "the shop opens")

    assert result.exit_code == 0
    first, *rest = result.stdout.splitlines()
    assert first.startswith("revision 1 is in force: 2 entries, digest ")
    assert rest[0] == "added:    old, report" and rest[1].startswith("from now on what is deployed counts")
    (row,) = shop.json("log")
    assert (row["revision"], row["is_active"], row["is_deployed"], row["note"]) == (1, True, True, "the shop opens")


def test_a_deploy_says_what_it_has_changed(deployed: Shop, settled: Settled) -> None:
    settled(SECOND)

    result = deployed.call("deploy")

    assert result.stdout.splitlines()[1:] == ["added:    search", "removed:  old", "changed:  report (recurrence, kwargs)"]


def test_a_deploy_of_the_same_schedule_says_that_nothing_changed(deployed: Shop) -> None:
    result, (row,) = deployed.call("deploy"), deployed.json("deploy")

    assert result.exit_code == 0
    assert result.stdout.startswith("nothing changed: revision 1 is in force already: 2 entries, digest ")
    assert (row["revision"], row["is_new"], row["added"], row["changed"]) == (1, False, [], [])
    assert len(deployed.json("log")) == 1


def test_a_deploy_that_changes_nothing_leaves_the_log_as_it_is(settled: Settled) -> None:
    shop = settled(FIRST)
    (shop.root / ".git").rmdir()
    git(shop, "init", "-q")
    git(shop, "add", ".")
    git(shop, "commit", "-q", "-m", "first")
    shop.call("deploy", "--note", "the shop opens")
    before = shop.json("log")
    (shop.root / "cron" / "README").write_text("for people\n")

    shop.call("deploy")
    shop.call("deploy", "--note", "another")

    assert shop.json("log") == before
    assert (before[0]["note"], before[0]["author"], before[0]["is_dirty"]) == ("the shop opens", "Ana", False)


def test_a_deploy_tells_the_commit_its_author_and_whether_all_is_committed(settled: Settled) -> None:
    shop = settled(FIRST)
    (shop.root / ".git").rmdir()
    git(shop, "init", "-q")
    git(shop, "add", ".")
    git(shop, "commit", "-q", "-m", "first")

    clean = shop.call("deploy")
    settled(SECOND)
    dirty = shop.call("deploy")

    commit = shop.json("log", "-n", "1")[0]["commit"]
    assert clean.stdout.splitlines()[1] == f"from commit {commit[:10]} by Ana"
    assert dirty.stdout.splitlines()[1] == f"from commit {commit[:10]} by Ana, with changes that are not committed"
    assert [(row["author"], row["is_dirty"]) for row in shop.json("log")] == [("Ana", True), ("Ana", False)]


def test_a_tree_with_a_problem_is_not_deployed_unless_it_is_allowed(deployed: Shop, settled: Settled) -> None:
    settled(BAD)

    refused = deployed.call("deploy")
    tried = deployed.call("deploy", "--dry-run")
    before = deployed.json("log")
    allowed = deployed.call("deploy", "--allow-problems")

    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr.startswith("cron/schedule.toml:9: ") and "  fix: " in refused.stderr
    assert (tried.exit_code, tried.stdout) == (1, "")
    assert len(before) == 1
    assert (allowed.exit_code, allowed.stderr) == (0, refused.stderr)


def test_a_dry_run_says_what_would_change_and_changes_nothing(deployed: Shop, settled: Settled) -> None:
    settled(SECOND)

    result, (row,) = deployed.call("deploy", "--dry-run"), deployed.json("deploy", "--dry-run")

    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "nothing is deployed (--dry-run); it would change:",
        "added:    search",
        "removed:  old",
        "changed:  report (recurrence, kwargs)",
    ]
    assert (row["dry_run"], row["is_new"], row["added"]) == (True, True, ["search"])
    assert [row["revision"] for row in deployed.json("log")] == [1]


def test_a_dry_run_of_the_first_deploy_says_that_there_is_no_way_back(settled: Settled) -> None:
    shop = settled(FIRST)
    shop.call("tick")

    result, (row,) = shop.call("deploy", "--dry-run"), shop.json("deploy", "--dry-run")
    shop.call("deploy")
    after, (later,) = shop.call("deploy", "--dry-run"), shop.json("deploy", "--dry-run")

    assert result.stdout.splitlines() == [
        "nothing would change",
        "it would be the first deploy: from then on what is deployed counts, and not the files; there is no way back",
    ]
    assert after.stdout == "nothing would change\n"
    assert (row["is_first"], later["is_first"]) == (True, False)


def test_from_the_first_deploy_on_a_tick_compiles_no_tree(deployed: Shop, settled: Settled) -> None:
    settled(SECOND)

    deployed.call("tick")

    assert [row["revision"] for row in deployed.json("log")] == [1]
    (status,) = deployed.json("status")
    assert (status["revision"], status["is_deployed"]) == (1, True)


def test_the_first_deploy_says_that_the_files_count_no_more_also_where_nothing_else_changes(settled: Settled) -> None:
    shop = settled(FIRST)
    shop.call("tick")

    first, second = shop.call("deploy"), shop.call("deploy")

    assert first.stdout.startswith("revision 1 is in force already, and deployed from now on: 2 entries")
    assert "from now on what is deployed counts, and not the files" in first.stdout
    assert second.stdout.startswith("nothing changed: revision 1 ")
    assert "from now on" not in second.stdout


@pytest.mark.parametrize("words", ["check", "next", "list", "tick -v"])
def test_whoever_reads_the_files_says_when_they_are_not_what_is_deployed(deployed: Shop, settled: Settled, words: str) -> None:
    same = deployed.call(*words.split())
    settled(SECOND)

    other = deployed.call(*words.split())

    assert (same.exit_code, other.exit_code) == (0, 0)
    assert "these files are another schedule" not in same.output
    assert "what is deployed counts (revision 1), and these files are another schedule" in other.output


def test_plan_shows_what_is_deployed_and_says_that_the_tree_is_another(deployed: Shop, settled: Settled) -> None:
    before = deployed.call("plan")
    settled(SECOND)

    result = deployed.call("plan", "--hours", "2")

    assert before.stderr == ""
    assert result.stderr == "this is what is deployed; the tree is another: offbeat diff\n"
    assert "old" in result.stdout and "search" not in result.stdout


def test_diff_shows_each_entry_that_differs_with_its_due_times_before_and_after(deployed: Shop, settled: Settled) -> None:
    settled(SECOND)

    result = deployed.call("diff")

    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert lines[0] == "from revision 1 to the tree: 3 entries differ"
    assert [line for line in lines[1:] if not line.startswith(" ")] == ["- old", "~ report: recurrence, kwargs", "+ search"]
    report = lines[lines.index("~ report: recurrence, kwargs") + 1 :][:2]
    assert report[0].startswith("    before: Mon ") and report[0].count(" 04:30:00 +02:00") == 3
    assert report[1].startswith("    after:  Mon ") and report[1].count(" 05:30:00 +02:00") == 3


def test_diff_has_the_due_times_as_json_and_an_exit_code_on_request(deployed: Shop, settled: Settled) -> None:
    same = deployed.call("diff", "--exit-code")
    settled(SECOND)

    rows = deployed.json("diff")

    assert (same.exit_code, same.stdout) == (0, "no difference from revision 1 to the tree\n")
    assert deployed.call("diff", "--exit-code").exit_code == 1
    assert [(row["entry"], row["kind"]) for row in rows] == [("old", "removed"), ("report", "changed"), ("search", "added")]
    assert [(len(row["before"]), len(row["after"])) for row in rows] == [(3, 0), (3, 3), (0, 3)]


def test_a_change_of_what_all_entries_share_is_told(deployed: Shop, settled: Settled) -> None:
    settled(FIRST + '[ledger]\nkeep = "30d"\n')

    assert "~ for all entries: ledger" in deployed.call("diff").stdout
    assert "settings: ledger" in deployed.call("deploy").stdout


def test_diff_of_a_revision_shows_what_has_changed_since(deployed: Shop, settled: Settled) -> None:
    settled(SECOND)
    deployed.call("deploy")

    result = deployed.call("diff", "1")

    assert result.stdout.splitlines()[0] == "from revision 1 to revision 2, which is in force: 3 entries differ"
    assert "+ search" in result.stdout.splitlines()


def test_rollback_makes_an_older_schedule_a_new_revision(deployed: Shop, settled: Settled) -> None:
    settled(SECOND)
    deployed.call("deploy")

    result = deployed.call("rollback", "1")

    assert result.exit_code == 0
    assert result.stdout.splitlines()[0].startswith("revision 3 is in force: 2 entries, digest ")
    assert result.stdout.splitlines()[1:] == ["added:    old", "removed:  search", "changed:  report (recurrence, kwargs)"]
    rows = deployed.json("log")
    assert [(row["revision"], row["note"], row["is_active"]) for row in rows] == [
        (3, "rollback to 1", True),
        (2, "", False),
        (1, "", False),
    ]
    assert rows[0]["digest"] == rows[2]["digest"]


@pytest.mark.parametrize("args", [("rollback", "7"), ("diff", "7")])
def test_a_revision_that_the_ledger_does_not_have_is_refused(deployed: Shop, args: tuple[str, ...]) -> None:
    result = deployed.call(*args)

    assert (result.exit_code, result.stdout) == (1, "")
    assert "the ledger has no revision 7" in result.stderr
    assert "fix: use a number that `offbeat log` prints" in result.stderr


def test_log_before_the_first_revision_says_so_and_makes_no_ledger(settled: Settled) -> None:
    shop = settled(FIRST)

    result = shop.call("log")

    assert (result.exit_code, result.stdout) == (0, "")
    assert "no revision yet" in result.stderr
    assert not (shop.root.parent / "state").exists()


def test_log_tells_what_was_compiled_from_what_was_deployed(settled: Settled) -> None:
    shop = settled(FIRST)
    shop.call("tick")
    settled(SECOND)
    shop.call("deploy", "--note", "by hand, redis://me:hunter2@h/0")

    result = shop.call("log")

    lines = result.stdout.splitlines()
    assert lines[0].split() == ["REV", "SINCE", "ENTRIES", "DIGEST", "COMMIT", "AUTHOR", "HOW"]
    assert lines[1].startswith("*  2") and lines[1].endswith("deployed: by hand, redis://me:***@h/0")
    assert lines[2].startswith("   1") and lines[2].endswith("compiled from a tree")


@pytest.mark.parametrize(
    "words",
    [
        *("deploy", "deploy --dry-run", "log", "diff", "rollback 1", "status", "history", "fire report", "tick"),
        *("pause report", "pause --all", "resume report", "skip report", "rewind --to 1m --yes"),
        "backfill report --from 2d --to 1d",
    ],
)
@pytest.mark.parametrize("address", ["redis://:hunter2@127.0.0.1:1/0", "postgresql://offbeat:hunter2@127.0.0.1:1/db"])
def test_a_ledger_out_of_reach_is_told_without_its_password(settled: Settled, words: str, address: str) -> None:
    shop = settled(FIRST)
    shop.environ["OFFBEAT_LEDGER"] = address

    result = shop.call(*words.split())

    assert result.exit_code == 3
    assert "  fix: " in result.stderr
    assert "hunter2" not in result.output and "Traceback" not in result.output


@pytest.mark.parametrize("words", ["list", "next", "check", "plan --hours 1"])
def test_what_is_about_the_files_does_not_need_the_ledger(settled: Settled, words: str) -> None:
    shop = settled(FIRST)
    shop.environ["OFFBEAT_LEDGER"] = "redis://:hunter2@127.0.0.1:1/0"

    result = shop.call(*words.split())

    assert result.exit_code == (3 if words.startswith("plan") else 0)
    assert "hunter2" not in result.output
