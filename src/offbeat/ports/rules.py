"""Which versions of the zone database, of holidays and of astral this process works with.

Never imports them: what is asked for is read once, when a tree is compiled or something is due.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from functools import lru_cache

from offbeat.core.rules import TZDATA, UNKNOWN, rules_text

FILES = ("tzdata.zi", "+VERSION", "version")  # where a folder of zones tells its version: Linux, macOS and BSD
ZONES = ("UTC", "Etc", "Europe", "America")  # one of these is in every folder of zones
_VERSION = re.compile(rb"(?:# version )?(\d{4}[.0-9a-z]*)")


def own_rules(packages: Iterable[str]) -> str:
    """Return the versions of these packages here; one that is not installed is left out."""
    found = {package: _tzdata() if package == TZDATA else _installed(package) for package in packages}
    return rules_text({package: version for package, version in found.items() if version})


def read_zones_again() -> bool:
    """Look whether the zone database is another one by now; if so, work with it from now on and return True."""
    before = _tzdata()
    _tzdata.cache_clear()
    if _tzdata() == before:
        return False
    from offbeat.core.rules import forget_zones

    forget_zones()
    return True


@lru_cache(maxsize=1)
def _tzdata() -> str:
    """Return the version of the database that zoneinfo finds, UNKNOWN when it does not tell, "" when there is none."""
    import zoneinfo

    for folder in zoneinfo.TZPATH:
        if any(os.path.exists(os.path.join(folder, name)) for name in ZONES):
            return next(filter(None, (_told(os.path.join(folder, name)) for name in FILES)), UNKNOWN)
    from importlib import import_module

    try:
        return str(getattr(import_module(TZDATA), "IANA_VERSION", UNKNOWN))
    except ImportError:
        return ""


def _told(path: str) -> str:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - as cheap as it gets
            found = _VERSION.match(file.readline(200))
    except OSError:
        return ""
    return found[1].decode() if found else ""


@lru_cache(maxsize=8)
def _installed(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return ""
