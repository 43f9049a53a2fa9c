"""Reading a cron tree: what is in it, as plain data.

Never judges what it finds (core/tree.py and core/parse.py do), and never raises for an odd file.
"""

from __future__ import annotations

import errno
import os
import re
import stat as modes
from pathlib import Path

from offbeat.core.listing import SCRIPT, Directory, Found, Kind, Text, TreeFiles
from offbeat.core.model import DIRECTORIES
from offbeat.ports.files import readlink_of, scan, shown, stat_of

HEAD = 512  # bytes of a file that are looked at for `#!` and NUL
_FLATTENED = re.compile(rb"(?:\.\./)+[^\s\0]+")  # what git writes in the place of a link, where it can make none


def read_tree(tree: Path) -> TreeFiles:
    """Return what is in the tree, as plain data. Whatever is odd about a file is in its kind; nothing is raised."""
    path = shown(tree)
    return TreeFiles(
        path=path,
        schedule=_text(tree / "schedule.toml", f"{path}/schedule.toml"),
        directories=tuple(_directory(tree / name, f"{path}/{name}") for name in DIRECTORIES),
        calendars=tuple(
            _text(tree / entry.name, f"{path}/{entry.name}") for entry in scan(str(tree)) if entry.name.endswith(".ics")
        ),
        shared=_shared(stat_of(str(tree))),
    )


def _kind(path: str) -> tuple[Kind, os.stat_result | None]:
    try:
        seen = os.stat(path)
    except OSError as error:
        if error.errno == errno.ELOOP:
            return Kind.LOOP, None
        gone = error.errno in (errno.ENOENT, errno.ENOTDIR)
        return (Kind.MISSING if gone else Kind.UNREADABLE), None
    if modes.S_ISREG(seen.st_mode):
        return Kind.FILE, seen
    return (Kind.DIRECTORY if modes.S_ISDIR(seen.st_mode) else Kind.OTHER), seen


def _shared(seen: os.stat_result | None) -> bool:
    return seen is not None and bool(seen.st_mode & modes.S_IWOTH)


def _read(path: str, limit: int = -1) -> bytes | None:
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return file.read(limit)
    except OSError:
        return None


def _text(file: Path, path: str) -> Text:
    kind, seen = _kind(str(file))
    if kind is not Kind.FILE:
        return Text(path=path, kind=kind)
    content = _read(str(file))
    if content is None:
        return Text(path=path, kind=Kind.UNREADABLE)
    return Text(path=path, kind=kind, content=content, shared=_shared(seen))


def _directory(folder: Path, path: str) -> Directory:
    kind, seen = _kind(str(folder))
    if kind is not Kind.DIRECTORY:
        return Directory(name=folder.name, path=path, kind=kind)
    try:
        names = os.listdir(folder)
    except OSError:
        return Directory(name=folder.name, path=path, kind=Kind.UNREADABLE)
    texts = {name: _text(folder / name, f"{path}/{name}") for name in ("jobs.allow", "jobs.deny") if name in names}
    return Directory(
        name=folder.name,
        path=path,
        kind=kind,
        files=tuple(_found(str(folder), name) for name in sorted(names) if name not in texts),
        allow=texts.get("jobs.allow"),
        deny=texts.get("jobs.deny"),
        shared=_shared(seen),
    )


def _found(folder: str, name: str) -> Found:
    path = os.path.join(folder, name)
    link = readlink_of(path) if os.path.islink(path) else ""
    kind, seen = _kind(path)
    if kind is not Kind.FILE or seen is None:
        return Found(name=name, kind=kind, executable=False, script=False, link=link, target=os.path.basename(link))
    head = _read(path, HEAD)
    real = os.path.realpath(path) if link else path
    target = os.path.basename(link if os.path.basename(link) == SCRIPT else real)
    return Found(
        name=name,
        kind=kind if head is not None else Kind.UNREADABLE,
        executable=bool(seen.st_mode & modes.S_IXUSR),
        script=(head or b"").startswith(b"#!"),
        binary=b"\0" in (head or b""),
        shared=_shared(seen) or (bool(link) and _shared(stat_of(os.path.dirname(real)))),
        link=link,
        target=target if link else "",
        flattened=bool(_FLATTENED.fullmatch(head or b"")),
    )
