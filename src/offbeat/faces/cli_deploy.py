"""`offbeat deploy` and `rollback`: make the tree's schedule, or an older revision's, the active one for all runners."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from offbeat.errors import ScheduleError
from offbeat.faces.cli_check import problem_row
from offbeat.faces.cli_session import (
    LOG_CRITICAL,
    Command,
    Session,
    by_place,
    errors_in,
    json_option,
    print_json,
    print_problems,
)
from offbeat.faces.people import REVISION, Note
from offbeat.faces.words import conceal, count_of, printable

if TYPE_CHECKING:
    from offbeat.core.difference import EntryChange
    from offbeat.runners.deploy import Deployed, Difference

SHORT = 10  # characters of a commit or a digest
LISTED = 20  # names that are said one by one


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Which entries differ from what was in force."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[EntryChange, ...] = ()
    settings: tuple[str, ...] = ()


@click.command(
    cls=Command,
    examples=(
        "offbeat deploy                         in a pipeline, after the tests",
        "offbeat deploy --dry-run               what it would change",
        "offbeat deploy --note 'the new shop opens'",
    ),
)
@click.option("--allow-problems", is_flag=True, help="Deploy the entries that are right, although others are wrong.")
@click.option("--note", type=Note(), default="", help="A sentence for `offbeat log`.")
@click.option("--dry-run", is_flag=True, help="Check, and say what would change; change nothing.")
@json_option
@click.pass_obj
def deploy(session: Session, allow_problems: bool, note: str, dry_run: bool, as_json: bool) -> None:
    """Check the tree, then make its schedule the active revision for all runners of the ledger.

    From the first deploy on the ledger is the truth: runners compile no trees of their own, and need none. There is no way back
    in the same ledger: files count again only in a new one.
    Exit 1: the tree has problems, and nothing was deployed.
    """
    from offbeat.runners.deploy import deploy as do_deploy
    from offbeat.runners.deploy import difference

    site = session.open_site(base=LOG_CRITICAL)
    site.require_tree("deploy")
    before = difference(site)
    if dry_run:
        _stop_at_problems(before, allow_problems)
        _tell_difference(before, as_json, session.quiet > 0)
        return
    done = do_deploy(site, origin_note=conceal(note), allow_problems=allow_problems)
    _tell(done, _names(before), as_json=as_json, quiet=session.quiet > 0)


@click.command(cls=Command, examples=("offbeat log", "offbeat rollback 3"))
@click.argument("revision", type=REVISION, metavar="REV")
@json_option
@click.pass_obj
def rollback(session: Session, revision: int, as_json: bool) -> None:
    """Make the schedule of revision REV the active one again, as a new revision. The tree is not touched.

    The next `offbeat deploy` deploys the tree as it is then: revert it in git too.
    """
    from offbeat.runners.deploy import difference
    from offbeat.runners.deploy import rollback as do_rollback

    site = session.open_site(base=LOG_CRITICAL)
    names = _names(difference(site, revision), back=True)
    _tell(do_rollback(site, revision), names, as_json=as_json, quiet=session.quiet > 0)


def _stop_at_problems(found: Difference, allowed: bool) -> None:
    if not allowed and (errors := errors_in(found.problems)):
        raise ScheduleError(*by_place(errors))


def _names(found: Difference, *, back: bool = False) -> Names:
    """Return which entries differ; back: the other way round."""
    from offbeat.core.difference import ChangeKind

    added, removed = (ChangeKind.REMOVED, ChangeKind.ADDED) if back else (ChangeKind.ADDED, ChangeKind.REMOVED)
    return Names(
        added=tuple(each.name for each in found.changes if each.kind is added),
        removed=tuple(each.name for each in found.changes if each.kind is removed),
        changed=tuple(each for each in found.changes if each.kind is ChangeKind.CHANGED),
        settings=found.settings,
    )


def _tell_difference(found: Difference, as_json: bool, quiet: bool) -> None:
    names = _names(found)
    if as_json:
        problems = [problem_row(problem) for problem in by_place(found.problems)]
        is_new = bool(found.changes or found.settings)
        row = {"revision": None, "is_new": is_new, "is_first": not found.deployed, **_name_row(names)}
        print_json([{**row, "problems": problems, "dry_run": True}])
    elif not quiet:
        changed = found.changes or found.settings
        click.echo("nothing is deployed (--dry-run); it would change:" if changed else "nothing would change")
        _tell_names(names)
        if not found.deployed:
            click.echo(
                "it would be the first deploy: from then on what is deployed counts, and not the files; there is no way back"
            )


def _tell(done: Deployed, names: Names, *, as_json: bool, quiet: bool) -> None:
    if as_json:
        print_json([_row(done, names)])
        return
    print_problems(by_place(errors_in(done.problems)))
    if quiet:
        return
    what = f"{count_of(done.entries, 'entry', 'entries')}, digest {done.digest[:SHORT]}"
    if done.changed:
        click.echo(f"revision {done.revision} is in force: {what}")
    elif done.first:
        click.echo(f"revision {done.revision} is in force already, and deployed from now on: {what}")
    else:
        click.echo(f"nothing changed: revision {done.revision} is in force already: {what}")
    if source := origin_words(done.origin.commit, done.origin.author, dirty=done.origin.dirty):
        click.echo(f"from {source}")
    if done.changed:
        _tell_names(names)
    if done.first:
        click.echo("from now on what is deployed counts, and not the files: offbeat deploy after each change of them")


def origin_words(commit: str, author: str, *, dirty: bool) -> str:
    """Return where a revision comes from, "" when git says nothing."""
    if not commit:
        return ""
    by = f" by {printable(conceal(author))}" if author else ""
    return f"commit {commit[:SHORT]}{by}{', with changes that are not committed' if dirty else ''}"


def _tell_names(names: Names) -> None:
    changed = tuple(f"{each.name} ({', '.join(each.fields)})" for each in names.changed)
    parts = (("added", names.added), ("removed", names.removed), ("changed", changed), ("settings", names.settings))
    for word, listed in parts:
        if listed:
            more = f" and {len(listed) - LISTED} more" if len(listed) > LISTED else ""
            click.echo(f"{word + ':':<9} {printable(', '.join(listed[:LISTED]))}{more}")


def _name_row(names: Names) -> dict[str, object]:
    return {
        "added": list(names.added),
        "removed": list(names.removed),
        "changed": [each.name for each in names.changed],
        "settings": list(names.settings),
    }


def _row(done: Deployed, names: Names) -> Mapping[str, object]:
    return {
        "revision": done.revision,
        "is_new": done.changed,
        "is_first": done.first,
        "digest": done.digest,
        "entries": done.entries,
        "commit": done.origin.commit,
        "author": conceal(done.origin.author),
        "is_dirty": done.origin.dirty,
        "note": conceal(done.origin.note),
        **_name_row(names if done.changed else Names()),
        "problems": [problem_row(problem) for problem in by_place(done.problems)],
        "dry_run": False,
    }
