"""offbeat: faces -> runners -> ports -> core -> errors; imports go this way and never back.

Periodic Celery tasks off beat: the schedule is files in git, whatever cron there is makes them due, a ledger remembers every
occurrence. Importing this loads nothing; the names below load what they need when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from offbeat.core.kinds import At, Every, Recurrence, RRule, Solar, Union
    from offbeat.core.recurrences.cron import Cron
    from offbeat.errors import ScheduleError

__version__ = "0.1.0"
__all__ = ["At", "Cron", "Every", "RRule", "Recurrence", "ScheduleError", "Solar", "Union", "__version__"]


def __getattr__(name: str) -> object:
    if name == "Cron":
        from offbeat.core.recurrences.cron import Cron

        return Cron
    if name in ("At", "Every", "RRule", "Recurrence", "Solar", "Union"):
        from offbeat.core import kinds

        return getattr(kinds, name)
    if name == "ScheduleError":
        from offbeat.errors import ScheduleError

        return ScheduleError
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
