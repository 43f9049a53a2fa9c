"""A cron tree as it was found on disk, as plain data: what ports/files.py reads and core/tree.py and core/parse.py judge.

Never touches the disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

SCRIPT = "run_celery_task"  # a link to a file of this name is a Celery task


class Kind(StrEnum):
    """What a path is once its links are followed."""

    FILE = "file"
    DIRECTORY = "directory"
    OTHER = "other"  # a pipe, a socket, a device
    MISSING = "missing"  # nothing is there; of a link: it dangles
    LOOP = "loop"  # a link that leads back to itself
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One name in a directory of the tree.

    name: as the file system has it (bytes that are not UTF-8 as surrogates). executable: by its owner. script: it starts with
    `#!`. binary: has a NUL in its first bytes. shared: everybody may write it, or the folder where it really is.
    link: what the link says, "" when it is none. target: bare name of the file at the end of the links. flattened: it is
    a text file that holds nothing but a relative path, as git writes links where there are none.
    """

    name: str
    kind: Kind = Kind.FILE
    executable: bool = True
    script: bool = True
    binary: bool = False
    shared: bool = False
    link: str = ""
    target: str = ""
    flattened: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """One text file: its path as the user knows it, what is there, and its bytes (none unless it is a file)."""

    path: str
    kind: Kind = Kind.MISSING
    content: bytes = b""
    shared: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """One of the five. files: in no order, without jobs.allow and jobs.deny. shared: everybody may write it."""

    name: str
    path: str
    kind: Kind = Kind.MISSING
    files: tuple[Found, ...] = ()
    allow: Text | None = None
    deny: Text | None = None
    shared: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeFiles:
    """A whole tree. path: as the user knows it ("cron", ".openshift/cron"). shared: everybody may write its folder.

    calendars: the *.ics files beside schedule.toml.
    """

    path: str
    schedule: Text
    directories: tuple[Directory, ...] = ()
    calendars: tuple[Text, ...] = ()
    shared: bool = False
