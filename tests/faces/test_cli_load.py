"""`offbeat load`: numbers, a histogram, a drawing, and the herds."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest
from tests.faces.conftest import Shop

from offbeat.faces.histogram import amount, column_minutes, columns, histogram, sparkline

HERD = "".join(f'[entries.sync_{n}]\ncron = "0 * * * *"\nqueue = "{"mail" if n % 2 else "sync"}"\n' for n in range(17))
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def busy(shop: Shop) -> Shop:
    """A tree with a herd of every hour, an entry with jitter and a command."""
    shop.write(
        f'timezone = "Europe/Sofia"\n{HERD}'
        '[entries.report]\ncron = "30 4 * * *"\njitter = "9m"\n[entries.tidy]\ncommand = "true"\ncron = "15 2 * * mon"\n'
    )
    return shop


def test_it_says_how_much_is_due_when_and_who_makes_a_herd(busy: Shop) -> None:
    said = busy.call("load").stdout

    assert said.startswith("19 entries, 409 tasks a day; Sun 2026-03-01 to Sun 2026-03-08 (7 days), Europe/Sofia time\n")
    assert "sync: 216 a day, 9 at most" in said
    assert "(commands): 0.1 a day, 1 at most" in said
    assert "00:00 and 23 more  17     17       17       sync 9, mail 8\n" in said
    assert "1 entry has jitter, counted as the expected share of each minute that it spreads over" in said
    assert "17 entries come due at :00 of every hour: sync_0, sync_1, sync_10, sync_11, sync_12, sync_13 and 11 more" in said
    assert 'spread them: jitter = "5m", or cron minute H' in said


def test_verbose_names_everybody(busy: Shop) -> None:
    assert "sync_9" in busy.call("load", "-v").stdout


def test_the_histogram_fits_where_it_is_piped_to(busy: Shop) -> None:
    picture = busy.call("load").stdout.partition("BUSIEST")[0].splitlines()[2:]

    assert max(map(len, picture)) <= 80
    assert [line.count("█") for line in picture if line.endswith("┤█" + "  █" * 23)] == [
        24,
        24,
    ]  # the highest row and the one in the middle have a label
    assert not any("\x1b" in line for line in picture)


def test_numbers_are_rows_by_minute_and_queue(busy: Shop) -> None:
    rows = busy.json("load", "sync_0", "sync_1", "tidy", "--days", "7")

    assert rows[0] == {"minute": "00:00", "queue": "mail", "due": 1.0, "max": 1.0, "entries": 1, "herd": False}
    assert rows[-1]["minute"] == "23:00"
    assert [row for row in rows if row["queue"] is None] == [
        {"minute": "02:15", "queue": None, "due": 0.143, "max": 1.0, "entries": 1, "herd": False}
    ]
    assert all(row["herd"] == row["minute"].endswith(":00") for row in busy.json("load"))


def test_counting_can_begin_elsewhere(busy: Shop) -> None:
    args = ("load", "tidy", "--days", "1", "--from")

    assert [row["minute"] for row in busy.json(*args, "2026-03-02")] == ["02:15"]
    assert busy.json(*args, "2026-03-03T00:00") == []


def test_the_drawing_is_well_formed_and_names_queues_and_herds(busy: Shop) -> None:
    result = busy.call("load", "--svg", "load.svg")

    drawn = ElementTree.fromstring((busy.root / "load.svg").read_text("utf-8"))
    words = [text.text for text in drawn.iter(f"{SVG}text")]
    assert "wrote load.svg" in result.stderr
    assert (drawn.find(f"{SVG}title") is not None) and drawn.get("role") == "img"
    assert "17 entries come due at :00 of every hour" in str(getattr(drawn.find(f"{SVG}desc"), "text", ""))
    assert {"sync: 216 a day, 9 at most", "(commands): 0.1 a day, 1 at most", "24:00", "20"} <= set(words)
    assert "prefers-color-scheme:dark" in "".join(style.text or "" for style in drawn.iter(f"{SVG}style"))
    assert len(list(drawn.iter(f"{SVG}path"))) == 24  # a mark below each hour


def test_bars_are_as_high_as_the_busiest_minute_and_stacked_by_queue(busy: Shop) -> None:
    drawn = ElementTree.fromstring(busy.call("load", "--svg", "-").stdout)
    first = next(
        group for group in drawn.iter(f"{SVG}g") if getattr(group.find(f"{SVG}title"), "text", "").startswith("00:00: 17 ")
    )
    heights = [float(rect.get("height", "0")) for rect in first.iter(f"{SVG}rect")]

    assert heights == [pytest.approx(280 * 9 / 20, abs=0.01), pytest.approx(280 * 8 / 20, abs=0.01)]


def test_a_name_cannot_break_the_drawing(shop: Shop) -> None:
    shop.write('[entries.a]\ncron = "0 4 * * *"\nqueue = "<a&\\"b\\">"\n')

    drawn = ElementTree.fromstring(shop.call("load", "--svg", "-").stdout)

    assert '<a&"b">: 1 a day, 1 at most' in [text.text for text in drawn.iter(f"{SVG}text")]


def test_many_queues_share_the_last_colour(shop: Shop) -> None:
    shop.write("".join(f'[entries.e{n}]\ncron = "{n} 4 * * *"\nqueue = "q{n}"\n' for n in range(12)))

    drawn = ElementTree.fromstring(shop.call("load", "--svg", "-").stdout)

    assert "other queues: 5 a day" in [text.text for text in drawn.iter(f"{SVG}text")]
    assert "6 more queues: offbeat load --json has them" in shop.call("load").stdout


def test_a_schedule_without_herds_says_so(shop: Shop) -> None:
    shop.write('[entries.a]\nevery = "1h"\n')

    assert "no herds: no minute stands out" in shop.call("load").stdout


def test_a_drawing_without_herds_does_not_explain_their_mark(busy: Shop) -> None:
    assert "worth spreading" in busy.call("load", "--svg", "-").stdout
    busy.write('[entries.a]\ncron = "0 4 * * *"\n')

    assert "worth spreading" not in busy.call("load", "--svg", "-").stdout


def test_a_minute_that_gets_next_to_nothing_of_a_jitter_has_no_row(shop: Shop) -> None:
    shop.write('[entries.a]\ncron = "0 4 * * *"\njitter = "4m"\n')

    rows = [line.split() for line in shop.call("load").stdout.splitlines()]

    assert [row for row in rows if row[1:4] == ["0", "0", "1"]] == []
    assert any(row[:1] == ["04:00"] for row in rows)


def test_nothing_due_is_said_and_is_no_error(shop: Shop) -> None:
    result = shop.call("load", "--svg", "none.svg")

    assert (result.exit_code, result.stdout) == (0, "")
    assert "nothing comes due in 7 days" in result.stderr
    assert not (shop.root / "none.svg").exists()


def test_a_wide_terminal_is_used(busy: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "140")

    assert "one column is 12 minutes, the busiest of them; ▲: a herd" in busy.call("load").stdout


def test_wrong_arguments_are_named(shop: Shop) -> None:
    assert 'there is no entry "nobody"' in shop.call("load", "nobody").stderr
    assert '"soon" is no instant' in shop.call("load", "--from", "soon").stderr


@pytest.mark.parametrize(("room", "minutes"), [(20, 60), (72, 20), (80, 20), (100, 15), (130, 12), (150, 10), (300, 5)])
def test_a_day_uses_the_room_there_is(room: int, minutes: int) -> None:
    assert column_minutes(room) == minutes


def test_a_histogram_marks_herds_and_needs_no_unicode() -> None:
    values = [0.0] * 1440
    values[0], values[60], values[725] = 16.0, 4.0, 0.1

    chart = histogram(
        values, {0}, width=80, height=4, plain=True, paint=lambda piece, marked: f"<{piece}>" if marked else piece
    )

    assert chart.lines[0].startswith("16 +<#>")
    assert chart.lines[3].startswith("   |<#>  #")
    assert chart.lines[-1] == "    <^>"
    assert "".join(chart.lines).isascii()
    assert columns(values, chart.minutes)[36] == 0.1


def test_what_is_small_is_still_seen() -> None:
    assert sparkline([1000.0] + [0.0] * 719 + [0.01] + [0.0] * 719, 60, plain=False) == "█" + " " * 11 + "▁" + " " * 11
    assert [amount(value) for value in (0.004, 0.04, 99.96, 250.4)] == ["0", "0.04", "100", "250"]


@pytest.mark.parametrize("begin", ["2026-10-29T00:00:00", "2026-03-05T00:00:00"])
def test_a_week_in_which_the_clock_changes_has_seven_days(shop: Shop, begin: str) -> None:
    shop.write('timezone = "America/New_York"\n[entries.daily]\ncron = "0 23 * * *"\n[entries.early]\ncron = "5 0 * * *"\n')
    rows = json.loads(shop.call("load", "--from", begin, "--json").stdout)

    assert {row["minute"]: row["due"] for row in rows} == {"23:00": 1.0, "00:05": 1.0}
