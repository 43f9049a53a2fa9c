"""`offbeat explain`: entries, and expressions on the command line, in words, with what daylight saving does."""

from __future__ import annotations

import pytest
from tests.faces.conftest import Shop

NIGHTLY = 'timezone = "Europe/Sofia"\n[entries.nightly]\ncron = "30 3 * * *"\ngrace = "2h"\n[entries.often]\nevery = "45m"\n'
EVE_OF_SPRING, EVE_OF_AUTUMN = 1_774_699_200, 1_792_843_200  # 12:00Z of 2026-03-28, 2026-10-24


@pytest.fixture
def sofia(shop: Shop) -> Shop:
    """A tree with an entry that both changes of the clocks touch, and one that none does."""
    shop.write(NIGHTLY)
    return shop


def test_an_entry_is_said_with_its_next_due_times_in_its_zone_and_in_utc(sofia: Shop) -> None:
    said = sofia.call("explain", "nightly", "-n", "2").stdout

    assert said.splitlines()[:3] == [
        "nightly: At 03:30, Europe/Sofia time.",
        "  cron 30 3 * * * in Europe/Sofia",
        "  given up when it could not be sent within 2 hours (grace)",
    ]
    assert "Mon 2026-03-02 03:30:00 +02:00  2026-03-02T01:30:00Z  in 13 h 30 min" in said
    assert said.endswith(
        "in the next 12 months daylight saving touches it 2 times:\n"
        "  Sun 29 Mar 2026 03:30 does not exist in Europe/Sofia: due at 04:00 instead\n"
        "  Sun 25 Oct 2026 03:30 comes twice in Europe/Sofia: due the first time only\n"
    )


def test_the_due_time_that_was_moved_is_marked(sofia: Shop) -> None:
    sofia.clock.advance(EVE_OF_SPRING - sofia.clock.now())

    said = " ".join(sofia.call("explain", "nightly", "-n", "2").stdout.split())

    assert "Sun 2026-03-29 04:00:00 +03:00 2026-03-29T01:00:00Z in 13 h moved from 03:30" in said


def test_the_due_time_of_the_first_pass_is_marked(sofia: Shop) -> None:
    sofia.clock.advance(EVE_OF_AUTUMN - sofia.clock.now())

    assert "first pass only" in sofia.call("explain", "nightly", "-n", "1").stdout


def test_both_passes_are_marked(sofia: Shop) -> None:
    sofia.clock.advance(EVE_OF_AUTUMN - sofia.clock.now())

    said = " ".join(sofia.call("explain", "--cron", "0 * * * *", "-n", "16").stdout.split())

    assert "03:00:00 +03:00 2026-10-25T00:00:00Z in 12 h first pass of two" in said
    assert "03:00:00 +02:00 2026-10-25T01:00:00Z in 13 h second pass of two" in said


def test_a_time_that_is_left_out_has_a_line_among_the_others(sofia: Shop) -> None:
    sofia.clock.advance(EVE_OF_SPRING - sofia.clock.now())

    lines = sofia.call("explain", "--cron", "0 * * * *", "-n", "14").stdout.splitlines()

    (place,) = [number for number, line in enumerate(lines) if line.startswith("(not due)")]
    assert lines[place].endswith("03:00 left out")
    assert (lines[place - 1][15:20], lines[place + 1][15:20]) == ("02:00", "04:00")


def test_all_entries_are_said_when_none_is_named(sofia: Shop) -> None:
    said = sofia.call("explain").stdout

    assert said.index("nightly: ") < said.index("often: Every 45 minutes")
    assert "it does not go by the wall clock, so daylight saving moves and drops nothing" in said


def test_an_expression_needs_no_tree(shop: Shop) -> None:
    (shop.tree / "schedule.toml").unlink()
    shop.tree.rmdir()

    result = shop.call("explain", "--cron", "30 4 * * mon")

    assert result.exit_code == 0
    assert result.stdout.startswith("At 04:30, only on Monday, UTC time.\n  cron 30 4 * * 1\n")
    assert "UTC knows no daylight saving" in result.stdout


def test_an_expression_is_read_in_the_zone_of_the_tree_or_in_the_one_that_is_said(sofia: Shop) -> None:
    assert "Europe/Sofia time" in sofia.call("explain", "--cron", "0 4 * * *").stdout
    assert "Asia/Tokyo time" in sofia.call("explain", "--cron", "0 4 * * *", "--timezone", "Asia/Tokyo").stdout


