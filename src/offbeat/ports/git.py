"""What git says of the repository that a tree is in: commit, author, and whether the tree has changes of its own.

Never writes, never asks for anything, and says nothing where there is no repository or no git.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SECONDS = 10.0  # that git may take for one answer
NOTHING_FOUND = 1  # git config's exit status
OURS = "GIT_CONFIG_"  # begins the variables that set settings; their keys may be of any characters, which `-c` cannot say
NONE: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """What is checked out. commit, author: "" where there is none. dirty: the tree has changes that are not committed."""

    commit: str = ""
    author: str = ""
    dirty: bool = False


def read_commit(tree: Path, environ: Mapping[str, str]) -> Commit:
    """Return what git says of `tree`; an empty answer outside of a repository, without git, or when it takes too long."""
    from subprocess import SubprocessError

    try:
        commit, _, author = _ask(tree, environ, "log", "-1", "--format=%H%x00%an").strip().partition("\0")
    except (OSError, SubprocessError):
        return Commit()
    try:
        # What git ignores in the tree is read by offbeat all the same; an empty folder is nothing to either.
        status = ("status", "--porcelain", "--untracked-files=normal", "--ignored=traditional", "--ignore-submodules=dirty")
        dirty = bool(_ask(tree, environ, *status, "--", ".", more=_without_filters(tree, environ)).strip())
        dirty = dirty or _is_unwatched(_ask(tree, environ, "ls-files", "-v", "-z", "--", "."))
    except (OSError, SubprocessError):
        dirty = True  # nobody can tell, so nobody should rely on the commit
    return Commit(commit=commit, author=author, dirty=dirty)


def _is_unwatched(listed: str) -> bool:
    """Return whether git was told of a file not to look whether it has changed: assume-unchanged, skip-worktree."""
    return any(line[0] == "S" or line[0].islower() for line in listed.split("\0") if line)


def _without_filters(tree: Path, environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return the variables by which git starts none of the filters that settings name. A file that needs one is dirty then."""
    from subprocess import CalledProcessError

    try:
        told = _ask(
            tree, environ, "config", "--null", "--name-only", "--get-regexp", r"^filter\..*\.(clean|smudge|process|required)$"
        )
    except CalledProcessError as error:
        if error.returncode != NOTHING_FOUND:
            raise
        return {}
    keys = sorted(set(filter(None, told.split("\0"))))
    settings = {f"{OURS}KEY_{index}": key for index, key in enumerate(keys)}
    values = {f"{OURS}VALUE_{index}": "false" if key.endswith(".required") else "" for index, key in enumerate(keys)}
    return {**settings, **values, f"{OURS}COUNT": str(len(keys))}


def _ask(tree: Path, environ: Mapping[str, str], *words: str, more: Mapping[str, str] = NONE) -> str:
    from subprocess import DEVNULL, run

    # No program that the repository's own settings name (a file monitor, a filter, a signature's check, a transport) is
    # started; in a submodule git would forget what we say here, so it looks into none.
    argv = ("git", "-c", "core.fsmonitor=false", "-c", "log.showSignature=false", "-C", os.fspath(tree), *words)
    kept = {name: text for name, text in environ.items() if not name.startswith("GIT_") or name == "GIT_CEILING_DIRECTORIES"}
    env = {**kept, **more, "GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    done = run(argv, env=env, stdin=DEVNULL, stdout=-1, stderr=DEVNULL, timeout=SECONDS, check=True)
    return done.stdout.decode("utf-8", "replace")
