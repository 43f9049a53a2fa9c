"""A worker's way to a ledger over TLS with a private CA, a unix socket and Sentinel, on real servers."""

from __future__ import annotations

import os
import signal
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pytest
from tests import servers
from tests.ports.test_ledger_postgres_line import certificates as postgres_certificates  # noqa: F401 - a fixture
from tests.ports.test_ledger_postgres_line import has_tls, switch_tls_on
from tests.ports.test_ledger_redis_server import certificates, sentinel
from tests.worker.conftest import PROJECT
from tests.worker.test_stores import KEEP, is_admitted

from offbeat.ports.clock import SystemClock
from offbeat.ports.ledger_open import open_ledger
from offbeat.ports.worker_store import open_store
from offbeat.ports.worker_values import PASSED, Ask, NoAnswer


def admits(address: str, occurrence: str) -> bool:
    with closing(open_store(address, PROJECT)) as worker:
        return is_admitted(worker, occurrence, 1)


def test_redis_over_tls_is_verified_and_a_socket_needs_none(tmp_path: Path) -> None:
    servers.need("redis-server")
    certificates(tmp_path)
    port, path = servers.free_port(), tmp_path / "redis.sock"
    tls = ["--tls-port", str(port), "--tls-cert-file", "cert.pem", "--tls-key-file", "key.pem", "--tls-auth-clients", "no"]
    flags = [*tls, "--unixsocket", str(path)]
    with servers.redis_server(tmp_path, servers.free_port(), servers.PASSWORD, flags) as plain:
        secret = plain.partition("://")[2].rpartition("@")[0]
        url, trusted = f"{secret}@127.0.0.1:{port}/0", f"ssl_ca_certs={tmp_path}/ca.pem"
        for scheme in ("rediss", "valkeys"):
            assert admits(f"{scheme}://{url}?{trusted}", scheme)
        assert admits(f"redis://{url}?tls=yes&{trusted}", "tls=yes")
        assert admits(f"valkey://{plain.partition('://')[2]}/0", "valkey")
        name = url.replace("127.0.0.1", "localhost")  # which the certificate does not say
        for wrong in (f"{url}?ssl_ca_certs={tmp_path}/other.pem", url, f"{name}?{trusted}"):
            with pytest.raises(NoAnswer) as told:
                admits(f"rediss://{wrong}", "wrong")
            assert "s3cr3t" not in str(told.value)
        assert admits(f"rediss://{name}?{trusted}&ssl_check_hostname=no", "no name")
        assert admits(f"rediss://{url}?ssl_cert_reqs=none", "no CA")
        for scheme in ("unix", "redis+unix"):
            assert admits(f"{scheme}://{secret}@{path}?db=2", scheme)


def test_sentinel_leads_a_worker_to_the_master_and_after_a_failover_to_the_next(tmp_path: Path) -> None:
    import redis

    servers.need("redis-server")
    folders = [tmp_path / name for name in ("one", "two", "watch")]
    for folder in folders:
        folder.mkdir()
    first, second = servers.free_port(), servers.free_port()
    flags = ["--repl-diskless-sync-delay", "0"]
    with (
        servers.redis_server(folders[0], first, flags=flags) as master,
        servers.redis_server(folders[1], second, flags=[*flags, "--replicaof", f"127.0.0.1 {first}"]) as replica,
        redis.Redis.from_url(master) as admin,
        redis.Redis.from_url(replica) as other,
    ):
        servers.wait_for("replication", lambda: other.info("replication")["master_link_status"] == "up")
        with sentinel(folders[2], master, first) as port, redis.Redis(port=port) as watch:
            servers.wait_for("the replica's discovery", lambda: len(watch.sentinel_slaves("shop")) == 1)
            address = f"redis+sentinel://127.0.0.1:{servers.free_port()},127.0.0.1:{port}/shop?db=1"
            assert admits(address, "before")
            admin.wait(1, 5000)
            os.kill(admin.info("server")["process_id"], signal.SIGKILL)

            def answers_again() -> bool:
                try:
                    return admits(address, "after")
                except NoAnswer:
                    return False

            servers.wait_for("the failover", answers_again)
            with closing(open_store(address, PROJECT)) as worker:
                assert worker.admit(Ask("before", 2, KEEP)) != PASSED
            with pytest.raises(NoAnswer):
                admits(f"redis+sentinel://127.0.0.1:{port}/nobody?db=0", "nobody")


def test_postgresql_over_tls_with_a_private_ca_is_verified(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    servers.need("initdb")
    signed: Path = request.getfixturevalue("postgres_certificates")
    folder = tmp_path / "server"
    folder.mkdir()
    with servers.postgres_server(folder, servers.free_port()) as address:
        open_ledger(address, clock=SystemClock(), project=PROJECT, owner="").close()
        switch_tls_on(address, signed)
        servers.wait_for("TLS", lambda: has_tls(address))

        def query(ca: str) -> str:
            return f"sslmode=verify-full&sslrootcert={quote(str(signed / ca), safe='')}"

        named = address.replace("127.0.0.1", "localhost")
        assert admits(f"{named}?{query('ca.pem')}", "a")
        for wrong in (f"{named}?{query('other.pem')}", f"{address}?{query('ca.pem')}", f"{named}?{query('not_there.pem')}"):
            with pytest.raises(NoAnswer, match="certificate") as told:
                admits(wrong, "b")
            assert "s3cr3t" not in str(told.value)
