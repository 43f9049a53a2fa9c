"""The crontab's block, what cron and a shell make of it, and the calls of crontab(1), by a small one of our own on PATH."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from offbeat.errors import ConfigError
from offbeat.faces import install
from offbeat.faces.cli_install import install as install_group
from offbeat.faces.cli_install import uninstall as uninstall_group
from offbeat.faces.cli_session import Session
from offbeat.faces.install import quote, tick_line, variables_for, with_block, without_block
from offbeat.ports.treewriter import init_tree

TREE = "/srv/app/cron"
OTHERS = b"MAILTO=me@example.org\n\n# my own\n0 5 * * 1 tar -zcf /var/backups/home.tgz /home/\r\n*/5 * * * * date +\\%s\n"


# --- the text -------------------------------------------------------------------------------------------------------------


def test_the_block_comes_after_what_is_there() -> None:
    text = with_block(OTHERS, TREE, ["* * * * * offbeat tick"])

    assert text.startswith(OTHERS)
    assert text[len(OTHERS) :].decode().splitlines() == [
        "# offbeat: begin /srv/app/cron",
        install.HOW,
        "* * * * * offbeat tick",
        "# offbeat: end /srv/app/cron",
    ]


def test_installing_twice_is_installing_once() -> None:
    once = with_block(OTHERS, TREE, ["* * * * * offbeat tick"])

    assert with_block(once, TREE, ["* * * * * offbeat tick"]) == once


def test_an_older_block_is_replaced_where_it_stands() -> None:
    before = with_block(OTHERS, TREE, ["* * * * * old"]) + b"@daily after\n"

    after = with_block(before, TREE, ["* * * * * new"])

    assert after == before.replace(b"* * * * * old", b"* * * * * new")


def test_two_blocks_of_one_tree_become_one() -> None:
    block = with_block(b"", TREE, ["* * * * * old"])

    after = with_block(block + b"@daily between\n" + block, TREE, ["* * * * * new"])

    assert after == block.replace(b"old", b"new") + b"@daily between\n"


def test_all_blocks_of_a_tree_are_taken_out() -> None:
    block = with_block(b"", TREE, ["X"])

    assert without_block(block + b"@daily between\n" + block + block, TREE) == b"@daily between\n"


def test_what_only_looks_like_a_block_is_none() -> None:
    indented = f" # offbeat: begin {TREE}\n@daily mine\n# offbeat: end {TREE}\n".encode()
    commented = f"# offbeat: begin {TREE} here\n# offbeat: end {TREE} there\n".encode()

    assert without_block(indented, TREE) == indented
    assert without_block(commented, TREE) == commented


def test_each_tree_has_a_block_of_its_own() -> None:
    both = with_block(with_block(b"", "/a/cron", ["A"]), "/a/cron2", ["B"])

    assert without_block(both, "/a/cron") == with_block(b"", "/a/cron2", ["B"])
    assert without_block(both, "/a/cron2") == with_block(b"", "/a/cron", ["A"])


def test_a_begin_without_an_end_takes_nothing_with_it() -> None:
    stray = b"# offbeat: begin /srv/app/cron\n@daily mine\n"

    assert without_block(stray, TREE) == stray
    assert without_block(with_block(stray, TREE, ["X"]), TREE) == stray


def test_a_block_with_crlf_line_ends_is_found() -> None:
    block = with_block(b"", TREE, ["X"]).replace(b"\n", b"\r\n")

    assert without_block(b"@daily mine\r\n" + block + b"@hourly mine\r\n", TREE) == b"@daily mine\r\n@hourly mine\r\n"


def test_a_block_that_lost_its_last_line_end_is_found() -> None:
    assert without_block(with_block(OTHERS, TREE, ["X"]).rstrip(b"\n"), TREE) == OTHERS


def test_a_last_line_without_an_end_gets_one_and_keeps_it() -> None:
    text = with_block(b"@daily mine", TREE, ["X"])

    assert text.startswith(b"@daily mine\n# offbeat: begin")
    assert without_block(text, TREE) == b"@daily mine\n"


crontabs = st.lists(
    st.sampled_from(
        [b"\n", b"\r\n", b"@daily x\n", b"\xff\xfe\n", b"# offbeat: begin /other\n", b"# offbeat: end /other\n", b"A=b\r\n"]
        + [b"# offbeat: begin /srv/app/cron/x\n", b" # offbeat: begin /srv/app/cron\n", b"# offbeat: end /srv/app/cron2\n"]
    )
).map(b"".join)


@given(crontabs, crontabs)
def test_everything_else_stays_byte_for_byte(before: bytes, after: bytes) -> None:
    block = with_block(b"", TREE, ["X"])

    assert with_block(before, TREE, ["X"]) == before + block
    assert without_block(before + block + after, TREE) == before + after
    assert with_block(before + block + after, TREE, ["Y"]) == before + with_block(b"", TREE, ["Y"]) + after


# --- the line -------------------------------------------------------------------------------------------------------------


def as_debians_cron_reads_it(line: str) -> str:
    r"""Return the command that Debian's cron gives to the shell: a bare % ends it, \% is one. crontab(5)."""
    command = line.split(" ", 5)[5]
    return re.split(r"(?<!\\)%", command, maxsplit=1)[0].replace("\\%", "%")


