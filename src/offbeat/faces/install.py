"""Putting the tick line into a crontab: a marked block in a text, and the calls of crontab(1).

Never changes a byte outside its own block, never writes a password. Works with the crontab of Debian, cronie, BusyBox, BSD.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from offbeat.core.passwords import has_password, is_public
from offbeat.errors import ConfigError, Problem

BEGIN, END = "# offbeat: begin ", "# offbeat: end "
HOW = '# Written by "offbeat install crontab", removed by "offbeat uninstall crontab". Changes in here are lost.'
# What decides where the ledger is and what it is called; without these a tick by cron would keep a ledger of its own.
CARRIED = (
    "OFFBEAT_LEDGER",
    "OFFBEAT_PROJECT",
    "XDG_STATE_HOME",
    "OPENSHIFT_APP_NAME",
    "OPENSHIFT_REPO_DIR",
    "OPENSHIFT_DATA_DIR",
    "OPENSHIFT_LOG_DIR",
)
BROKERS = ("OFFBEAT_BROKER", "CELERY_BROKER_URL")  # never written into a crontab
CRON_PATH = "/usr/bin:/bin"
LONGEST = 990  # characters of a command that every cron takes (Debian's limit is 1000)
NO_CRONTAB = ("no crontab for", "no such file")  # how crontab -l says that there is none


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """What was, or would be, done. text: the whole crontab as it is now. warnings: what cron will not have."""

    text: bytes
    changed: bool
    warnings: tuple[Problem, ...] = ()


def with_block(crontab: bytes, tree: str, lines: Sequence[str]) -> bytes:
    """Return the crontab with a block of `lines` for `tree`: in the place of the one it has, else at its end.

    Everything else stays byte for byte; a last line without an end gets one, which crontab(1) asks for anyway.
    """
    block = os.fsencode("".join(f"{line}\n" for line in (BEGIN + tree, HOW, *lines, END + tree)))
    before, found, after = _cut(crontab, tree)
    if not found and before and not before.endswith(b"\n"):
        before += b"\n"
    return before + block + without_block(after, tree)


def without_block(crontab: bytes, tree: str) -> bytes:
    """Return the crontab without the blocks of `tree`; unchanged when it has none."""
    before, found, after = _cut(crontab, tree)
    return before + without_block(after, tree) if found else crontab


def _cut(crontab: bytes, tree: str) -> tuple[bytes, bytes, bytes]:
    """Return what is before the first block of `tree`, the block, and what is after it. A begin without an end is no block."""
    mark = re.escape(os.fsencode(tree))
    begin, end = (re.escape(word.encode()) + mark for word in (BEGIN, END))
    # From the last begin before an end: a stray begin must not take the lines between with it.
    pattern = rb"(?m)^%b\r?\n(?:(?!%b\r?$).*\n)*?%b\r?(?:\n|\Z)" % (begin, begin, end)
    match = re.search(pattern, crontab)
    return (crontab[: match.start()], match[0], crontab[match.end() :]) if match else (crontab, b"", b"")


def quote(word: str) -> str:
    """Return the word for a shell in a crontab. A per cent sign is outside quotes, where cron and the shell agree on it.

    Cron turns `\\%` into `%` (and a bare `%` into the end of the command); BusyBox leaves it, and then the shell does it.
    """
    if "\n" in word or "\r" in word or "\0" in word:
        raise ConfigError(
            Problem(
                code="C240",
                what=f"{word!r} has a line end in it",
                why="a crontab has no way to write that, so nothing was installed",
                fix="rename the folder, or set the variable without a line end",
            )
        )
    if re.fullmatch(r"[A-Za-z0-9_@+=:,./-]+", word):
        return word
    return r"\%".join("'" + part.replace("'", "'\\''") + "'" if part else "" for part in word.split("%")) or "''"


def tick_line(command: Sequence[str], tree: str, variables: Mapping[str, str]) -> str:
    """Return the crontab's line that does one tick a minute. `env` sets the variables, so that they are nobody else's."""
    settings = [f"{name}={text}" for name, text in variables.items()]
    words = [*(["/usr/bin/env", *settings] if settings else []), *command, "--tree", tree, "tick"]
    return " ".join(["*", "*", "*", "*", "*", *map(quote, words)])


def variables_for(environ: Mapping[str, str], home: str) -> tuple[dict[str, str], tuple[Problem, ...]]:
    """Return what the crontab's line has to set so that cron's tick is like one done here, and what it cannot have.

    home: what cron will set HOME to. Addresses that have, or may have, a password stay out: a crontab is no place for them.
    """
    kept = {name: _from_anywhere(environ[name]) for name in CARRIED if environ.get(name)}
    secret = [name for name, text in kept.items() if (not is_public(text) if name == "OFFBEAT_LEDGER" else has_password(text))]
    warnings = [_secret(name) for name in secret]
    warnings += [_left_out(name) for name in BROKERS if environ.get(name)]
    kept = {name: text for name, text in kept.items() if name not in secret}
    if (here := environ.get("HOME", "")) and here.rstrip("/") != home.rstrip("/"):
        kept["HOME"] = here
    path = search_path(environ.get("PATH", ""))
    return ({"PATH": path} if path and path != CRON_PATH else {}) | kept, tuple(warnings)


def _from_anywhere(text: str) -> str:
    """Return a SQLite ledger's address with an absolute path, as cron starts us in another folder; anything else as it is."""
    kind, found, path = text.partition("sqlite:///")
    return f"sqlite:///{os.path.abspath(path)}" if found and not kind and path else text


def search_path(path: str) -> str:
    """Return PATH without what is relative, empty or named twice."""
    return os.pathsep.join(dict.fromkeys(folder for folder in path.split(os.pathsep) if folder.startswith("/")))


