"""The way to the PostgreSQL ledger: addresses, TLS, and connections that stall, break, or lose a reply."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import servers
from tests.ports.ledger_world import NOON, entry, outcome, pass_once, runner, schedule, states
from tests.ports.postgres_place import emptied
from tests.proxy import Proxy, Way

from offbeat.core.model import State
from offbeat.errors import LedgerError, Problem
from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger_open import open_ledger
from offbeat.ports.ledger_postgres import LedgerPostgres, Place, line, place_of
from offbeat.ports.ledger_postgres.address import LONGEST, default_schema

A = runner("a")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(float(NOON))


@pytest.fixture
def place(postgres_address: str) -> Place:
    return emptied(postgres_address, "line")


def problem_of(do: Callable[[], object]) -> Problem:
    with pytest.raises(LedgerError) as told:
        do()
    (problem,) = told.value.problems
    assert told.value.exit_code == 3
    assert not any(servers.PASSWORD in text or "hunter2" in text for text in (str(problem), repr(told.value)))
    return problem


# Addresses


@pytest.mark.parametrize(
    ("address", "schema", "where"),
    [
        ("postgresql:///db", "offbeat_shop", "postgresql:///db?schema=offbeat_shop"),
        ("postgres://u:hunter2@h:5433/db?schema=x", "x", "postgresql://h:5433/db?schema=x"),
        (
            "postgresql://u:hunter2@h/db?sslmode=verify-full&schema=a%20b&target_session_attrs=any",
            "a b",
            "postgresql://h/db?schema=a%20b",
        ),
        ("postgresql://u@h1:1,h2:2/db", "offbeat_shop", "postgresql://h1:1,h2:2/db?schema=offbeat_shop"),
        ("postgresql://u@[::1]:5/db", "offbeat_shop", "postgresql://[::1]:5/db?schema=offbeat_shop"),
        ("postgresql://%2Frun%2Fpg/db", "offbeat_shop", "postgresql:///run/pg/db?schema=offbeat_shop"),
        ("postgresql:///db?host=/run/pg&password=hunter2", "offbeat_shop", "postgresql:///run/pg/db?schema=offbeat_shop"),
    ],
)
def test_an_address_says_which_schema_and_shows_no_password(address: str, schema: str, where: str) -> None:
    place = place_of(address, project="shop")

    assert (place.schema, place.where) == (schema, where)
    assert "hunter2" not in repr(place)


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://u:hunter2@x@h/db",
        "postgresql://u:1/hunter2@h/db",
        "postgresql://u:hunter2#@h/db",
        "postgresql://u:hunter2@h:no/db?nonsense=1",
        "postgresql://h/db?schema=pg_catalog",
        "postgresql://h/db?schema=information_schema",
        f"postgresql://h/db?schema={'x' * (LONGEST + 1)}",
        "postgresql://h/db?schema=%00",
    ],
)
def test_an_address_that_cannot_be_understood_is_not_shown(address: str) -> None:
    problem = problem_of(lambda: open_ledger(address, clock=FakeClock(), project="shop", owner=""))

    assert (problem.code, problem.file) == ("L402", "OFFBEAT_LEDGER")


@given(first=st.text(min_size=1, max_size=80), second=st.text(min_size=1, max_size=80))
def test_no_two_projects_share_a_schema_that_nobody_named(first: str, second: str) -> None:
    schemas = default_schema(first), default_schema(second)

    assert all(len(schema.encode()) <= LONGEST and schema.replace("_", "a").isalnum() for schema in schemas)
    assert (schemas[0] == schemas[1]) == (first == second)


def test_a_login_that_is_refused_says_so_without_the_password(postgres_address: str) -> None:
    rest = postgres_address.partition("@")[2]

    refused = problem_of(lambda: LedgerPostgres(place_of(f"postgresql://offbeat:hunter2@{rest}", project="shop")))
    assert refused.code == "L404" and "password authentication failed" in refused.what
    nowhere = postgres_address.replace("/postgres", "/not_there")
    assert problem_of(lambda: LedgerPostgres(place_of(nowhere, project="shop"))).code == "L404"


def test_a_server_that_is_not_there_is_told(tmp_path: Path) -> None:
    for address in (f"postgresql://u:hunter2@127.0.0.1:{servers.free_port()}/db", f"postgresql:///db?host={tmp_path}"):
        assert problem_of(lambda address=address: LedgerPostgres(place_of(address, project="shop"))).code == "L403"  # type: ignore[misc]


def test_a_database_that_is_not_utf8_is_refused(postgres_address: str) -> None:
    with psycopg.connect(postgres_address, autocommit=True) as admin:
        admin.execute("DROP DATABASE IF EXISTS latin")
        admin.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
        try:
            latin = place_of(postgres_address.replace("/postgres", "/latin"), project="shop")
            assert problem_of(lambda: LedgerPostgres(latin)).code == "L415"
        finally:
            admin.execute("DROP DATABASE latin")


# Connections


@pytest.fixture
def proxy(postgres_address: str) -> Iterator[Proxy]:
    with Proxy(int(postgres_address.rpartition(":")[2].partition("/")[0])) as made:
        yield made


@pytest.fixture
def ledger(place: Place, proxy: Proxy, postgres_address: str, clock: FakeClock) -> Iterator[LedgerPostgres]:
    """Return a ledger behind the proxy, with five entries that are due."""
    login = postgres_address.rpartition("@")[0]
    address = f"{login}@127.0.0.1:{proxy.port}/postgres?schema={place.schema}&connect_timeout=2"
    with closing(LedgerPostgres(place_of(address, project="shop"), horizon=clock)) as opened:
        opened.activate(schedule(*(entry(name) for name in "abcde")), "stamp")
        clock.advance(60)
        yield opened


@pytest.mark.parametrize("ways", [(), (Way.ANSWERS,), (Way.REQUESTS,)])
def test_a_server_that_says_nothing_is_given_up_and_found_again(
    ledger: LedgerPostgres, proxy: Proxy, ways: tuple[Way, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line, "PATIENCE", 1)
    proxy.stall(*ways)

    assert problem_of(lambda: pass_once(ledger, A)).code == "L406"
    assert problem_of(lambda: pass_once(ledger, A)).code == "L403"  # the new connection does not come to be
    proxy.pass_on()
    assert len(pass_once(ledger, A)) == 5


def test_a_connection_that_is_half_closed_or_reset_is_made_anew(ledger: LedgerPostgres, proxy: Proxy) -> None:
    for disturb in (proxy.half_close, proxy.reset):
        disturb()
        assert ledger.status().pending == 0
    assert len(pass_once(ledger, A)) == 5


def test_a_server_that_is_gone_is_told_and_found_again(ledger: LedgerPostgres, proxy: Proxy) -> None:
    proxy.drop()
    assert problem_of(lambda: ledger.look(A)).code == "L403"
    proxy.pass_on()
    assert ledger.look(A).due


@pytest.mark.parametrize("way", list(Way))
def test_an_answer_that_is_lost_anywhere_changes_nothing(
    ledger: LedgerPostgres, proxy: Proxy, clock: FakeClock, way: Way
) -> None:
    """The operation is done again on a new connection; whether its first try was committed or not, the result is the same."""
    rounds = 0
    for cut in range(0, 4500, 250):
        proxy.cut_after(cut, way)
        ledger.look(A)
        claims = pass_once(ledger, A)
        assert [claim.attempt for claim in claims] == [1] * 5
        assert len(ledger.settle(A, [outcome(claim) for claim in claims])) == 5
        proxy.pass_on()
        clock.advance(60)
        rounds += 1

    assert proxy.connections > rounds // 2
    assert [state for _, _, state, _ in states(ledger)] == [State.DISPATCHED] * 5 * rounds


# TLS


def openssl(folder: Path, *words: str) -> None:
    subprocess.run([servers.need("openssl"), *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """Return a folder with a CA, another CA, and a certificate for "localhost" that the first one has signed."""
    folder = tmp_path / "tls"
    folder.mkdir()
    for name in ("ca", "other"):
        new = ("-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "2")
        openssl(folder, "req", "-x509", *new, "-subj", f"/CN={name}", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    openssl(
        folder, "req", "-newkey", "rsa:2048", "-nodes", "-keyout", "server.key", "-out", "csr.pem", "-subj", "/CN=localhost"
    )
    (folder / "names").write_text("subjectAltName=DNS:localhost\nauthorityKeyIdentifier=keyid\n")
    sign = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names")
    openssl(folder, "x509", "-req", "-in", "csr.pem", "-out", "server.crt", *sign)
    return folder


def switch_tls_on(address: str, certificates: Path) -> None:
    with psycopg.connect(address, autocommit=True) as admin:
        row = admin.execute("SHOW data_directory").fetchone()
        assert row is not None
        data = Path(row[0])
        for name in ("server.crt", "server.key"):
            shutil.copy(certificates / name, data / name)
            owner = data.stat()
            os.chown(data / name, owner.st_uid, owner.st_gid)
            (data / name).chmod(0o600)
        admin.execute("ALTER SYSTEM SET ssl = on")
        admin.execute("SELECT pg_reload_conf()")


def has_tls(address: str) -> bool:
    with psycopg.connect(address) as admin:
        return admin.execute("SHOW ssl").fetchone() == ("on",)


def test_tls_with_a_private_ca_is_verified(tmp_path: Path, certificates: Path, postgres_address: str) -> None:
    servers.need("initdb")
    folder = tmp_path / "server"
    folder.mkdir()
    plain = place_of(f"{postgres_address}?sslmode=require", project="shop")
    assert problem_of(lambda: LedgerPostgres(plain)).code == "L405"
    with ExitStack() as stack:
        address = stack.enter_context(servers.postgres_server(folder, servers.free_port()))
        switch_tls_on(address, certificates)
        named = address.replace("127.0.0.1", "localhost")

        def opened(place: str, ca: str, mode: str = "verify-full") -> LedgerPostgres:
            query = f"sslmode={mode}&sslrootcert={quote(str(certificates / ca), safe='')}"
            return LedgerPostgres(place_of(f"{place}?{query}", project="shop"))

        servers.wait_for("TLS", lambda: has_tls(address))
        with closing(opened(named, "ca.pem")) as ledger:
            assert ledger.read(lambda tx: tx.rows("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")) == [(True,)]
        for place, ca in ((named, "other.pem"), (address, "ca.pem"), (named, "not_there.pem")):
            problem = problem_of(lambda place=place, ca=ca: opened(place, ca))  # type: ignore[misc]
            assert problem.code == "L405" and "certificate" in problem.what