def test_what_its_author_may_not_have_meant_is_said_too(shop: Shop) -> None:
    result = shop.call("explain", "--cron", "*/45 * * * *")

    assert result.stdout.startswith("At :00 and :45 of every hour")
    assert "minute */45 is :00 and :45, not every 45 minutes [S151]" in result.stderr


def test_h_is_resolved_by_the_name_that_is_said(shop: Shop) -> None:
    said = shop.call("explain", "--cron", "H 4 * * *", "--seed", "nightly").stdout

    assert "cron 20 4 * * *" in said
    assert "H and ~ are resolved by the entry's name: here 'nightly'" in said
    assert "--seed NAME says which" in shop.call("explain", "--cron", "H 4 * * *").stdout


def test_a_nickname_for_an_interval_is_one(shop: Shop) -> None:
    assert shop.call("explain", "--cron", "@every 45m").stdout == shop.call("explain", "--every", "45m").stdout


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--cron", "0 25 * * *"], "hour 25 is outside 0-23 [S103]"),
        (["--cron", "0 4 * * *", "--timezone", "Europe/Sofa"], 'did you mean "Europe/Sofia"'),
        (["--every", "soon"], "[S104]"),
        (["--every", "1h", "--cron", "0 4 * * *"], "no two of them at once"),
        (["--timezone", "UTC"], "--timezone goes with --cron"),
        (["nobody"], 'there is no entry "nobody"'),
    ],
)
def test_what_cannot_be_explained_is_said(shop: Shop, args: list[str], words: str) -> None:
    result = shop.call("explain", *args)

    assert result.exit_code in (1, 2)
    assert words in result.stderr


def test_what_is_never_due_again_says_so(shop: Shop) -> None:
    shop.write('[entries.once]\nat = "2020-01-01T00:00:00Z"\n[entries.off]\nevery = "1h"\nenabled = false\n')

    said = shop.call("explain").stdout

    assert "never due again" in said
    assert "not due while it is switched off" in said


def test_what_is_fixed_or_has_a_text_for_machines_is_said_as_people_would(shop: Shop) -> None:
    shop.write(
        'timezone = "Europe/Sofia"\n[entries.once]\nat = "2026-10-25T03:30:00"\n'
        '[entries.work]\ncron = "30 3 * * *"\nworkday = "next"\n'
    )

    once, work = shop.call("explain", "once").stdout, shop.call("explain", "work").stdout

    assert once.endswith("\nits instants are fixed\n")
    assert "{" not in work
    assert shop.json("explain", "work")[0]["recurrence"].startswith("any {")


def test_an_entry_that_is_not_loaded_is_said_to_be_so_with_its_reason_and_no_others(shop: Shop) -> None:
    shop.write('[entries.good]\nevery = "1h"\n[entries.bad]\ncron = "0 25 * * *"\n[entries.worse]\nevery = "soon"\n')

    bad, good, every = (shop.call("explain", *names) for names in (["bad"], ["good"], []))

    assert (bad.exit_code, bad.stdout) == (1, "")
    assert bad.stderr.count("hour 25 is outside 0-23 [S103]") == 1
    assert 'the entry "bad" is not loaded: cron "0 25 * * *": hour 25 is outside 0-23' in bad.stderr
    assert "S104" not in bad.stderr
    assert (good.exit_code, good.stderr) == (0, "")
    assert "S103" in every.stderr
    assert "S104" in every.stderr
    assert 'there is no entry "bod"; did you mean "bad"?' in shop.call("explain", "bod").stderr


def test_what_no_entry_owns_is_said_when_an_entry_is_not_found(shop: Shop) -> None:
    shop.write('[entries.good]\nevery = "1h"\n[entrys.lost]\nevery = "1h"\n')

    assert 'the key "entrys" is not known' in shop.call("explain", "lost").stderr
    assert shop.call("explain", "good").stderr == ""


def test_numbers_have_the_words_and_the_changes(sofia: Shop) -> None:
    sofia.clock.advance(EVE_OF_SPRING - sofia.clock.now())

    (row,) = sofia.json("explain", "nightly", "-n", "1")

    assert (row["entry"], row["zone"], row["words"]) == ("nightly", "Europe/Sofia", "At 03:30, Europe/Sofia time")
    assert row["next"] == [{"due_at": "2026-03-29T01:00:00Z", "local": "2026-03-29T04:00:00+03:00", "daylight": "moved"}]
    assert [(note["at"], note["effect"]) for note in row["daylight"]] == [
        ("2026-03-29T01:00:00Z", "moved"),
        ("2026-10-25T01:00:00Z", "first_pass"),
        ("2027-03-28T01:00:00Z", "moved"),
    ]
