"""What to tell of a cron tree that is missing, half there, at work, or not what counts.

Texts only; who tells them, and when, is decided elsewhere.
"""

from __future__ import annotations

from pathlib import Path

from offbeat.errors import Problem, Severity


def gone(tree: Path) -> Problem:
    """Return what to tell of a tree that is not there any more."""
    return Problem(
        code="C105",
        file=str(tree),
        what="the cron tree is gone: the folder is missing or empty",
        why="an empty checkout looks like a schedule without entries; the last good schedule stays in force",
        fix="check the repository out again, or `offbeat uninstall crontab` if it is to be gone",
    )


def nameless(file: str, project: str) -> Problem:
    """Return what to tell of a tree that has lost its name."""
    return Problem(
        code="C106",
        file=file,
        what=f'schedule.toml is gone, which said that the project is "{project}"',
        why="under another name everything would be sent again with other ids; the last good schedule stays in force",
        fix=f"put the file back, or set OFFBEAT_PROJECT={project}",
    )


def restless(tree: Path) -> Problem:
    """Return what to tell of a tree that somebody is writing to."""
    return Problem(
        code="L307",
        file=str(tree),
        what="the cron tree does not hold still: somebody is writing to it",
        why="half of a checkout is no schedule, so nothing was read and nothing was changed",
        fix="do the same again when the checkout is done",
    )


def no_tree(what: str, fix: str) -> Problem:
    """Return what to tell where a tree, or a ledger instead of it, is needed."""
    return Problem(code="L306", what=what, why="there is no schedule to work by, so nothing was done", fix=fix)


def empty() -> Problem:
    """Return what to tell of a ledger that nothing was deployed to, where there is no tree either."""
    return Problem(
        code="L308",
        what="the ledger has no schedule yet, and there is no cron tree here",
        why="nothing is sent until a revision is deployed; this runner takes it up by itself then",
        fix="offbeat deploy, in a checkout of the repository",
    )


def own_tree(where: str) -> Problem:
    """Return what to tell once of a ledger that hosts share while nothing was deployed. where: the ledger, no secret in it."""
    return Problem(
        code="L305",
        file=where,
        what="this host's own cron tree was compiled into a ledger that hosts share",
        why="until the first deploy each host compiles its own tree when that changes, and the newest counts for all of them",
        fix="offbeat deploy",
        severity=Severity.WARNING,
    )
