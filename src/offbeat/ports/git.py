"""What git says of the repository that a tree is in: commit, author, and whether the tree has changes of its own.

Never writes, never asks for anything, and says nothing where there is no repository or no git.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SECONDS = 10.0  # that git may take for one answer


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
        dirty = bool(_ask(tree, environ, "status", "--porcelain", "--untracked-files=normal", "--", ".").strip())
    except (OSError, SubprocessError):
        dirty = True  # nobody can tell, so nobody should rely on the commit
    return Commit(commit=commit, author=author, dirty=dirty)


def _ask(tree: Path, environ: Mapping[str, str], *words: str) -> str:
    from subprocess import DEVNULL, run

    # No program that the repository's own settings name (a file monitor, a signature's check) is started.
    argv = ("git", "-c", "core.fsmonitor=false", "-c", "log.showSignature=false", "-C", os.fspath(tree), *words)
    kept = {name: text for name, text in environ.items() if not name.startswith("GIT_") or name == "GIT_CEILING_DIRECTORIES"}
    env = {**kept, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    done = run(argv, env=env, stdin=DEVNULL, stdout=-1, stderr=DEVNULL, timeout=SECONDS, check=True)
    return done.stdout.decode("utf-8", "replace")
