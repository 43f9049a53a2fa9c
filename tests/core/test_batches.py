"""Windows in batches: whole, in order, and none larger than it must be."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from offbeat.core.batches import batches
from offbeat.core.model import Reason
from offbeat.core.plan import Gap, Window

GAP = Gap(eno=None, after=0, until=60, reason=Reason.MISSED)
sizes = st.lists(st.integers(0, 9), max_size=30)


def window(gid: int, size: int) -> Window:
    return Window(gid=gid, version=1, after=0, until=60, next_due=None, rows=(), gaps=(GAP,) * size)


@given(sizes, st.integers(1, 12))
def test_batches_are_the_windows_in_order_and_as_few_as_can_be(given_sizes: list[int], most: int) -> None:
    windows = [window(gid, size) for gid, size in enumerate(given_sizes)]

    found = list(batches(windows, most))

    assert [one for batch in found for one in batch] == windows
    held = [sum(len(one.gaps) for one in batch) for batch in found]
    assert all(size <= most or len(batch) == 1 for batch, size in zip(found, held, strict=True))
    assert all(1 <= len(batch) <= most for batch in found)
    for batch, size, following in zip(found, held, found[1:], strict=False):
        assert size + len(following[0].gaps) > most or len(batch) == most
