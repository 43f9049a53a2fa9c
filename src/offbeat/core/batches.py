"""How windows are cut into the batches that a store writes at once. Never decides what is in a window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from offbeat.core.plan import Window


def batches(windows: Sequence[Window], most: int) -> Iterator[list[Window]]:
    """Yield the windows, in their order, in runs of at most `most` windows and at most `most` rows and gaps together.

    A window is never cut, and one that is larger is a run by itself.
    """
    batch: list[Window] = []
    size = 0
    for window in windows:
        rows = len(window.rows) + len(window.gaps)
        if batch and (size + rows > most or len(batch) >= most):
            yield batch
            batch, size = [], 0
        batch.append(window)
        size += rows
    if batch:
        yield batch
