"""`offbeat install` and `offbeat uninstall`: what they say; what they do is in faces/install.py."""

from __future__ import annotations

import os
from pathlib import Path

import click

from offbeat.errors import ConfigError
from offbeat.faces.cli_session import Command, Session, global_options, print_problems

HELP_NAMES = {"help_option_names": ["-h", "--help"]}


@click.group(context_settings=HELP_NAMES, params=global_options())
def install() -> None:
    """Let the platform tick: put the tick where it is started from."""


@click.group(context_settings=HELP_NAMES, params=global_options())
def uninstall() -> None:
    """Take the tick out of where `offbeat install` put it."""


@install.command(
    "crontab",
    cls=Command,
    examples=("offbeat install crontab --dry-run", "offbeat install crontab", "offbeat uninstall crontab"),
)
@click.option("--dry-run", is_flag=True, help="Print the crontab as it would be; change nothing.")
@click.pass_obj
def install_crontab(session: Session, dry_run: bool) -> None:
    """Put a tick a minute into this user's crontab, in a marked block of this tree.

    The rest of the crontab stays as it is. Doing it again brings the block up to date. The environment that decides where the
    ledger is goes along, unless it has, or may have, a password in it. A broker's address is not written at all, and cron does
    not see yours: put OFFBEAT_BROKER into a file that git ignores, and name it in schedule.toml: env_file = ".env".
    """
    from offbeat.faces import install as faces_install
    from offbeat.ports.files import find_tree

    tree = str(find_tree(Path.cwd(), session.tree, session.environ))
    done = faces_install.install_crontab(tree, session.environ, dry_run=dry_run)
    print_problems(done.warnings)
    _say(session, done.text if dry_run else None, f"{tree} ticks every minute" if done.changed else f"{tree} is there already")


@uninstall.command("crontab", cls=Command, examples=("offbeat uninstall crontab",))
@click.option("--dry-run", is_flag=True, help="Print the crontab as it would be; change nothing.")
@click.pass_obj
def uninstall_crontab(session: Session, dry_run: bool) -> None:
    """Take this tree's block out of this user's crontab; the rest stays as it is. A tree that is gone is named by --tree."""
    from offbeat.faces import install as faces_install

    tree = _tree_or_its_name(session)
    done = faces_install.uninstall_crontab(tree, dry_run=dry_run)
    _say(session, done.text if dry_run else None, f"{tree} does not tick any more" if done.changed else f"{tree} is not there")


def _tree_or_its_name(session: Session) -> str:
    from offbeat.ports.files import find_tree

    try:
        return str(find_tree(Path.cwd(), session.tree, session.environ))
    except ConfigError:
        if not session.tree:
            raise
        return os.path.abspath(session.tree)


def _say(session: Session, text: bytes | None, words: str) -> None:
    if text is not None:
        click.echo(text, nl=False)
    elif session.quiet == 0:
        click.echo(f"crontab: {words}")