def lines_for(
    command: Sequence[str], tree: str, environ: Mapping[str, str], home: str
) -> tuple[tuple[str, ...], tuple[Problem, ...]]:
    """Return the lines of a tree's block, and warnings. A PATH that makes the line too long for cron is left out."""
    variables, warnings = variables_for(environ, home)
    line = tick_line(command, tree, variables)
    if len(os.fsencode(line)) > LONGEST and "PATH" in variables:
        del variables["PATH"]
        line = tick_line(command, tree, variables)
        warnings = (*warnings, _long_path())
    if len(os.fsencode(line)) > LONGEST:
        raise ConfigError(
            Problem(
                code="C241",
                what=f"the crontab's line would have {len(os.fsencode(line))} characters",
                why=f"Debian's cron takes at most {LONGEST}, so nothing was installed",
                fix="move the tree or the virtual environment to a shorter path",
            )
        )
    return (line,), warnings


def own_command() -> tuple[str, ...]:
    """Return the words that start this very offbeat from anywhere: the script beside its interpreter, or the module."""
    script = os.path.join(os.path.dirname(sys.executable), "offbeat")
    return (script,) if os.access(script, os.X_OK) else (sys.executable, "-P", "-m", "offbeat")


def install_crontab(tree: str, environ: Mapping[str, str], *, dry_run: bool = False) -> Installed:
    """Put the tick line of `tree` (absolute) into the crontab of this user. Raises ConfigError where crontab(1) refuses."""
    lacking = broker_of_cron(tree)
    known = environ if lacking else {name: text for name, text in environ.items() if name not in BROKERS}
    lines, warnings = lines_for(own_command(), tree, known, _home())
    if lacking and not any(environ.get(name) for name in BROKERS):
        warnings = (*warnings, lacking)
    before = read_crontab()
    after = with_block(before, tree, lines)
    if after != before and not dry_run:
        write_crontab(after)
    return Installed(text=after, changed=after != before, warnings=warnings)


def broker_of_cron(tree: str) -> Problem | None:
    """Return why a tick by cron will find no broker, None when it finds one, needs none, or the files cannot be read."""
    from pathlib import Path

    from offbeat.core.model import CommandCall
    from offbeat.core.parse import parse
    from offbeat.errors import OffbeatError
    from offbeat.ports.broker_kombu.address import broker_url
    from offbeat.ports.files import repository_of
    from offbeat.ports.treereader import read_tree

    try:
        schedule, _ = parse(read_tree(Path(tree)), {})
    except OffbeatError:  # the tick tells it
        return None
    if schedule is None or (schedule.entries and all(isinstance(entry.call, CommandCall) for entry in schedule.entries)):
        return None
    try:
        broker_url({}, schedule.broker, repository_of(Path(tree)))
    except ConfigError as error:
        return _no_broker(error.problems[0].what if error.problems else str(error))
    return None


def uninstall_crontab(tree: str, *, dry_run: bool = False) -> Installed:
    """Take the block of `tree` out of the crontab of this user. A crontab that is empty then is removed."""
    before = read_crontab()
    after = without_block(before, tree)
    if after != before and not dry_run:
        write_crontab(after)
    return Installed(text=after, changed=after != before)


def read_crontab() -> bytes:
    """Return this user's crontab, empty when there is none. Raises ConfigError: never takes an error for an empty one."""
    status, text, said = _crontab("-l")
    if status == 0:
        return text
    if any(words in said.lower() for words in NO_CRONTAB):
        return b""
    raise ConfigError(_refused("-l", said))


def write_crontab(text: bytes) -> None:
    """Make `text` this user's crontab; an empty one is removed. Raises ConfigError when crontab(1) does not take it."""
    status, _, said = _crontab("-", text) if text.strip() else _crontab("-r")
    if status != 0:
        raise ConfigError(_refused("-" if text.strip() else "-r", said))


def _crontab(option: str, text: bytes = b"") -> tuple[int, bytes, str]:
    import subprocess

    env = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(["crontab", option], input=text, capture_output=True, env=env, check=False)
    except (FileNotFoundError, PermissionError) as exc:
        raise ConfigError(
            Problem(
                code="C242",
                what='there is no "crontab" command here',
                why="the user's crontab can only be changed through it, so nothing was installed",
                fix="apt-get install cron (or dnf install cronie), or run: offbeat run",
            )
        ) from exc
    return done.returncode, done.stdout, done.stderr.decode("utf-8", "replace").strip()


def _home() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return ""


def _refused(option: str, said: str) -> Problem:
    return Problem(
        code="C243",
        what=f'"crontab {option}" failed: {said.splitlines()[-1] if said else "it said nothing"}',
        why="the crontab was left as it is",
        fix="see cron.allow and cron.deny in crontab(1), then try again",
    )


def _secret(name: str) -> Problem:
    what = f"${name} has a password in it, or is no address"
    return _warning(what, "it is not written into the crontab; cron's tick will not have it", name)


def _left_out(name: str) -> Problem:
    return _warning(f"${name} is set here, but not for cron", "addresses of brokers are not written into the crontab", name)


def _no_broker(said: str) -> Problem:
    return _warning("cron's tick will find no broker", f"cron does not see your environment; {said}", "OFFBEAT_BROKER")


def _warning(what: str, why: str, name: str) -> Problem:
    from offbeat.errors import Severity

    fix = f'write {name}=... into a file that git ignores, and name it in schedule.toml: env_file = ".env"'
    return Problem(code="C244", what=what, why=why, fix=fix, severity=Severity.WARNING)


def _long_path() -> Problem:
    return _warning("$PATH is too long for a line of a crontab", "commands of the tree get cron's own PATH", "PATH")
