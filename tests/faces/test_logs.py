"""What log lines look like, and what never gets into one."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from offbeat.core.events import Event
from offbeat.faces.logs import JsonFormatter, TextFormatter, set_up_logs


@pytest.fixture(autouse=True)
def untouched_logging() -> Iterator[None]:
    log = logging.getLogger("offbeat")
    before = (log.handlers[:], log.level, log.propagate, logging.raiseExceptions)
    root = logging.getLogger()
    root_before = (root.handlers[:], root.level)
    yield
    log.handlers[:], log.level, log.propagate, logging.raiseExceptions = before
    root.handlers[:], root.level = root_before


def record(level: int = logging.INFO, *, event: object = Event.DISPATCHED, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("offbeat", level, __file__, 1, "dispatched", None, None)
    made.created = 1_772_332_200.7
    made.event = event
    made.fields = fields
    return made


def test_a_text_line_has_the_time_the_event_and_its_fields() -> None:
    line = TextFormatter(tracebacks=False).format(record(entry="search_dates", due_at=1_772_332_200, attempt=1))

    assert line == "2026-03-01T02:30:00Z dispatched entry=search_dates due_at=2026-03-01T02:30:00Z attempt=1"


def test_a_warning_says_that_it_is_one() -> None:
    line = TextFormatter(tracebacks=False).format(record(logging.WARNING, event=Event.BROKER_DOWN))

    assert line == "2026-03-01T02:30:00Z warning broker_down"


def test_values_with_spaces_quotes_or_line_ends_are_quoted() -> None:
    line = TextFormatter(tracebacks=False).format(record(error='no "x"\nat all', empty=""))

    assert line == '2026-03-01T02:30:00Z dispatched error="no \\"x\\"\\nat all" empty=""'


def test_a_json_line_is_one_object() -> None:
    line = JsonFormatter(tracebacks=False).format(record(entry="a\nb", due_at=1_772_332_200))

    assert "\n" not in line
    assert json.loads(line) == {
        "at": "2026-03-01T02:30:00Z",
        "level": "info",
        "event": "dispatched",
        "entry": "a\nb",
        "due_at": "2026-03-01T02:30:00Z",
    }


def test_a_field_cannot_replace_the_event_or_its_time() -> None:
    line = json.loads(JsonFormatter(tracebacks=False).format(record(at="never", event=Event.SKIPPED)))

    assert (line["event"], line["at"]) == ("skipped", "2026-03-01T02:30:00Z")


@pytest.mark.parametrize("formatter", [TextFormatter, JsonFormatter])
def test_no_password_gets_into_a_line(formatter: type[TextFormatter | JsonFormatter]) -> None:
    made = record(where="redis://:hunter2@host/0", error=RuntimeError("amqp://me:hunter2@host"))
    try:
        raise RuntimeError("redis://:hunter2@host/1")
    except RuntimeError:
        made.exc_info = sys.exc_info()

    assert "hunter2" not in formatter(tracebacks=True).format(made)


def test_a_traceback_is_shown_only_when_it_is_asked_for() -> None:
    made = record()
    try:
        raise RuntimeError("boom")
    except RuntimeError:
        made.exc_info = sys.exc_info()

    assert TextFormatter(tracebacks=False).format(made).endswith('dispatched error="RuntimeError: boom"')
    assert "Traceback" in TextFormatter(tracebacks=True).format(made)


@pytest.mark.parametrize(("louder", "level"), [(0, "WARNING"), (1, "INFO"), (2, "DEBUG"), (-1, "ERROR"), (-9, "CRITICAL")])
def test_each_v_says_more_and_each_q_less(louder: int, level: str) -> None:
    set_up_logs(logging.WARNING, louder=louder, form="text")

    assert logging.getLevelName(logging.getLogger("offbeat").level) == level


def test_setting_up_twice_does_not_say_everything_twice(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        set_up_logs(logging.INFO, louder=0, form="text")

    logging.getLogger("offbeat").info("started", extra={"event": Event.STARTED, "fields": {}})

    assert capsys.readouterr().err.count("started") == 1


def test_with_three_v_libraries_are_heard_but_no_signed_request_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs(logging.WARNING, louder=3, form="text")
    for name in ("kombu.connection", "botocore.auth", "urllib3.connectionpool"):
        logging.getLogger(name).debug("%s has Credential=AKIA", name)

    (line,) = capsys.readouterr().err.splitlines()
    assert "kombu.connection has Credential=AKIA" in line


def test_lines_of_libraries_have_their_message() -> None:
    made = logging.LogRecord("kombu", logging.ERROR, __file__, 1, "lost %s", ("redis://:hunter2@host",), None)
    made.created = 0.0

    assert TextFormatter(tracebacks=False).format(made) == "1970-01-01T00:00:00Z error lost redis://:***@host"


def test_on_openshift_the_log_also_goes_to_its_folder(tmp_path: Path) -> None:
    set_up_logs(logging.WARNING, louder=0, form="text", folder=str(tmp_path))
    logging.getLogger("offbeat").info("dispatched", extra={"event": Event.DISPATCHED, "fields": {"entry": "ping"}})
    for handler in logging.getLogger("offbeat").handlers:
        handler.close()

    assert (tmp_path / "offbeat.log").read_text().endswith(" dispatched entry=ping\n")


def test_a_log_folder_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    set_up_logs(logging.WARNING, louder=0, form="text", folder=str(tmp_path / "missing"))

    assert len(logging.getLogger("offbeat").handlers) == 1
