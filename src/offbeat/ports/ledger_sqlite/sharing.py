"""Who may use the file: its owner alone, or a group too. Its authority is the address: ?mode=0660&group=NAME."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from offbeat.errors import ConfigError, Problem

MODES = {"0600": 0o600, "600": 0o600, "0660": 0o660, "660": 0o660}
WHY = "the ledger is not opened, so nothing is recorded and nothing is sent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """The group that may use the file too, "" for none."""

    group: str = ""

    @property
    def mode(self) -> int:
        """Return the permissions of the file and of what lies beside it."""
        return 0o660 if self.group else 0o600


PRIVATE = Share()


def share_of(options: str) -> Share:
    """Return what the options of an address ask for: "", "mode=0600", "group=NAME" or "mode=0660&group=NAME".

    Raises: ConfigError for any other.
    """
    if not options:
        return PRIVATE
    from urllib.parse import parse_qsl

    asked = dict(parse_qsl(options, keep_blank_values=True))
    group, mode = asked.pop("group", ""), asked.pop("mode", "")
    if asked:
        raise _wrong(f'the option "{next(iter(asked))[:40]}" of the address is not known')
    if (mode and mode not in MODES) or (MODES.get(mode) == 0o600 and group):
        raise _wrong(f'the mode "{mode[:40]}" is none that a ledger can have{" with a group" if group else ""}')
    if MODES.get(mode) == 0o660 and not group:
        raise _wrong("mode 0660 lets a group in, and no group is named")
    return Share(group=group)


def _wrong(what: str) -> ConfigError:
    fix = "OFFBEAT_LEDGER=sqlite:////var/lib/offbeat/ledger.sqlite3?mode=0660&group=NAME, or without mode and group"
    return ConfigError(Problem(code="L216", file="OFFBEAT_LEDGER", what=what, why=WHY, fix=fix))


class Sharing:
    """Gives files to the group. For a file of its owner alone it does nothing. Raises: ConfigError, also when made."""

    def __init__(self, share: Share) -> None:
        self.share = share
        self._gid = _gid_of(share.group) if share.group else None

    def give(self, path: str) -> None:
        """Let the group read and write the file, if it is there."""
        if self._gid is None:
            return
        try:
            found = os.stat(path)
            if (found.st_gid, stat.S_IMODE(found.st_mode)) != (self._gid, self.share.mode):
                os.chown(path, -1, self._gid)
                os.chmod(path, self.share.mode)
        except FileNotFoundError:
            return
        except PermissionError as error:
            raise self._not_let_in(path, f"chgrp {self.share.group} {path} && chmod 0660 {path}, as its owner") from error

    def make_folder(self, folder: Path) -> None:
        """Make the folder where there is none; refuse one that keeps the group out: SQLite makes files in it."""
        if not folder.exists():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self._gid is not None:
                os.chown(folder, -1, self._gid)
                os.chmod(folder, 0o2770)
        if self._gid is None:
            return
        found = os.stat(folder)
        by_group = found.st_gid == self._gid and found.st_mode & 0o070 == 0o070
        if not by_group and found.st_mode & 0o007 != 0o007:
            raise self._not_let_in(str(folder), f"chgrp {self.share.group} {folder} && chmod 2770 {folder}")

    def _not_let_in(self, where: str, fix: str) -> ConfigError:
        what = f'the group "{self.share.group}", which the address names, is not let in here'
        return ConfigError(Problem(code="L217", file=where, what=what, why=WHY, fix=fix))


def _gid_of(group: str) -> int:
    import grp

    try:
        return grp.getgrnam(group).gr_gid
    except (KeyError, ValueError):
        raise _wrong(f'there is no group "{group[:40]}" on this host') from None
