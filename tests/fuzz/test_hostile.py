"""Hostile text is read or refused, with problems, within a counted number of steps; `make fuzz` does the same for longer."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fuzz import hostile, targets

pytestmark = pytest.mark.timeout(240)  # against a hang without any call in it; what is counted is steps


@pytest.mark.parametrize("name", targets.TEXTS)
@settings(max_examples=150, deadline=None)
@given(text=hostile.texts)
def test_any_text_is_read_or_refused(name: str, text: str) -> None:
    targets.TEXTS[name](text)


@settings(max_examples=250, deadline=None)
@given(content=hostile.files)
def test_any_schedule_is_read_or_refused(content: bytes) -> None:
    targets.schedule(content)


KNOWN = [(name, text) for name, texts in hostile.REGRESSIONS.items() for text in texts]


@pytest.mark.parametrize(("name", "text"), KNOWN, ids=[f"{name} {ascii(text)[:30]}" for name, text in KNOWN])
def test_what_hurt_a_parser_once_does_not_again(name: str, text: str) -> None:
    targets.TEXTS[name](text)


@pytest.mark.parametrize("content", hostile.BAD_FILES, ids=[ascii(content)[:40] for content in hostile.BAD_FILES])
def test_a_file_that_hurt_a_parser_once_does_not_again(content: bytes) -> None:
    targets.schedule(content)


@settings(max_examples=100, deadline=None)
@given(expression=st.sampled_from(hostile.REGRESSIONS["cron"]), value=hostile.texts)
def test_a_schedule_survives_hostile_text_in_its_values(expression: str, value: str) -> None:
    quoted = ["".join(f"\\U{min(ord(c), 0xD7FF):08x}" for c in each) for each in (expression, value)]
    lines = [
        f'timezone = "{quoted[1]}"',
        "[entries.x]",
        f'cron = "{quoted[0]}"',
        f'grace = "{quoted[1]}"',
        f'jitter = "{quoted[1]}"',
    ]

    targets.schedule("\n".join(lines).encode())


def test_an_endless_search_is_noticed() -> None:
    def endless() -> None:
        while True:
            len("")

    with pytest.raises(targets.TooManySteps), targets.at_most(1000):
        endless()
