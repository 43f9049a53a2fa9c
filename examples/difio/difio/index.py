"""The package index that ships with the example: CSV files in index/, all facts invented.

Never touches the database. When the announcements have been read to their end they start again, each version with
".post1", ".post2", ... behind it and a date that much later, so that there is always something new upstream.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from pathlib import Path

ROUND = timedelta(days=2800)  # what one reading of the index spans


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """One line of announcements.csv."""

    package: str
    version: str
    is_security: bool
    changes: str


def read_announcements(folder: Path, start: int, limit: int) -> list[Announcement]:
    """Return `limit` announcements from line `start` on, oldest first. Never empty while the file has lines."""
    rows = _rows(folder / "announcements.csv")
    found = []
    for line in range(start, start + limit):
        reading, position = divmod(line, len(rows))
        row = rows[position]
        suffix = f".post{reading}" if reading else ""
        found.append(
            Announcement(
                package=row["package"],
                version=row["version"] + suffix,
                is_security=row["security"] == "yes",
                changes=row["changes"],
            )
        )
    return found


def find_date(folder: Path, package: str, version: str) -> date | None:
    """Return the day of a release, None where the index does not say."""
    base, _, reading = version.partition(".post")
    day = _dates(folder).get((package, base))
    return day + int(reading or 0) * ROUND if day else None


def read_uses(folder: Path) -> dict[str, list[str]]:
    """Return the applications that use each package."""
    uses: dict[str, list[str]] = {}
    for row in _rows(folder / "uses.csv"):
        uses.setdefault(row["package"], []).append(row["application"])
    return uses


@cache
def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


@cache
def _dates(folder: Path) -> dict[tuple[str, str], date]:
    return {(row["package"], row["version"]): date.fromisoformat(row["released_on"]) for row in _rows(folder / "dates.csv")}
