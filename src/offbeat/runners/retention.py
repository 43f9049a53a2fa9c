"""Retention: settled rows go by age, count and size, in small steps, now and then.

Never at every pass, and never for long: what is due goes first. What may go is the ledger's to say.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from offbeat.core.model import LedgerSettings
    from offbeat.runners.site import Site

EVERY = 600.0  # seconds between two times that everything old was removed
STEP = 500  # rows of one step
MOST = 5000  # rows of one pass; with more to go the next pass goes on


@dataclass(slots=True, kw_only=True)
class Retention:
    """When it was done last; ticks read that in the notes, a resident runner remembers it."""

    site: Site
    _done_at: float | None = field(default=None, init=False)
    _settings: tuple[int, LedgerSettings] | None = field(default=None, init=False)

    def prune(self, deadline: float) -> int:
        """Remove what is too old or too many, if it is time and there is time (deadline: monotonic); return how many went."""
        now = self.site.clock.now()
        if 0 <= now - self._last() < EVERY:
            return 0
        gone, keep = 0, self._keep()
        while gone < MOST and not self.site.stop.is_set and self.site.clock.monotonic() < deadline:
            went = self.site.ledger.prune(STEP, keep)
            gone += went
            if went < STEP:
                self._done(now)
                break
        return gone

    def _keep(self) -> LedgerSettings:
        revision = self.site.watch.revision
        if self._settings is None or self._settings[0] != revision:
            self._settings = (revision, self.site.ledger.ledger_settings())
        return self._settings[1]

    def _last(self) -> float:
        if self._done_at is None:
            try:
                self._done_at = float(self.site.notes.get("pruned_at", "0"))
            except ValueError:
                self._done_at = 0.0
        return self._done_at

    def _done(self, now: float) -> None:
        self._done_at = now
        with contextlib.suppress(OSError):
            self.site.notes.write(pruned_at=repr(now))
