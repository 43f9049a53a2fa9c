"""Debian's real cron daemon goes through changes of the clock on a fake clock; offbeat names what it starts, job by job.

CI takes one zone, in spring and in autumn, side by side: about 75 seconds. `make differential` takes all of CHANGES.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.differential import debian

pytestmark = [pytest.mark.xdist_group("fake clock"), pytest.mark.timeout(600)]


def test_debians_daemon_starts_what_offbeat_names_through_spring_and_autumn(tmp_path: Path) -> None:
    if sentence := debian.lacking():
        pytest.fail(sentence) if os.environ.get("CI") == "true" else pytest.skip(sentence)
    changes = [debian.change_on("America/New_York", day) for day in ("2026-03-08", "2026-11-01")]

    spring, autumn = debian.compare_all(changes, tmp_path)

    assert spring.differences == autumn.differences == ()
    assert spring.merged > 0  # the daemon did make up for the gap, minute by minute
    assert spring.expressions == autumn.expressions >= 30
    assert min(spring.firings, autumn.firings) > 300


def test_the_comparison_notices_one_firing_too_many_and_one_too_few() -> None:
    """Else the test above would prove little."""
    change = debian.change_on("America/New_York", "2026-11-01")
    expressions = debian.expressions_for(change)
    seen = [[each + 5.0 for each in debian.due_minutes(expression, change)] for expression in expressions]
    assert debian.judge(change, seen, speed=1).differences == ()
    assert debian.unsteady(change, seen) == ""
    number = expressions.index("30 1 * * *")

    seen[number].append(change.at + 1800.0)  # the second pass
    seen[expressions.index("*/5 * * * *")].pop()
    seen[0].pop()

    differences = debian.judge(change, seen, speed=1).differences
    assert ['"30 1 * * *"' in differences[-1], '"*/5 * * * *"' in differences[1]] == [True, True]
    assert len(differences) == 3
    assert debian.unsteady(change, seen) != ""
