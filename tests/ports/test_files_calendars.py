"""Calendar files beside schedule.toml: they are read with the tree, and a change of one is a change of the tree."""

from __future__ import annotations

from pathlib import Path

from offbeat.core.listing import Kind
from offbeat.ports.files import stamp
from offbeat.ports.treereader import read_tree


def test_calendar_files_of_the_trees_folder_are_read_and_no_others(tmp_path: Path) -> None:
    tree = tmp_path / "cron"
    (tree / "hourly").mkdir(parents=True)
    for name in ("schedule.toml", "closures.ics", "notes.txt", "hourly/other.ics"):
        (tree / name).write_text("x", "utf-8")
    (tree / "folder.ics").mkdir()
    (tree / "gone.ics").symlink_to("nowhere")

    found = {text.path: (text.kind, text.content) for text in read_tree(tree).calendars}

    assert found == {
        "cron/closures.ics": (Kind.FILE, b"x"),
        "cron/folder.ics": (Kind.DIRECTORY, b""),
        "cron/gone.ics": (Kind.MISSING, b""),
    }


def test_a_changed_calendar_file_is_a_changed_tree(tmp_path: Path) -> None:
    tree = tmp_path / "cron"
    tree.mkdir()
    (tree / "schedule.toml").write_text("", "utf-8")
    (tree / "closures.ics").write_text("one", "utf-8")
    before = stamp(tree)

    (tree / "closures.ics").write_text("longer", "utf-8")

    assert stamp(tree).text != before.text
