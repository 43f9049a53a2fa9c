"""A ledger that does not answer, or not to this user, is told as such and never waited for; least privileges are enough."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.ports.ledger_world import runner
from tests.worker.conftest import PROJECT, Sides
from tests.worker.test_stores import ME, is_admitted

from offbeat.ports.clock import SystemClock
from offbeat.ports.ledger_open import open_ledger
from offbeat.ports.worker_store import open_store
from offbeat.ports.worker_values import PASSED, Ask, NoAnswer, Row, Said

HOW_TO = Path(__file__).resolve().parents[2] / "docs" / "how-to"
only = pytest.mark.parametrize


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """Return a port at which somebody takes connections, and says nothing."""
    with socket.socket() as server, contextlib.ExitStack() as taken:
        server.bind(("127.0.0.1", 0))
        server.listen()

        def take() -> None:
            with contextlib.suppress(OSError):
                while True:
                    taken.enter_context(server.accept()[0])

        threading.Thread(target=take, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


@only("scheme", ["redis", "postgresql"])
def test_a_server_that_says_nothing_is_not_waited_for(deaf_port: int, scheme: str) -> None:
    with pytest.raises(NoAnswer) as told:
        is_admitted(open_store(f"{scheme}://u:hunter2@127.0.0.1:{deaf_port}/0", PROJECT), "a", 1)

    assert "hunter2" not in str(told.value)


@only("word", ["yes", "TRUE", "1"])
def test_a_worker_that_is_to_use_tls_says_nothing_without_it(word: str) -> None:
    heard = []
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()

        def listen() -> None:
            with server.accept()[0] as line:
                heard.append(line.recv(1))

        listening = threading.Thread(target=listen)
        listening.start()
        with pytest.raises(NoAnswer):
            open_store(f"redis://u:hunter2@127.0.0.1:{server.getsockname()[1]}/0?tls={word}", PROJECT).beat(ME)
        listening.join()

    assert heard == [b"\x16"]  # a handshake, and no password


@only("sides", ["postgres"], indirect=True)
def test_an_answer_that_somebody_else_holds_up_is_not_waited_for(sides: Sides) -> None:
    import psycopg

    address, _, schema = sides.address.partition("?schema=")
    with psycopg.connect(address) as other:
        other.execute(f"INSERT INTO {schema}.admitted (occurrence, attempt) VALUES ('a', 1)".encode())  # and no COMMIT yet
        with pytest.raises(NoAnswer, match="no answer within 2 s"):
            is_admitted(sides.worker, "a", 2)
        other.commit()

    with closing(open_store(sides.address, PROJECT)) as again:
        assert [is_admitted(again, "a", attempt) for attempt in (2, 1)] == [False, True]


@only("sides", ["postgres"], indirect=True)
def test_a_question_that_is_longer_than_a_socket_holds_is_answered(sides: Sides) -> None:
    asks = [Ask(f"{number}{'x' * 900}", 1, 60) for number in range(500)]
    with socket.socket(fileno=os.dup(sides.worker._db.pgconn.socket)) as line:  # type: ignore[attr-defined]
        line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # as on the way to another host

    assert set(sides.worker.admit_all(asks)) == {PASSED}


@only("sides", ["postgres"], indirect=True)
def test_a_worker_of_another_project_is_refused(sides: Sides) -> None:
    with pytest.raises(NoAnswer, match='of project "shop", not of "difio"'):
        open_store(sides.address, "difio")


@only("sides", ["postgres"], indirect=True)
def test_a_role_with_the_rights_that_the_page_names_is_enough(sides: Sides) -> None:
    import psycopg

    address, _, schema = sides.address.partition("?schema=")
    role = f"w{uuid.uuid4().hex}"
    (rights,) = re.findall(r"```sql worker\n(.*?)```", (HOW_TO / "postgresql-ledger.md").read_text("utf-8"), re.DOTALL)
    with psycopg.connect(address, autocommit=True) as admin:
        for words in (f"CREATE ROLE {role} LOGIN PASSWORD 'x'", rights.replace("offbeat_difio", schema)):
            words = re.sub(r"\bworker;", f"{role};", words)
            admin.execute(words.encode())
        try:
            parts = urlsplit(sides.address)
            mine = parts._replace(netloc=f"{role}:x@{parts.netloc.rpartition('@')[2]}").geturl()
            with closing(open_store(mine, PROJECT)) as worker:
                assert is_admitted(worker, "a", 1)
                worker.report(ME, Said(Row(1, 60, "schedule", ""), 1, "started"))
                worker.beat(ME)
        finally:
            admin.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())

    sides.ledger.look(runner())
    assert ME.id in {seen.runner.id for seen in sides.ledger.status().runners}


def test_a_user_with_the_rights_that_the_page_names_is_enough_in_any_database(module_redis_url: str) -> None:
    import redis

    assert urlsplit(module_redis_url).path not in ("", "/", "/0")  # one that must be chosen
    user, prefix = f"w{uuid.uuid4().hex}", f"t{uuid.uuid4().hex}"
    address = f"{module_redis_url}?prefix={prefix}&durability=none"
    (rights,) = re.findall(r"^ACL SETUSER worker (.*)$", (HOW_TO / "redis-ledger.md").read_text("utf-8"), re.MULTILINE)
    words = rights.replace(">password", ">x").replace("{offbeat:difio}", f"{{{prefix}:{PROJECT}}}").split()
    with (
        redis.Redis.from_url(module_redis_url) as admin,
        closing(open_ledger(address, clock=SystemClock(), project=PROJECT, owner="")) as ledger,
    ):
        admin.execute_command("ACL", "SETUSER", user, *words)
        try:
            parts = urlsplit(address)
            mine = parts._replace(netloc=f"{user}:x@{parts.netloc.rpartition('@')[2]}").geturl()
            with closing(open_store(mine, PROJECT)) as worker:
                assert is_admitted(worker, "a", 1)
                worker.report(ME, Said(Row(1, 60, "schedule", ""), 1, "started"))
                worker.beat(ME)
            with pytest.raises(NoAnswer), closing(open_store(mine, "another")) as worker:
                is_admitted(worker, "a", 1)
        finally:
            admin.execute_command("ACL", "DELUSER", user)
        assert ME.id in {seen.runner.id for seen in ledger.status().runners}


@only("sides", ["sqlite"], indirect=True)
def test_another_file_at_the_ledgers_place_is_noticed_and_opened_next_time(sides: Sides, tmp_path: Path) -> None:
    assert is_admitted(sides.worker, "a", 1)
    os.replace(tmp_path / "ledger.sqlite3", tmp_path / "old")

    with pytest.raises(NoAnswer, match="another file"):
        is_admitted(sides.worker, "a", 1)
    with pytest.raises(NoAnswer, match="no ledger at"):
        open_store(sides.address, PROJECT)
