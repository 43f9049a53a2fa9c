"""What schedule.toml says of overlap and of what the ledger keeps, once it is right."""

from __future__ import annotations

import pytest
from tests.core.test_parse_schedule import LINK, SCRIPT, one, parsed, tree

from offbeat.core.model import AfterRestore, LedgerSettings, Overlap, Policy
from offbeat.core.parse import parse
from offbeat.errors import Severity

HALF_HOUR = 1800


@pytest.mark.parametrize("overlap", [Overlap.SKIP, Overlap.WAIT])
def test_an_overlap_has_the_longest_time_that_one_may_run(overlap: Overlap) -> None:
    entry = one(f'every = "1h"\noverlap = "{overlap}"\nmax_runtime = "30m"')

    assert entry.policy == Policy(overlap=overlap, max_runtime=HALF_HOUR)


def test_an_entry_that_allows_overlap_has_no_longest_time_whatever_the_defaults_say() -> None:
    schedule = parsed('[defaults]\noverlap = "skip"\nmax_runtime = "30m"\n[entries.a]\nevery = "1h"\noverlap = "allow"\n')

    assert schedule.entries[0].policy == Policy()


def test_the_longest_time_may_be_a_default_of_entries_that_say_overlap_themselves() -> None:
    text = '[defaults]\nmax_runtime = "30m"\n[entries.a]\nevery = "1h"\n[entries.b]\nevery = "1h"\noverlap = "wait"\n'

    first, second = parsed(text).entries

    assert first.policy == Policy()
    assert second.policy == Policy(overlap=Overlap.WAIT, max_runtime=HALF_HOUR)


def test_a_default_overlap_is_for_links_and_not_for_commands_of_a_directory() -> None:
    text = 'task_prefix = "p.tasks."\n[defaults]\noverlap = "skip"\nmax_runtime = "30m"\n'

    command, link = parsed(text, LINK, SCRIPT).entries

    assert link.policy == Policy(overlap=Overlap.SKIP, max_runtime=HALF_HOUR)
    assert command.policy == Policy()


def test_what_the_ledger_keeps_is_read() -> None:
    schedule = parsed('[ledger]\nkeep = "30d"\nkeep_rows = 1000\nkeep_bytes = "1GB"\nafter_restore = "send"\n')

    assert schedule.ledger == LedgerSettings(
        keep_seconds=30 * 86_400, keep_rows=1000, keep_bytes=1_000_000_000, after_restore=AfterRestore.SEND
    )


def test_without_a_word_the_ledger_keeps_ninety_days_and_sends_nothing_after_a_restore() -> None:
    assert parsed("").ledger == LedgerSettings(keep_seconds=90 * 86_400, after_restore=AfterRestore.SKIP)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("5000000", 5_000_000),
        ("'512B'", 512),
        ("'1kB'", 1000),
        ("'500 MB'", 500_000_000),
        ("'2GiB'", 2 << 30),
        ("'1TB'", 10**12),
    ],
)
def test_a_size_has_decimal_or_binary_units_or_is_a_number_of_bytes(text: str, size: int) -> None:
    assert parsed(f"[ledger]\nkeep_bytes = {text}\n").ledger.keep_bytes == size


def test_a_wrong_key_of_the_ledger_counts_for_nothing_and_the_right_ones_hold() -> None:
    schedule, problems = parse(tree('[ledger]\nkeep_rows = 5000\nkeep_bytes = "x"\n'), {"OFFBEAT_PROJECT": "p"})

    assert schedule is not None
    assert schedule.ledger == LedgerSettings(keep_rows=5000)
    assert [problem.why for problem in problems] == ["the key counts for nothing; everything else does"]


def test_what_the_ledger_keeps_is_part_of_the_digest() -> None:
    assert parsed("").digest != parsed('[ledger]\nkeep = "30d"\n').digest


@pytest.mark.parametrize(
    ("line", "fix"),
    [
        ("keep = 0", 'keep = "90d"'),
        ('keep = "0s"', 'keep = "90d"'),
        ('keep = "9999999w"', 'keep = "90d"'),
        ("keep = 30", 'keep = "30d"'),
        ("keep_rows = 0", "keep_rows = 100000"),
        ("keep_bytes = 0", 'keep_bytes = "1GB"'),
    ],
)
def test_a_wrong_limit_of_the_ledger_says_what_becomes_of_it_and_names_a_useful_one(line: str, fix: str) -> None:
    _, (problem,) = parse(tree(f"[ledger]\n{line}\n"), {"OFFBEAT_PROJECT": "p"})

    assert problem.severity is Severity.ERROR
    assert problem.why == "the key counts for nothing; everything else does"
    assert problem.fix.startswith(fix)


@pytest.mark.parametrize("line", ['keep = "1s"', 'keep = "6d23h"', "keep_rows = 1", 'keep_bytes = "1B"'])
def test_a_limit_below_what_stays_anyway_is_warned_of_and_holds(line: str) -> None:
    schedule, (problem,) = parse(tree(f"[ledger]\n{line}\n"), {"OFFBEAT_PROJECT": "p"})

    assert schedule is not None and schedule.ledger != LedgerSettings()
    assert (problem.code, problem.severity) == ("S172", Severity.WARNING)
    assert "the last week" in problem.what


@pytest.mark.parametrize("line", ['keep = "7d"', "keep_rows = 1000", 'keep_bytes = "1MB"'])
def test_a_limit_of_a_week_or_more_is_not_warned_of(line: str) -> None:
    assert parse(tree(f"[ledger]\n{line}\n"), {"OFFBEAT_PROJECT": "p"})[1] == ()
