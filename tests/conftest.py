"""Fixtures for everyone: a clean environment, real servers, real workers."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests import servers
from tests.workers import Worker, WorkerSettings, running_worker

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job; what we start is to hear Ctrl-C all the same
    signal.signal(signal.SIGINT, signal.default_int_handler)

OURS = ("OFFBEAT_", "CELERY_", "OPENSHIFT_", "XDG_")
GIVEN = {name: os.environ.get(name, "") for name in ("OFFBEAT_TEST_REDIS", "OFFBEAT_TEST_RABBITMQ")}
NUMBER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 8


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Take away every variable that would tell offbeat where things are, and the developer's own home."""
    for name in list(os.environ):
        if name.startswith(OURS) or name == "BROKER_URL":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture(autouse=True)
def _plain_logger() -> None:
    """Undo what commands and workers that ran in this process did to the logger: it hands on everything."""
    logger = logging.getLogger("offbeat")
    logger.propagate, logger.disabled = True, False
    logger.setLevel(logging.NOTSET)
    logger.handlers.clear()
    for name, other in logging.Logger.manager.loggerDict.items():
        if name.startswith("offbeat.") and isinstance(other, logging.Logger):
            other.propagate, other.disabled = True, False


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that all processes of this test run have in common."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def redis_address(session_folder: Path) -> str:
    """Return the address, without a database, of a Redis: the one in OFFBEAT_TEST_REDIS, or a private one."""
    if given := GIVEN["OFFBEAT_TEST_REDIS"].rstrip("/"):
        return given
    servers.need("redis-server")
    return servers.shared("redis", session_folder)


@pytest.fixture(scope="session")
def durable_redis_address(session_folder: Path) -> str:
    """Return the address, without a database, of a private Redis that keeps an append-only file."""
    servers.need("redis-server")
    return servers.shared("durable-redis", session_folder)


@pytest.fixture(scope="session")
def postgres_address(session_folder: Path) -> str:
    """Return the address of a private PostgreSQL; schemas need names of their own."""
    servers.need("initdb")
    return servers.shared("postgres", session_folder)


@pytest.fixture
def redis_url(redis_address: str) -> Iterator[str]:
    """Return the address of an empty Redis database, for one test."""
    yield from servers.empty_database(f"{redis_address}/{NUMBER}")


@pytest.fixture(scope="module")
def module_redis_url(redis_address: str) -> Iterator[str]:
    """Return the address of an empty Redis database, for the tests of one module."""
    yield from servers.empty_database(f"{redis_address}/{15 - NUMBER}")


@pytest.fixture(scope="session")
def rabbitmq_url(session_folder: Path) -> str:
    """Return the address of a RabbitMQ: the one in OFFBEAT_TEST_RABBITMQ, or a private one. Queues need names of their own."""
    if given := GIVEN["OFFBEAT_TEST_RABBITMQ"]:
        return given
    servers.need("rabbitmq-server")
    return servers.shared("rabbitmq", session_folder)


@pytest.fixture
def celery_worker(tmp_path: Path) -> Iterator[Callable[[WorkerSettings], Worker]]:
    """Return a function that starts a real worker; all of them are stopped at the end."""
    with ExitStack() as stack:
        number = iter(range(100))
        yield lambda settings: stack.enter_context(running_worker(tmp_path / f"worker{next(number)}", settings))
