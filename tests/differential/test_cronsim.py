"""offbeat and cronsim agree on random expressions in random zones, wherever both define an answer (peer.LEFT_OUT).

CI takes 2,000 pairs, the same ones each time; `make differential` takes 25,000.
"""

from __future__ import annotations

from itertools import islice

import pytest
from tests.differential import peer

CI_PAIRS = 2000
STEP = 4  # of the zones

pytestmark = pytest.mark.xdist_group("cronsim")  # classifying all zones takes seconds: once


def test_cronsim_agrees_on_two_thousand_random_expressions_and_zones() -> None:
    differences = [found for pair in islice(peer.pairs(seed=1, step=STEP), CI_PAIRS) if (found := peer.difference(pair))]

    assert differences == []


def test_the_pairs_reach_what_they_are_meant_to_reach() -> None:
    """Else the test above would prove little."""
    pairs = list(islice(peer.pairs(seed=1, step=STEP), CI_PAIRS))
    parts = [pair.expression.split() for pair in pairs]

    assert len({pair.zone for pair in pairs}) > 100
    assert len(set(pairs)) == CI_PAIRS
    assert sum(len(each) == 6 for each in parts) > CI_PAIRS / 20
    for mark, place in (("L", -3), ("LW", -3), ("#", -1), ("L", -1), ("/", -5), ("-", -4)):
        assert sum(mark in each[place] for each in parts) > CI_PAIRS / 50, mark
    near = [pair for pair in pairs if any(abs(pair.start - change) < 2 * 86_400 for change in peer.changes(pair.zone))]
    assert len(near) > CI_PAIRS / 3


@pytest.mark.parametrize(
    ("expression", "zone", "start"),
    [
        ("30 2 * * *", "America/New_York", 1_772_900_000),
        ("0 0 31 2 *", "UTC", 0),
        ("*/5 1 * * *", "Europe/Berlin", 1_793_000_000),
    ],
)
def test_a_wrong_answer_is_noticed(expression: str, zone: str, start: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = peer.Pair(expression=expression, zone=zone, start=start)
    right = peer._cronsim(pair)
    assert peer.difference(pair) == ""

    monkeypatch.setattr(peer, "_cronsim", lambda pair: [*right[:-1], right[-1] + 60] if right else [start + 60])

    assert peer.difference(pair) != ""
