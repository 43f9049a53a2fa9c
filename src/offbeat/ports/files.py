"""The cron tree on disk: where it is, and whether it holds still.

Never opens a file of it: treereader.py does, and treewriter.py writes.
"""

from __future__ import annotations

import os
import stat as modes
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from offbeat.core.identity import fingerprint
from offbeat.core.model import DIRECTORIES
from offbeat.errors import ConfigError, Problem
from offbeat.ports.clock import Clock

if TYPE_CHECKING:
    from offbeat.core.listing import TreeFiles

QUIET = 0.75  # seconds that nothing in the tree may have changed for, so that a checkout at work is not read half
PATIENCE = 2.5  # seconds that `accept` waits for it at most
STALE_LOCK = 600.0  # seconds; an index.lock older than this was left behind by a git that is gone
PLACES = ("cron", ".openshift/cron")  # relative to the repository's root


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What a tree looks like from outside. text: equal as long as nothing in it changed. newest: its newest ctime."""

    text: str
    newest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A tree that held still while it was read."""

    files: TreeFiles
    stamp: Stamp


def find_tree(start: Path, given: str | None, environ: Mapping[str, str]) -> Path:
    """Return the absolute path of the cron tree; links in it stay, so that a `current` link keeps its identity.

    given: what --tree says; else $OFFBEAT_TREE; else under $OPENSHIFT_REPO_DIR; else from `start` up to the repository's root.
    Raises: ConfigError when there is none, there are two, or what is given is no tree.
    """
    named, source = (given, "--tree") if given else (environ.get("OFFBEAT_TREE", ""), "OFFBEAT_TREE")
    if named:
        return _given_tree(Path(os.path.abspath(start / named)), source)
    root = environ.get("OPENSHIFT_REPO_DIR", "")
    if root and (tree := _tree_below(Path(os.path.abspath(root)))):
        return tree
    begin = Path(os.path.abspath(start))
    for folder in (begin, *begin.parents):
        if tree := _tree_below(folder):
            return tree
        if (folder / ".git").exists():
            break
    raise ConfigError(
        Problem(
            code="C101",
            file=str(begin),
            what='there is no cron tree: no "cron/" and no ".openshift/cron/" here or above, up to the repository\'s root',
            why="there is no schedule to read, so nothing was done",
            fix="run `offbeat init` in the repository's root, or name the tree: --tree PATH or OFFBEAT_TREE=PATH",
        )
    )


def _given_tree(path: Path, source: str) -> Path:
    if not path.is_dir():
        what = f'{source} names "{path}", which is {"not a directory" if path.exists() else "not there"}'
    elif tree := (path if is_tree(path) else _tree_below(path)) or (path if path.name == "cron" else None):
        return tree
    else:
        what = f'{source} names "{path}", which has none of {"/, ".join(DIRECTORIES)}/ and no schedule.toml'
    raise ConfigError(
        Problem(
            code="C103",
            file=str(path),
            what=what,
            why="there is no schedule to read, so nothing was done",
            fix=f"give {source} the path of the cron folder, or of the repository that has it",
        )
    )


def _tree_below(root: Path) -> Path | None:
    trees = [root / place for place in PLACES if is_tree(root / place)]
    if len(trees) > 1:
        raise ConfigError(
            Problem(
                code="C102",
                file=str(root),
                what='there are two cron trees here: "cron/" and ".openshift/cron/"',
                why="offbeat does not guess which of them is meant, so nothing was done",
                fix=f"remove one of them, or name the one that counts: OFFBEAT_TREE={trees[0]}",
            )
        )
    return trees[0] if trees else None


def is_tree(path: Path) -> bool:
    """Tell a cron tree from another folder that happens to be called cron, a Python package say."""
    return path.is_dir() and any((path / name).exists() for name in (*DIRECTORIES, "schedule.toml"))


def repository_of(tree: Path) -> Path:
    """Return the root of the repository that the tree is in."""
    parent = tree.parent
    return parent.parent if parent.name == ".openshift" else parent


def shown(tree: Path) -> str:
    """Return the tree's path as its user knows it: relative to the repository's root."""
    return os.path.relpath(tree, repository_of(tree)).replace(os.sep, "/")


def scan(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return []


def _looks(tree: str) -> Iterator[tuple[str, str, os.stat_result | None]]:
    """Yield (name, link text, stat) of everything that matters in the tree; links twice: themselves and where they end."""
    yield ".", "", stat_of(tree)
    folders = [tree, *(os.path.join(tree, name) for name in (*DIRECTORIES, "tasks"))]
    for folder in folders:
        for entry in scan(folder):
            if entry.is_symlink():
                yield entry.path, readlink_of(entry.path), lstat_of(entry.path)
            yield entry.path, "", stat_of(entry.path)


def stamp(tree: Path) -> Stamp:
    """Look at the tree once, without opening a file, and return its stamp.

    Covers names, modes, sizes, times, inodes and link texts of the tree's folder, the five directories and tasks/, and what
    links there end at.
    """
    lines: list[str] = []
    newest = 0.0
    for name, link, seen in _looks(str(tree)):
        if seen is None:
            lines.append(f"{name}\0{link}\0-")
            continue
        newest = max(newest, seen.st_ctime)
        facts = [seen.st_mode, seen.st_uid, seen.st_ino, seen.st_ctime_ns]
        if not modes.S_ISDIR(seen.st_mode):
            facts += [seen.st_size, seen.st_mtime_ns]
        lines.append(f"{name}\0{link}\0{facts}")
    return Stamp(text=fingerprint("\n".join(lines).encode("utf-8", "surrogateescape")), newest=newest)


def stat_of(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None


def lstat_of(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except OSError:
        return None


def readlink_of(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def accept(tree: Path, clock: Clock, read: Callable[[Path], TreeFiles], *, patience: float = PATIENCE) -> Accepted | None:
    """Read the tree once it holds still; None when it would not for `patience` seconds (somebody is checking it out).

    It holds still when its stamp is equal before and after reading, nothing in it changed in the last QUIET seconds, and no
    git is at work in its repository. A change in the future (a file server's clock) is not waited for.
    read: what reads it (treereader.read_tree).
    """
    give_up = clock.monotonic() + patience
    while True:
        now = clock.now()
        before = stamp(tree)
        young = 0 <= now - before.newest < QUIET
        if not young and not _git_at_work(repository_of(tree), now):
            files = read(tree)
            if stamp(tree).text == before.text:
                return Accepted(files=files, stamp=before)
        if clock.monotonic() >= give_up:
            return None
        clock.sleep_until(before.newest + QUIET + 0.01 if young else now + 0.1)


def _git_at_work(root: Path, now: float) -> bool:
    """Tell whether the repository's index is locked, by a git that may still be alive."""
    git = root / ".git"
    try:
        if git.is_file():  # a work tree or submodule: the file says where its git directory is
            git = root / git.read_text("utf-8", "replace").partition("gitdir:")[2].strip()
        return now - (git / "index.lock").lstat().st_mtime < STALE_LOCK
    except OSError:
        return False