def as_busybox_reads_it(line: str) -> str:
    """Return the command that BusyBox' crond gives to the shell: all of it, as it is written."""
    return line.split(" ", 5)[5]


PATHS = ["/a/cron", "/a b/cron", "/it's/cron", "/50%/cron", "/%/%%x", '/"q"/$HOME/`id`/cron', "/a\\b/ü/cron", "/#x/~;&|<>*?"]


@pytest.mark.parametrize("reader", [as_debians_cron_reads_it, as_busybox_reads_it])
@pytest.mark.parametrize("path", PATHS)
def test_cron_and_the_shell_see_the_path_that_was_meant(path: str, reader: Any) -> None:
    line = tick_line(("/bin/echo",), path, {"X": path})
    show = reader(line).replace("/bin/echo", '/bin/sh -c \'printf "%s|" "$X" "$@"\' sh', 1)

    done = subprocess.run(["/bin/sh", "-c", show], capture_output=True, check=True, text=True)

    assert done.stdout == f"{path}|--tree|{path}|tick|"


@given(st.text(st.characters(exclude_characters="\0\r\n", exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_a_quoted_word_has_no_bare_per_cent_sign(word: str) -> None:
    assert "%" not in re.sub(r"\\%", "", quote(word))


def test_the_line_is_plain_where_nothing_has_to_be_set() -> None:
    line = tick_line(("/srv/app/.venv/bin/offbeat",), TREE, {})

    assert line == "* * * * * /srv/app/.venv/bin/offbeat --tree /srv/app/cron tick"


@pytest.mark.parametrize("character", ["\n", "\r", "\0"])
def test_a_path_with_a_line_end_is_refused(character: str) -> None:
    with pytest.raises(ConfigError, match="C240"):
        tick_line(("offbeat",), f"/a{character}b", {})


def test_a_line_that_is_too_long_goes_without_path_and_says_so() -> None:
    lines, warnings = install.lines_for(("offbeat",), TREE, {"PATH": ":".join(f"/opt/{n}/bin" for n in range(200))}, "/root")

    assert lines == (f"* * * * * offbeat --tree {TREE} tick",)
    assert [problem.what for problem in warnings] == ["$PATH is too long for a line of a crontab"]


def test_a_line_that_no_cron_takes_is_refused() -> None:
    with pytest.raises(ConfigError, match="C241"):
        install.lines_for(("offbeat",), "/x" * 500, {}, "/root")


# --- what it sets ---------------------------------------------------------------------------------------------------------


def test_what_decides_where_the_ledger_is_goes_along() -> None:
    environ = {
        "OFFBEAT_LEDGER": "sqlite:////var/lib/x.db",
        "XDG_STATE_HOME": "/state",
        "OFFBEAT_PROJECT": "difio",
        "OPENSHIFT_DATA_DIR": "/data",
        "HOME": "/home/me",
        "EDITOR": "vi",
    }

    variables, warnings = variables_for(environ, "/home/me")

    assert variables == {name: text for name, text in environ.items() if name not in ("HOME", "EDITOR")}
    assert warnings == ()


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("/usr/bin:/bin", None),
        ("", None),
        ("/opt/bin::.:relative:/usr/bin:/opt/bin:/bin", "/opt/bin:/usr/bin:/bin"),
    ],
    ids=["cron's own", "none", "with what is not absolute"],
)
def test_a_path_that_is_not_crons_own_goes_along(path: str, kept: str | None) -> None:
    assert variables_for({"PATH": path}, "")[0].get("PATH") == kept


def test_a_home_that_is_not_what_cron_will_say_goes_along() -> None:
    assert variables_for({"HOME": "/elsewhere"}, "/root")[0] == {"HOME": "/elsewhere"}
    assert variables_for({"HOME": "/home/me/"}, "/home/me")[0] == {}


def test_a_ledger_that_is_relative_to_here_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    variables, _ = variables_for({"OFFBEAT_LEDGER": "sqlite:///state/x.db"}, "")

    assert variables == {"OFFBEAT_LEDGER": f"sqlite:///{tmp_path}/state/x.db"}


@pytest.mark.parametrize(
    "environ",
    [
        {"OFFBEAT_LEDGER": "redis://:s3cret@host/0"},
        {"OFFBEAT_LEDGER": "postgresql://host/db?user=me&password=s3cret"},
        {"OFFBEAT_BROKER": "redis://:s3cret@host/0"},
        {"CELERY_BROKER_URL": "amqp://me:s3cret@host//"},
    ],
    ids=["ledger", "ledger, as a parameter", "broker", "celery's broker"],
)
def test_an_address_with_a_password_stays_out_and_says_where_it_belongs(environ: Mapping[str, str]) -> None:
    lines, warnings = install.lines_for(("offbeat",), TREE, environ, "/root")

    assert "s3cret" not in f"{lines} {[str(problem) for problem in warnings]}"
    assert ["env_file" in problem.fix for problem in warnings] == [True]


def test_a_broker_without_a_password_is_named_too_because_cron_will_not_have_it() -> None:
    lines, warnings = install.lines_for(("offbeat",), TREE, {"OFFBEAT_BROKER": "redis://host"}, "/root")

    assert "redis://" not in lines[0]
    assert "OFFBEAT_BROKER" in warnings[0].what


def test_the_command_is_the_script_beside_the_interpreter_or_else_the_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert install.own_command() == (str(tmp_path / "python"), "-P", "-m", "offbeat")

    (tmp_path / "offbeat").write_text("#!/bin/sh\n")
    (tmp_path / "offbeat").chmod(0o755)
    assert install.own_command() == (str(tmp_path / "offbeat"),)


# --- crontab(1) -----------------------------------------------------------------------------------------------------------

CRONTAB = """#!/bin/sh
# Keeps one crontab in a file, and speaks as the one named by $SPEAKS.
file="$0.kept"
none() {
    case "$SPEAKS" in
    busybox) echo "crontab: can't open 'me': No such file or directory" ;;
    macos) echo "crontab: no crontab for me" ;;
    *) echo "no crontab for me" ;;
    esac >&2
    exit 1
}
echo "$*" >>"$0.calls"
[ "$SPEAKS" != denied ] || { echo "You (me) are not allowed to use this program (crontab)" >&2; exit 1; }
case "$1" in
-l) [ -e "$file" ] || none
    [ "$SPEAKS" != locked ] || { echo "crontab: the spool is locked" >&2; exit 1; }
    cat "$file" ;;
-r) [ -e "$file" ] || none; rm "$file" ;;
-)  cat >"$file.draft"
    [ -z "$(tail -c 1 "$file.draft")" ] || { echo "new crontab file is missing newline before EOF" >&2; exit 1; }
    mv "$file.draft" "$file" ;;
*)  exit 2 ;;
esac
"""


class Desk:
    """A user with a tree and a crontab."""

    def __init__(self, folder: Path) -> None:
        self.tree = folder / "app" / "cron"
        (self.tree / "hourly").mkdir(parents=True)
        (self.tree / "schedule.toml").write_text('project = "app"\nenv_file = ".env"\n')
        self.env_file = folder / "app" / ".env"
        self.env_file.write_text("OFFBEAT_BROKER=redis://127.0.0.1:6379/0\n")
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.kept = self.bin / "crontab.kept"
        self.calls = self.bin / "crontab.calls"
        (self.bin / "crontab").write_text(CRONTAB)
        (self.bin / "crontab").chmod(0o755)
        self.environ = {"HOME": "/home/me", "PATH": "/usr/bin:/bin"}

    def call(self, group: Any, *words: str) -> Result:
        session = Session(environ=self.environ, tree=str(self.tree))
        return CliRunner().invoke(group, words, obj=session, catch_exceptions=True)

    def install(self, *words: str) -> Result:
        return self.call(install_group, "crontab", *words)

    def uninstall(self, *words: str) -> Result:
        return self.call(uninstall_group, "crontab", *words)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    desk = Desk(tmp_path)
    monkeypatch.setenv("PATH", f"{desk.bin}:{os.environ['PATH']}")
    monkeypatch.setattr(install, "_home", lambda: "/home/me")
    return desk


@pytest.mark.parametrize("speaks", ["debian", "busybox", "macos"])
def test_install_and_uninstall_where_there_was_no_crontab(desk: Desk, monkeypatch: pytest.MonkeyPatch, speaks: str) -> None:
    monkeypatch.setenv("SPEAKS", speaks)

    done = desk.install()
    assert (done.exit_code, done.output) == (0, f"crontab: {desk.tree} ticks every minute\n")
    assert f" --tree {desk.tree} tick\n" in desk.kept.read_text()

    done = desk.uninstall()
    assert (done.exit_code, done.output) == (0, f"crontab: {desk.tree} does not tick any more\n")
    assert not desk.kept.exists()


def test_a_crontab_that_was_there_is_there_again(desk: Desk) -> None:
    desk.kept.write_bytes(OTHERS)

    desk.install()
    assert desk.kept.read_bytes().startswith(OTHERS)
    desk.uninstall()

    assert desk.kept.read_bytes() == OTHERS


def test_what_is_there_already_is_not_written_again(desk: Desk) -> None:
    desk.install()

    done = desk.install()

    assert done.output == f"crontab: {desk.tree} is there already\n"
    assert desk.calls.read_text().split() == ["-l", "-", "-l"]


def test_uninstalling_what_is_not_there_changes_nothing(desk: Desk) -> None:
    desk.kept.write_bytes(OTHERS)

    done = desk.uninstall()

    assert (done.exit_code, done.output) == (0, f"crontab: {desk.tree} is not there\n")
    assert desk.kept.read_bytes() == OTHERS


def test_a_dry_run_prints_the_crontab_byte_for_byte_and_writes_nothing(desk: Desk) -> None:
    desk.kept.write_bytes(OTHERS)

    done = desk.install("--dry-run")

    assert done.stdout_bytes.startswith(OTHERS)
    assert done.stdout_bytes.endswith(f"# offbeat: end {desk.tree}\n".encode())
    assert desk.kept.read_bytes() == OTHERS


def test_the_block_of_a_tree_that_is_gone_can_be_taken_out(desk: Desk) -> None:
    desk.install()
    (desk.tree / "schedule.toml").unlink()
    (desk.tree / "hourly").rmdir()
    desk.tree.rmdir()

    assert desk.uninstall().exit_code == 0
    assert not desk.kept.exists()


@pytest.mark.parametrize(
    ("speaks", "words"), [("denied", "not allowed to use this program"), ("locked", "the spool is locked")]
)
def test_an_error_of_crontab_is_never_taken_for_an_empty_one(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, speaks: str, words: str
) -> None:
    desk.kept.write_bytes(OTHERS)
    monkeypatch.setenv("SPEAKS", speaks)

    done = desk.install()

    assert isinstance(done.exception, ConfigError)
    assert "C243" in str(done.exception)
    assert words in str(done.exception)
    assert desk.kept.read_bytes() == OTHERS


def test_a_machine_without_crontab_says_what_to_do(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(desk.tree))

    done = desk.install()

    assert isinstance(done.exception, ConfigError)
    assert [problem.code for problem in done.exception.problems] == ["C242"]


def test_warnings_go_to_stderr_and_have_no_password(desk: Desk) -> None:
    desk.environ["OFFBEAT_BROKER"] = "redis://:s3cret@host/0"
    desk.env_file.unlink()

    done = desk.install()

    assert done.exit_code == 0
    assert done.stderr.count("C244") == 1
    assert "s3cret" not in done.output + desk.kept.read_text()


def test_a_broker_that_cron_will_not_find_is_told_unless_there_are_only_commands(desk: Desk) -> None:
    schedule = desk.tree / "schedule.toml"
    schedule.write_text('project = "app"\n# env_file = ".env"\n[entries.ping]\nevery = "1m"\n')
    lacks = desk.install()
    schedule.write_text('project = "app"\n[entries.tidy]\nevery = "1m"\ncommand = "true"\n')
    commands = desk.install("--dry-run")

    assert lacks.exit_code == 0
    assert "C244" in lacks.stderr and "no broker" in lacks.stderr and "env_file" in lacks.stderr
    assert commands.stderr == ""


def test_a_broker_that_cron_finds_in_env_file_is_not_missed_whatever_is_set_here(desk: Desk) -> None:
    desk.environ["OFFBEAT_BROKER"] = "filesystem://"

    assert desk.install().output == f"crontab: {desk.tree} ticks every minute\n"


def test_the_commands_of_the_readme_lead_to_a_tick_that_finds_the_broker(desk: Desk) -> None:
    root = desk.tree.parent
    desk.env_file.unlink()
    (desk.tree / "schedule.toml").unlink()
    init_tree(root, "app", zone="UTC", task_prefix="")
    before = install.broker_of_cron(str(desk.tree))
    readme = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    block = next(block for block in readme.split("```") if "offbeat install crontab" in block)

    lines = [line for line in block.splitlines() if line and not line.startswith("offbeat ")]
    subprocess.run(["sh", "-ec", "\n".join(lines)], cwd=root, check=True)

    assert before is not None
    assert install.broker_of_cron(str(desk.tree)) is None
    assert ".env\n" in (root / ".gitignore").read_text()


def test_quiet_says_nothing(desk: Desk) -> None:
    assert desk.install("-q").output == ""


def test_crontab_is_asked_in_the_language_that_we_know(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "crontab").write_text(
        '#!/bin/sh\n[ "$LC_ALL" = C ] && echo "no crontab for me" >&2 || echo "keine" >&2\nexit 1\n'
    )
    (tmp_path / "crontab").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")

    assert install.read_crontab() == b""
