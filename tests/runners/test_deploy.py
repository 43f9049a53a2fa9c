"""Deploy, rollback and difference: one schedule for all runners, stored whole or not at all."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from offbeat.core.difference import ChangeKind
from offbeat.errors import ConfigError, LedgerError, OffbeatError, ScheduleError
from offbeat.ports.clock import FakeClock
from offbeat.ports.git import Commit, read_commit
from offbeat.runners.deploy import deploy, difference, rollback
from offbeat.runners.tick import tick

from .conftest import NOON, MemorySite

Write = Callable[[str], Path]
PONG = '[entries.pong]\nevery = "1m"\n'


def names(site: MemorySite) -> list[str]:
    return [entry.name for entry, _ in site.ledger.entries()]


def test_a_deploy_makes_the_tree_the_active_revision_and_later_changes_wait_for_the_next(
    site: MemorySite, clock: FakeClock, write: Write
) -> None:
    write(PONG)
    done = deploy(site, origin_note="the new shop")
    write('[entries.later]\nevery = "1m"\n')
    clock.advance(60)
    tick(site)

    assert (done.revision, done.changed, done.entries, done.origin.note) == (2, True, 1, "the new shop")
    assert (site.ledger.status().deployed, names(site)) == (True, ["pong"])


def test_the_same_tree_deployed_again_changes_nothing_and_keeps_who_deployed_it(site: MemorySite) -> None:
    first, second = deploy(site, origin_note="the shop opens"), deploy(site, origin_note="again")

    assert (first.revision, second.revision, second.changed) == (1, 1, False)
    assert site.ledger.status().origin == second.origin == first.origin
    assert first.origin.note == "the shop opens"


def test_a_tree_with_a_problem_is_refused_unless_that_is_allowed(site: MemorySite, write: Write) -> None:
    write(PONG + '[entries.bad]\ncron = "61 * * * *"\n')
    with pytest.raises(ScheduleError) as refused:
        deploy(site)
    assert ([problem.entry for problem in refused.value.problems], names(site)) == (["bad"], ["ping"])

    done = deploy(site, allow_problems=True)
    assert ([problem.entry for problem in done.problems], names(site)) == (["bad"], ["pong"])


def test_a_file_that_cannot_be_read_deploys_nothing(site: MemorySite, write: Write) -> None:
    write("[entries.ping\n")
    with pytest.raises(ScheduleError):
        deploy(site, allow_problems=True)

    assert not site.ledger.status().deployed


def test_a_tree_that_is_being_written_is_not_deployed(site: MemorySite, tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "index.lock").touch()
    os.utime(tmp_path / ".git" / "index.lock", (NOON, NOON))
    with pytest.raises(OffbeatError) as restless:
        deploy(site)

    assert [problem.code for problem in restless.value.problems] == ["L307"]


def test_two_deploys_at_once_do_not_overwrite_each_other_unseen(site: MemorySite, write: Write) -> None:
    whole = site.memory
    write(PONG)

    class Others:
        def __getattr__(self, name: str) -> object:
            return getattr(whole, name)

        def activate(self, *_: object, **__: object) -> int:
            return 0

    site.memory = Others()
    with pytest.raises(LedgerError) as overtaken:
        deploy(site)

    assert [problem.code for problem in overtaken.value.problems] == ["L311"]


def test_a_rollback_is_a_new_revision_with_the_old_schedule(site: MemorySite, clock: FakeClock, write: Write) -> None:
    deploy(site)
    write(PONG)
    clock.advance(10)
    deploy(site)
    clock.advance(10)
    done = rollback(site, 1)

    assert (done.revision, done.changed, done.origin.note, names(site)) == (3, True, "rollback to 1", ["ping"])
    assert [revision.number for revision in site.ledger.revisions(10)] == [3, 2, 1]
    again = rollback(site, 1)
    assert (again.revision, again.changed, again.origin.note) == (3, False, "rollback to 1")
    with pytest.raises(ConfigError) as unknown:
        rollback(site, 99)
    assert [problem.code for problem in unknown.value.problems] == ["L310"]


def test_a_rollback_to_what_is_in_force_leaves_the_log_as_it_is(site: MemorySite) -> None:
    deploy(site, origin_note="for Monday")
    number = site.ledger.status().revision

    assert not rollback(site, number).changed
    assert [revision.origin.note for revision in site.ledger.revisions(1)] == ["for Monday"]


def test_the_difference_names_what_changes_with_the_due_times_before_and_after(site: MemorySite, write: Write) -> None:
    write('[entries.ping]\nevery = "2m"\nkwargs = { full = true }\n' + PONG)
    found = difference(site)
    changes = {change.name: change for change in found.changes}

    assert (found.old, found.new, found.settings) == (1, None, ())
    assert changes["ping"].fields == ("recurrence", "kwargs")
    assert changes["ping"].before == (NOON + 60, NOON + 120, NOON + 180)
    assert changes["ping"].after == (NOON + 120, NOON + 240, NOON + 360)
    assert (changes["pong"].kind, changes["pong"].before, len(changes["pong"].after)) == (ChangeKind.ADDED, (), 3)

    deploy(site)
    assert difference(site).changes == ()
    back = difference(site, 1)
    assert ((back.old, back.new), [c.name for c in back.changes]) == ((1, 2), ["ping", "pong"])


def test_a_disabled_a_removed_and_an_ended_entry_have_no_due_times_to_come(site: MemorySite, write: Write) -> None:
    write('[entries.a]\nevery = "1m"\nends_at = "2026-03-01T12:02:00Z"\n[entries.b]\nevery = "1m"\nenabled = false\n')
    changes = {change.name: change for change in difference(site).changes}

    assert changes["a"].after == (NOON + 60, NOON + 120)
    assert (changes["b"].after, changes["ping"].kind, changes["ping"].after) == ((), ChangeKind.REMOVED, ())


def git(folder: Path, *words: str) -> str:
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    named = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org", "-c", "init.defaultBranch=main")
    return subprocess.run(("git", *named, *words), cwd=folder, env=env, capture_output=True, text=True, check=True).stdout


def test_commit_author_and_what_is_not_committed_are_kept_with_the_revision(
    site: MemorySite, tmp_path: Path, write: Write
) -> None:
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "cron")
    git(tmp_path, "commit", "-q", "-m", "first")
    clean = deploy(site).origin
    write(PONG)
    dirty = deploy(site).origin

    head = git(tmp_path, "rev-parse", "HEAD").strip()
    assert (clean.commit, clean.author, clean.dirty) == (head, "Ann", False)
    assert (dirty.commit, dirty.dirty) == (head, True)


def test_outside_of_a_repository_and_without_git_there_is_no_commit(tmp_path: Path) -> None:
    ceiling = {"GIT_CEILING_DIRECTORIES": str(tmp_path)}

    assert read_commit(tmp_path, {"PATH": os.environ["PATH"], **ceiling}) == Commit()
    assert read_commit(tmp_path, {"PATH": str(tmp_path)}) == Commit()


def test_a_repository_with_no_commit_yet_has_none(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")

    assert read_commit(tmp_path, {"PATH": os.environ["PATH"]}) == Commit()
