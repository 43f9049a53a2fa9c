"""The five directories: which files of them run, by the rules of OpenShift 2 (Red Hat's run-parts), and what is odd about them.

Never touches the disk and knows no due times. Where a name would be skipped by another system's run-parts, a warning says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from offbeat.core.listing import SCRIPT, Directory, Found, Kind, Text, TreeFiles
from offbeat.core.model import DIRECTORIES
from offbeat.core.period import due_in_period, period
from offbeat.errors import Problem, Severity

__all__ = ["Piece", "due_in_period", "is_celery_link", "listed", "odd_kind", "period", "pieces", "refused_name", "shown_name"]

LEFTOVERS = (".rpmsave", ".rpmorig", ".rpmnew", ".swp", ".cfsaved", ",v", "~", ",")  # of editors and packagers
_DEBIAN = re.compile(r"[A-Za-z0-9_-]+\Z")
_BUSYBOX = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One file of a directory that runs. name: the entry's. task: it is a Celery task, `task_prefix` goes before its name."""

    name: str
    directory: str
    file: str
    path: str
    task: bool


def shown_name(name: str) -> str:
    """Return a file's name as text that can be printed: control characters and bytes that are not UTF-8 escaped.

    >>> shown_name("a\\tb")
    'a\\\\tb'
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)


def pieces(files: TreeFiles, *, linked: bool) -> tuple[tuple[Piece, ...], tuple[Problem, ...]]:
    """Return what runs, directory by directory in byte order of the names, and all problems of the tree.

    linked: task_prefix is set, so links to `run_celery_task` are Celery tasks; else they are the commands that they were.
    """
    found: list[Piece] = []
    problems: list[Problem] = []
    for name in DIRECTORIES:
        for directory in files.directories:
            if directory.name == name:
                _add(directory, linked=linked, tree_shared=files.shared, found=found, problems=problems)
    return tuple(found), tuple(problems)


def _add(directory: Directory, *, linked: bool, tree_shared: bool, found: list[Piece], problems: list[Problem]) -> None:
    stopped = _directory_problems(directory)
    problems += stopped
    if stopped or directory.kind is not Kind.DIRECTORY:
        return
    problems += [p for text in (directory.allow, directory.deny) if text for p in _list_warnings(text)]
    taken = {piece.name: piece for piece in found if piece.task}
    for file in sorted(directory.files, key=lambda file: file.name.encode("utf-8", "surrogateescape")):
        if not listed(file.name, directory):
            continue
        path = f"{directory.path}/{shown_name(file.name)}"
        refusal = _refusal(file, path)
        if refusal is not None:
            problems += refusal
            continue
        task = linked and is_celery_link(file)
        piece = Piece(
            name=file.name if task else f"{directory.name}/{file.name}",
            directory=directory.name,
            file=file.name,
            path=path,
            task=task,
        )
        shared = None if task else _shared_by(file, directory, tree_shared=tree_shared)
        if shared:
            problems.append(_shared_problem(piece, shared))
        elif task and piece.name in taken:
            problems.append(_twice(piece, taken[piece.name]))
        else:
            found.append(piece)
            problems += _warnings(file, path, task=task)


def is_celery_link(file: Found) -> bool:
    """Tell whether the file is a link to a script named run_celery_task."""
    return bool(file.link) and file.target == SCRIPT


def listed(name: str, directory: Directory) -> bool:
    """Tell whether jobs.deny and jobs.allow let the name run: deny first, then allow.

    As run-parts' `grep "^NAME$"` does it: a line must be the whole name, so trailing blanks and CRLF break it, and a dot in a
    file's name stands for any character.
    """
    if directory.deny is not None and _grep(name, directory.deny):
        return False
    return directory.allow is None or _grep(name, directory.allow)


def _grep(name: str, text: Text) -> bool:
    pattern = re.escape(name.encode("utf-8", "surrogateescape")).replace(rb"\.", b".")
    return any(re.fullmatch(pattern, line, re.DOTALL) for line in text.content.split(b"\n"))


def _directory_problems(directory: Directory) -> list[Problem]:
    """Return why nothing of the directory can be loaded; empty when it can, and when it does not exist."""
    why = f'no file of "{directory.name}" is loaded; the other directories and schedule.toml are'
    if directory.kind not in (Kind.DIRECTORY, Kind.MISSING):
        return [odd_kind(directory.path, directory.kind, wanted="directory", why=why)]
    texts = (text for text in (directory.allow, directory.deny) if text is not None)
    return [odd_kind(text.path, text.kind, wanted="file", why=why) for text in texts if text.kind is not Kind.FILE]


def odd_kind(path: str, kind: Kind, *, wanted: str, why: str) -> Problem:
    """Return the problem of a path that is not the file or directory that it should be."""
    name = path.rpartition("/")[2]
    article = {Kind.DIRECTORY: "a directory", Kind.FILE: "a file"}.get(kind, "a pipe, socket or device")
    code, what, fix = {
        Kind.LOOP: ("S206", "is a link that leads back to itself", f"rm {path}, and link it anew"),
        Kind.MISSING: ("S205", "is a link to nothing", f"rm {path}, or put back what it links to"),
        Kind.UNREADABLE: ("S207", "cannot be read by this user", f"chmod u+rX {path}, or chown it"),
    }.get(kind, ("S208", f"is {article}, where a {wanted} should be", f"move {path} out of the tree"))
    return Problem(code=code, file=path, what=f'"{name}" {what}', why=why, fix=fix)


def _refusal(file: Found, path: str) -> list[Problem] | None:
    """Return why the file does not run, as problems (none where nobody would expect it to run); None when it runs."""
    if file.name.startswith("."):
        return []
    if file.name.endswith(LEFTOVERS) and not is_celery_link(file):
        return []
    if odd := refused_name(file.name):
        return [_skipped(file.name, path, odd)]
    why = "run-parts skips it, so it is not loaded; the other files are"
    if file.kind is Kind.DIRECTORY:
        what = f'"{file.name}" is a directory, where a file should be'
        return [_warning("S208", path, what, why, f"move the scripts in {path} one level up, or the folder elsewhere")]
    if file.kind is not Kind.FILE:
        return [odd_kind(path, file.kind, wanted="file", why="it is not loaded; the other files are")]
    if file.flattened:
        what = f'"{file.name}" is a text file with the path of another: git wrote a link as text'
        fix = f"git config core.symlinks true && rm {path} && git checkout {path}; or declare it in schedule.toml"
        return [Problem(code="S213", file=path, what=what, why="it is not loaded; the other files are", fix=fix)]
    if file.binary and not file.executable:
        fix = f"git update-index --chmod=+x {path}, or add its name to jobs.deny if it is not meant to run"
        what = f'"{file.name}" is not executable and is no script'
        return [_warning("S210", path, what, "it is not loaded; the other files are", fix)]
    return None


def refused_name(name: str) -> str:
    """Return why run-parts skips a file of this name, "" when it does not.

    >>> refused_name("search_dates"), refused_name("a b")
    ('', 'has white space in it')
    """
    if name.startswith("."):
        return "starts with a dot"
    if name.endswith(LEFTOVERS):
        return "looks like a leftover of an editor or a packager"
    if any(c.isspace() for c in name):
        return "has white space in it"
    if any("\udc80" <= c <= "\udcff" for c in name):
        return "is not UTF-8"
    if not name.isprintable():
        return "has control characters in it"
    if any(c in "*?[\\" for c in name):
        return "has a character in it that shells expand"
    return ""


def _skipped(name: str, path: str, odd: str) -> Problem:
    return _warning(
        "S201",
        path,
        f'the name "{shown_name(name)}" {odd}',
        "run-parts skips such names, so it is not loaded; the other files are",
        "rename it with letters, digits, - and _ only, or declare it in schedule.toml",
    )


def _warning(code: str, path: str, what: str, why: str, fix: str) -> Problem:
    return Problem(code=code, file=path, what=what, why=why, fix=fix, severity=Severity.WARNING)


def _list_warnings(text: Text) -> Iterator[Problem]:
    """Yield one warning for each list whose lines end in blanks or carriage returns, which no name can match."""
    lines = text.content.split(b"\n")
    broken = [number for number, line in enumerate(lines, 1) if line.strip() and line[:1] != b"#" and line != line.rstrip()]
    if not broken:
        return
    crlf = any(lines[number - 1].endswith(b"\r") for number in broken)
    yield Problem(
        code="S212",
        file=text.path,
        line=broken[0],
        what=f"{len(broken)} line{'s' * (len(broken) > 1)} end{'s' * (len(broken) == 1)} in {'CRLF' if crlf else 'blanks'}",
        why="a line must be the whole name of a file, so these match nothing, as under run-parts",
        fix=f"sed -i 's/[[:space:]]*$//' {text.path}",
        severity=Severity.WARNING,
    )


def _shared_by(file: Found, directory: Directory, *, tree_shared: bool) -> str:
    """Return what everybody may write: the script, its directory or the tree; "" when nothing."""
    if file.shared:
        return f'"{file.name}" or the folder that it is in'
    if directory.shared:
        return f'the directory "{directory.name}"'
    return "the tree's folder" if tree_shared else ""


def _shared_problem(piece: Piece, shared: str) -> Problem:
    return Problem(
        code="S211",
        file=piece.path,
        what=f'"{piece.file}": everybody on this machine may write {shared}',
        why="anybody could have it run what they like, so this command is refused, as cron does; Celery tasks go on",
        fix=f"chmod o-w {piece.path} {piece.path.rpartition('/')[0]} {piece.path.rsplit('/', 2)[0]}",
        entry=piece.name,
    )


def _twice(piece: Piece, first: Piece) -> Problem:
    return Problem(
        code="S146",
        file=piece.path,
        what=f'the task "{piece.name}" is linked in "{first.directory}" and in "{piece.directory}"',
        why=f'a name is one entry: the link in "{first.directory}" counts, this one is not loaded',
        fix=f"rm {piece.path}, or declare it in schedule.toml under another name with task = ...",
        entry=piece.name,
    )


def _warnings(file: Found, path: str, *, task: bool) -> Iterator[Problem]:
    if not _DEBIAN.match(file.name):
        others = "Debian's run-parts" if _BUSYBOX.match(file.name) else "Debian's and BusyBox's run-parts"
        better = f"{path.rpartition('/')[0]}/{re.sub('[^A-Za-z0-9_-]', '-', file.name)}"
        fix = f"git mv {path} {better}, if they are to run this tree too"
        yield _warning("S202", path, f'the name "{file.name}" is skipped by {others}', "offbeat runs it, as OpenShift did", fix)
    if task:
        return
    if is_celery_link(file):
        yield _warning(
            "S209",
            path,
            f'"{file.name}" links to {SCRIPT}, but "task_prefix" is not set',
            "it runs as the command that it is, not as a Celery task sent by name",
            'set task_prefix = "PACKAGE.tasks." in schedule.toml',
        )
    yield from _script_warnings(file, path)


def _script_warnings(file: Found, path: str) -> Iterable[Problem]:
    if not file.executable:
        fix = f"git update-index --chmod=+x {path}; if it is not meant to run, add its name to jobs.deny"
        why = "it runs all the same, as OpenShift made it executable"
        yield _warning("S203", path, f'"{file.name}" is not executable', why, fix)
    if not file.script and not file.binary:
        fix = "make `#!/bin/bash` its first line"
        yield _warning("S204", path, f'"{file.name}" does not start with "#!"', "bash runs it, as run-parts did", fix)
