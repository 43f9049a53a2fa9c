"""The message is what a Celery worker of protocol 2 expects, and says which occurrence it stands for."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offbeat.core.identity import format_due_at
from offbeat.core.message import REPR_LIMIT, Message, build
from offbeat.core.model import Cause, Json, TaskCall

OURS = {
    "lang",
    "task",
    "id",
    "root_id",
    "parent_id",
    "group",
    "shadow",
    "eta",
    "expires",
    "retries",
    "timelimit",
    "argsrepr",
    "kwargsrepr",
    "origin",
    "periodic_task_name",
    "offbeat_entry",
    "offbeat_occurrence",
    "offbeat_due_at",
    "offbeat_cause",
    "offbeat_attempt",
}


def of(call: TaskCall, *, attempt: int = 1, cause: Cause = Cause.SCHEDULE, expires_at: float | None = None) -> Message:
    return build(
        call=call,
        entry="weekly_report",
        occurrence="5f0c",
        due_at=1_772_332_200,
        cause=cause,
        attempt=attempt,
        origin="offbeat@web1",
        expires_at=expires_at,
        now=1_772_332_140.0,
    )


def test_headers_are_those_of_protocol_2_and_ours_and_no_others() -> None:
    message = of(TaskCall(task="difio.tasks.weekly_report", args=(1, "two"), kwargs={"full": True}))

    assert dict(message.headers) == {
        "lang": "py",
        "task": "difio.tasks.weekly_report",
        "id": "5f0c",
        "root_id": "5f0c",
        "parent_id": None,
        "group": None,
        "shadow": None,
        "eta": None,
        "expires": None,
        "retries": 0,
        "timelimit": [None, None],
        "argsrepr": "(1, 'two')",
        "kwargsrepr": "{'full': True}",
        "origin": "offbeat@web1",
        "periodic_task_name": "weekly_report",
        "offbeat_entry": "weekly_report",
        "offbeat_occurrence": "5f0c",
        "offbeat_due_at": "2026-03-01T02:30:00Z",
        "offbeat_cause": "schedule",
        "offbeat_attempt": 1,
    }


def test_ignore_result_is_left_to_the_task_unless_the_entry_asks_for_it() -> None:
    assert "ignore_result" not in of(TaskCall(task="t")).headers
    assert of(TaskCall(task="t", headers={"ignore_result": True})).headers["ignore_result"] is True


def test_body_is_args_kwargs_and_an_empty_embed() -> None:
    message = of(TaskCall(task="t", args=(1, [2]), kwargs={"a": None}))

    assert message.body == ([1, [2]], {"a": None}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None})


@pytest.mark.parametrize(
    ("call", "exchange", "routing_key"),
    [
        (TaskCall(task="t"), "", "celery"),
        (TaskCall(task="t", queue="search"), "", "search"),
        (TaskCall(task="t", queue="search", routing_key="other"), "", "other"),
        (TaskCall(task="t", exchange="topics", routing_key="a.b"), "topics", "a.b"),
        (TaskCall(task="t", exchange="topics", queue="search"), "topics", "search"),
    ],
    ids=["default", "queue", "routing key", "exchange", "exchange without routing key"],
)
def test_a_message_goes_to_its_queue_by_the_default_exchange_unless_told_otherwise(
    call: TaskCall, exchange: str, routing_key: str
) -> None:
    message = of(call)

    assert (message.exchange, message.routing_key) == (exchange, routing_key)


def test_priority_and_serializer_go_through_unchanged() -> None:
    message = of(TaskCall(task="t", priority=0, serializer="msgpack"))

    assert (message.priority, message.serializer) == (0, "msgpack")
    assert of(TaskCall(task="t")).priority is None


def test_expiry_is_written_with_its_zone() -> None:
    message = of(TaskCall(task="t"), expires_at=1_772_332_200.5)

    assert message.headers["expires"] == "2026-03-01T02:30:00.500000+00:00"
    assert message.expires_in == 60.5


@pytest.mark.parametrize("cause", list(Cause), ids=str)
def test_the_cause_is_told_in_its_own_word(cause: Cause) -> None:
    header = of(TaskCall(task="t"), cause=cause, attempt=3).headers

    assert (header["offbeat_cause"], header["offbeat_attempt"]) == (cause.value, 3)
    assert type(header["offbeat_cause"]) is str


def test_long_arguments_are_cut_in_the_headers_and_whole_in_the_body() -> None:
    message = of(TaskCall(task="t", args=("x" * 5000,), kwargs={"y": "z" * 5000}))

    for name in ("argsrepr", "kwargsrepr"):
        text = message.headers[name]
        assert isinstance(text, str)
        assert len(text) == REPR_LIMIT
        assert text.endswith("...")
    assert message.body[0] == ["x" * 5000]


@given(st.dictionaries(st.sampled_from(sorted(OURS)) | st.text(max_size=5), st.integers() | st.text(), max_size=8))
def test_headers_of_the_entry_never_replace_ours(headers: dict[str, Json]) -> None:
    plain = of(TaskCall(task="t")).headers
    merged = of(TaskCall(task="t", headers=headers)).headers

    assert {name: merged[name] for name in OURS} == {name: plain[name] for name in OURS}
    assert set(merged) == OURS | set(headers)


@given(st.integers(min_value=0, max_value=4_000_000_000), st.integers(min_value=1, max_value=99))
def test_the_same_arguments_give_the_same_message(due_at: int, attempt: int) -> None:
    call = TaskCall(task="t", kwargs={"b": 1, "a": 2})
    both = [
        build(
            call=call,
            entry="e",
            occurrence="o",
            due_at=due_at,
            cause=Cause.CATCH_UP,
            attempt=attempt,
            origin="offbeat@h",
            expires_at=due_at + 60.0,
        )
        for _ in range(2)
    ]

    assert both[0] == both[1]
    assert json.dumps(dict(both[0].headers)) == json.dumps(dict(both[1].headers))


def test_a_due_time_before_a_full_minute_keeps_its_seconds() -> None:
    assert format_due_at(59) == "1970-01-01T00:00:59Z"


def test_the_project_row_and_way_of_sending_are_headers_only_where_they_are_given() -> None:
    plain = of(TaskCall(task="t"))
    message = build(
        call=TaskCall(task="t"),
        entry="e",
        occurrence="o",
        due_at=0,
        cause=Cause.SCHEDULE,
        attempt=1,
        origin="",
        expires_at=None,
        row="1:0:schedule:",
        atomic=True,
        project="difio",
    )

    more = {name: value for name, value in message.headers.items() if name not in plain.headers}
    assert more == {"offbeat_row": "1:0:schedule:", "offbeat_atomic": True, "offbeat_project": "difio"}
