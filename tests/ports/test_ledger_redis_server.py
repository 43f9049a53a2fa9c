"""The ledger in Redis against servers that are not as they should be: unsafe, locked, gone, hanging, replaced, restarted."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tests import servers
from tests.ports.ledger_world import ahead_of, entry, outcome, pass_once, report, runner, schedule
from tests.ports.redis_place import own_place, post
from tests.proxy import Proxy

from offbeat.core.marks import lost
from offbeat.core.message import build
from offbeat.core.model import BrokerSettings, Cause, Overlap, State, TaskCall
from offbeat.errors import LedgerError, Severity
from offbeat.ports import ledger_redis
from offbeat.ports.broker import Delivery
from offbeat.ports.broker_kombu.broker import BrokerKombu
from offbeat.ports.clock import SystemClock
from offbeat.ports.ledger_redis import LedgerRedis, Place, schema
from offbeat.ports.ledger_redis.address import parse
from offbeat.ports.ledger_redis.client import RedisClient
from offbeat.ports.ledger_values import Told

A, B = runner("a"), runner("b")
SENDER: dict[str, Any] = {"cause": Cause.SCHEDULE, "origin": "offbeat@test", "expires_at": None}
ROOT = Path(__file__).resolve().parents[2]
HOW_TO = (ROOT / "docs" / "how-to" / "redis-ledger.md").read_text()


def opened(address: str, **more: Any) -> LedgerRedis:
    return LedgerRedis(Place(address=address, project="difio", **more))


def refusal(address: str) -> str:
    """Return the code with which this ledger is refused; its text has no password in it."""
    with pytest.raises(LedgerError) as refused:
        opened(address).close()
    (problem,) = refused.value.problems
    assert refused.value.exit_code == 3
    assert servers.PASSWORD not in str(problem) and quote(servers.PASSWORD, safe="") not in str(problem)
    assert problem.what and problem.why and problem.fix and problem.file.partition("?")[0].partition("://")[2] in address
    return problem.code


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a Redis whose settings tests may change."""
    servers.need("redis-server")
    folder = tmp_path_factory.mktemp("redis")
    with servers.redis_server(folder, servers.free_port(), servers.PASSWORD, ["--appendonly", "yes"]) as address:
        yield address


@pytest.fixture
def admin(server: str) -> Iterator[Any]:
    import redis

    with redis.Redis.from_url(server) as client:
        yield client
        client.execute_command("CONFIG", "SET", "maxmemory", "0", "maxmemory-policy", "noeviction", "appendonly", "yes")
        client.flushall()


def with_user(server: str, name: str, password: str, database: int = 0) -> str:
    return f"redis://{name}:{quote(password, safe='')}@{server.rpartition('@')[2]}/{database}"


def test_a_server_that_would_forget_is_refused(server: str, admin: Any) -> None:
    with closing(opened(f"{server}/0")) as ledger:
        assert ledger.warnings == ()

    admin.config_set("maxmemory-policy", "allkeys-lru")
    assert refusal(f"{server}/0") == "L507"
    admin.config_set("maxmemory-policy", "noeviction")
    admin.config_set("appendonly", "no")
    assert refusal(f"{server}/0") == "L506"
    opened(f"{server}/0?durability=none").close()


def test_settings_that_became_unsafe_are_seen_by_the_next_connection(server: str, admin: Any) -> None:
    with closing(opened(f"{server}/0")) as ledger:
        admin.config_set("maxmemory-policy", "allkeys-lru")
        admin.client_kill_filter(_type="normal", skipme=True)
        ledger.look(A)
        with pytest.raises(LedgerError, match="L507"):
            ledger.look(A)


@pytest.mark.parametrize("user", ["", "nobody"])
def test_a_wrong_password_is_told(server: str, user: str) -> None:
    assert refusal(f"redis://{user}:{quote(servers.PASSWORD, safe='')}x@{server.rpartition('@')[2]}/0") == "L503"
    assert refusal(f"redis://{server.rpartition('@')[2]}/0") == "L503"


def test_a_full_server_writes_nothing_by_halves(server: str, admin: Any) -> None:
    with closing(opened(f"{server}/0")) as ledger:
        ledger.look(A)
        admin.config_set("maxmemory", "1mb")
        with pytest.raises(LedgerError, match="L514"):
            ledger.activate(schedule(entry()), "s")
        admin.config_set("maxmemory", "0")
        assert (ledger.status().revision, ledger.entries()) == (0, [])
        assert ledger.activate(schedule(entry()), "s") == 1


def test_foreign_keys_are_told(server: str, admin: Any) -> None:
    admin.set("{offbeat:difio}:meta", "text")
    assert refusal(f"{server}/0") == "L516"


def test_a_replica_is_told(server: str, admin: Any) -> None:
    admin.execute_command("CONFIG", "SET", "replica-serve-stale-data", "yes")
    with closing(opened(f"{server}/0")) as ledger:
        admin.replicaof("127.0.0.1", str(servers.free_port()))
        try:
            with pytest.raises(LedgerError, match="L511"):
                ledger.look(A)
            assert refusal(f"{server}/0") == "L511"
        finally:
            admin.replicaof("NO", "ONE")


def test_a_cluster_is_refused(tmp_path: Path) -> None:
    servers.need("redis-server")
    port = next(port for port in iter(servers.free_port, 0) if is_free(port + 10_000))  # where its bus will be
    with servers.redis_server(tmp_path, port, flags=["--cluster-enabled", "yes", "--appendonly", "yes"]) as address:
        assert refusal(f"{address}/0") == "L508"


def is_free(port: int) -> bool:
    with contextlib.suppress(OSError, OverflowError), socket.socket() as probe:
        probe.bind(("127.0.0.1", port))
        return True
    return False


def test_nobody_there_is_told() -> None:
    assert refusal(f"redis://127.0.0.1:{servers.free_port()}/0") == "L501"
    assert refusal("unix:///nowhere/redis.sock?db=0") == "L501"


def rights(user: str) -> list[str]:
    """Return the words of the ACL that the page gives this user."""
    (line,) = re.findall(rf"^ACL SETUSER {user} (.*)$", HOW_TO, re.MULTILINE)
    words: list[str] = line.split()
    return words


def test_the_rights_that_the_page_lists_are_enough_and_each_is_needed_by_some_script(server: str, admin: Any) -> None:
    admin.execute_command("ACL", "SETUSER", "offbeat", "reset", *(w.replace(">password", ">secret") for w in rights("offbeat")))
    with closing(opened(with_user(server, "offbeat", "secret"))) as ledger:
        assert (ledger.warnings, ledger.server_id()) == ((), admin.info("server")["run_id"])
        everything(ledger)
        claim = ledger.fire(A, "a", "three").claim
        assert claim is not None
        assert "can't access" in ledger.enqueue(A, [post(claim, "elsewhere")])[0]
        admin.execute_command("ACL", "SETUSER", "offbeat", "%R~elsewhere")  # its type is told, and a push refused
        assert "can't access" in ledger.enqueue(A, [post(claim, "elsewhere")])[0]
        assert ledger.enqueue(A, [post(claim, "celery")]) == [""]
        assert (admin.llen("elsewhere"), admin.llen("celery")) == (0, 1)

    with pytest.raises(LedgerError, match="L504"):
        LedgerRedis(Place(address=with_user(server, "offbeat", "secret"), project="another"))
    files = [file for file in Path(ledger_redis.__file__).parent.rglob("*") if file.suffix in (".lua", ".py")]
    lua = "".join(file.read_text() for file in files)
    said = {found.lower() for found in re.findall(r"(?:call|pcall|say|_database\(database,)\(?\s*['\"]([A-Z]+)", lua)}
    said |= {"lpush", "type", "select", "eval", "evalsha", "memory|usage"} - {"memory"}
    said |= {"ping", "unlink"}  # of the broker's line
    assert {word[1:] for word in rights("offbeat") if word.startswith("+")} == said - {"memory", "sentinel"}


def test_a_broker_with_the_runners_rights_takes_each_message_once(server: str, admin: Any) -> None:
    admin.execute_command("ACL", "SETUSER", "sender", "reset", *(w.replace(">password", ">secret") for w in rights("offbeat")))
    with closing(BrokerKombu(with_user(server, "sender", "secret", 3), BrokerSettings(), clock=SystemClock())) as broker:
        letters = [
            build(call=TaskCall(task="t"), entry="e", occurrence=f"{n}", due_at=0, attempt=1, **SENDER) for n in (1, 2, 1)
        ]
        assert broker.publish(letters[:2], seconds=10) == [Delivery()] * 2
        assert broker.publish(letters[2:], seconds=10) == [Delivery()]
        assert (broker.server_id(), broker.remembers()) == (admin.info("server")["run_id"], True)
        broker.forget(["1", "2"])
    admin.select(3)
    assert [(key, admin.llen(key)) for key in admin.keys("*")] == [(b"celery", 2)]


def everything(ledger: LedgerRedis) -> None:
    """Say every operation once."""
    ledger.activate(schedule(entry("a", "every 1 0"), entry("b", "every 3600 0", jitter=60)), "s")
    ledger.refuse("t", "[]")
    while not (claims := pass_once(ledger, A)):
        ledger.look(A)
    ledger.settle(A, [outcome(claim) for claim in claims])
    ledger.report(B, [report(claims[0], State.STARTED)])
    ledger.report(B, [report(claims[0], State.FAILED, output=b"x")])
    ledger.claim(A, 10, ["x"])
    ledger.fire(A, "a", "one")
    ledger.fire(A, "task", "two", entry().call)
    ledger.slot(A, "a", 1000)
    ledger.skip("b", 4_000_000_000 // 3600 * 3600, "me", "")
    ledger.pause("b", "me", "")
    ledger.resume("b")
    ledger.backfill("b", "x", [(3600, 3600)])
    ledger.prune(10)
    ledger.occupy("x", "y", 10)
    ledger.vacate("x", "y")
    ledger.admit("x", 1)
    ledger.restored(A, ahead_of(ledger), skip=True)
    ledger.rewind(int(ledger.look(A).now) - 1, "me")
    assert ledger.history() and ledger.history("a") and ledger.failures(0, 10) and ledger.entries() and ledger.pauses()
    assert ledger.status() and ledger.schedule() and ledger.revisions(10) and ledger.peek(10) and ledger.ledger_settings()
    ledger.output(claims[0].key)


def test_a_worker_may_admit_and_report_and_no_more(server: str, admin: Any) -> None:
    import redis

    admin.execute_command("ACL", "SETUSER", "worker", "reset", *(w.replace(">password", ">secret") for w in rights("worker")))
    with closing(opened(f"{server}/0")) as ledger:
        ledger.activate(schedule(entry("a", "every 1 0", overlap=Overlap.SKIP, max_runtime=60)), "s")
        while not (claims := pass_once(ledger, A)):
            ledger.look(A)
        with redis.Redis.from_url(with_user(server, "worker", "secret")) as worker:
            keys = ["{offbeat:difio}:"]
            told = f'[["{claims[0].key.eno}:{claims[0].key.due_at}",1,"STATE","","",null,0,1]]'
            answers = [
                worker.register_script(schema.script("report"))(
                    keys, ["", 7, '["w","h",1,"worker",0,0.0,""]', told.replace("STATE", word)]
                )
                for word in ("started", "retrying", "started", "failed")
            ]
            admitted = worker.register_script(schema.script("admit"))([*keys, f"{keys[0]}a:x"], ["", 1, 60])
            with pytest.raises(redis.exceptions.NoPermissionError):
                worker.lpush("celery", "x")
        assert [answer[1] for answer in answers] == [[1], [1], [1], [1]]
        assert (admitted[1], ledger.admit("x", 2)) == (1, False)
        assert ledger.history("a", limit=1, since=claims[0].key.due_at)[0].state is State.FAILED


def test_a_server_that_tells_nothing_is_used_with_a_warning(server: str, admin: Any) -> None:
    words = [word.replace(">password", ">secret") for word in rights("offbeat") if word != "+info"]
    admin.execute_command("ACL", "SETUSER", "blind", "reset", *words)
    with closing(opened(with_user(server, "blind", "secret"))) as ledger:
        (warning,) = ledger.warnings
        assert (warning.code, warning.severity, ledger.server_id()) == ("L521", Severity.WARNING, "")
        assert ledger.activate(schedule(entry()), "s") == 1


def openssl(folder: Path, *words: str) -> None:
    subprocess.run([servers.need("openssl"), *words], cwd=folder, check=True, capture_output=True)


def certificates(folder: Path) -> None:
    """Write a CA, a certificate for 127.0.0.1 that it signed, and another CA that nobody should trust."""
    for name in ("ca", "other"):
        new = ["-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "2"]
        openssl(folder, "req", "-x509", *new, "-subj", f"/CN={name}", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    openssl(folder, "req", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "csr.pem", "-subj", "/CN=redis")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\nauthorityKeyIdentifier=keyid\n")
    sign = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names"]
    openssl(folder, "x509", "-req", "-in", "csr.pem", "-out", "cert.pem", *sign)


def test_over_tls_the_servers_certificate_is_verified_and_a_socket_needs_none(tmp_path: Path) -> None:
    servers.need("redis-server")
    certificates(tmp_path)
    port = servers.free_port()
    tls = ["--tls-port", str(port), "--tls-cert-file", "cert.pem", "--tls-key-file", "key.pem", "--tls-auth-clients", "no"]
    path = tmp_path / "redis.sock"
    with servers.redis_server(
        tmp_path, servers.free_port(), servers.PASSWORD, [*tls, "--appendonly", "yes", "--unixsocket", str(path)]
    ) as address:
        secret = address.partition("://")[2].rpartition("@")[0]
        url = f"{secret}@127.0.0.1:{port}/0"
        for scheme in ("rediss", "valkeys"):
            with closing(opened(f"{scheme}://{url}?ssl_ca_certs={tmp_path}/ca.pem")) as ledger:
                assert ledger.look(A).revision == 0
        assert refusal(f"rediss://{url}?ssl_ca_certs={tmp_path}/other.pem") == "L505"
        assert refusal(f"rediss://{url}") == "L505"
        name = url.replace("127.0.0.1", "localhost")  # which the certificate does not say
        assert refusal(f"rediss://{name}?ssl_ca_certs={tmp_path}/ca.pem") == "L505"
        opened(f"rediss://{name}?ssl_ca_certs={tmp_path}/ca.pem&ssl_check_hostname=no").close()
        opened(f"rediss://{url}?ssl_cert_reqs=none").close()
        for scheme in ("unix", "redis+unix"):
            opened(f"{scheme}://{secret}@{path}?db=2").close()


def test_a_restart_of_the_server_forgets_nothing(tmp_path: Path) -> None:
    servers.need("redis-server")
    port = servers.free_port()
    synced = ["--appendonly", "yes", "--appendfsync", "always"]  # "everysec" may lose two seconds while the disk is at it
    with servers.redis_server(tmp_path, port, flags=synced) as address:
        ledger = opened(f"{address}/0")
        ledger.activate(schedule(entry("a", "every 1 0")), "s")
        before = ledger.server_id()
        while not (claims := pass_once(ledger, A)):
            ledger.look(A)
        assert ledger.enqueue(A, [post(claim, "celery") for claim in claims]) == [""] * len(claims)
        marks = ledger.look(A).marks
        os.kill(ledger_pid(ledger), signal.SIGKILL)
        with pytest.raises(LedgerError, match="L501"):
            for _ in range(100):
                ledger.look(A)
    with closing(ledger), servers.redis_server(tmp_path, port, flags=synced):
        assert ledger.look(A).marks == marks  # no row was lost
        assert ledger.server_id() != before
        assert ledger.enqueue(A, [post(claim, "celery") for claim in claims]) == [""] * len(claims)
        assert ledger.client.say("LLEN", "celery") == len(claims)


def ledger_pid(ledger: LedgerRedis) -> int:
    found = re.search(rb"process_id:(\d+)", ledger.client.say("INFO", "server"))
    assert found is not None
    return int(found[1])


@pytest.fixture
def behind(durable_redis_address: str) -> Iterator[tuple[Proxy, Callable[[], LedgerRedis]]]:
    """Return a proxy, and a function that opens a ledger behind it with a short patience."""
    with (
        own_place(durable_redis_address) as place,
        Proxy(int(durable_redis_address.rpartition(":")[2])) as proxy,
    ):
        address = f"redis://127.0.0.1:{proxy.port}/0?{place.address.partition('?')[2]}"
        mine = Place(address=address, project="shop")
        yield proxy, lambda: LedgerRedis(mine, client=RedisClient(parse(address), timeout=0.3))


def test_a_server_that_hangs_is_told_and_used_again_afterwards(behind: Any) -> None:
    proxy, open_ = behind
    with closing(open_()) as ledger:
        ledger.activate(schedule(entry()), "s")
        proxy.stall()
        before = proxy.connections
        with pytest.raises(LedgerError, match="L502"):
            ledger.look(A)
        assert proxy.connections == before  # what hangs is not waited for twice
        with pytest.raises(LedgerError, match="L502"):
            ledger.look(A)
        proxy.pass_on()
        assert ledger.look(A).revision == 1


def test_a_connection_that_was_reset_is_opened_again_unseen(behind: Any) -> None:
    proxy, open_ = behind
    with closing(open_()) as ledger:
        for harm in (proxy.reset, proxy.half_close, lambda: proxy.cut_after(3)):
            harm()
            assert ledger.look(A).revision == 0
        proxy.drop()
        with pytest.raises(LedgerError, match="L501"):
            ledger.look(A)
        proxy.pass_on()
        assert ledger.look(A).revision == 0


def test_a_server_that_went_back_within_a_pass_is_noticed_before_anything_is_sent(server: str, admin: Any) -> None:
    with closing(opened(f"{server}/0")) as ledger:
        ledger.activate(schedule(entry("a", "every 1 0")), "s")
        kept = {key: admin.dump(key) for key in admin.keys("*")}
        while not (claims := pass_once(ledger, A)):
            ledger.look(A)
        ledger.settle(A, [outcome(claim) for claim in claims])
        told = ledger.told()
        assert {b"%d" % slot: b"%d" % count for slot, count in told.marks.items()} == admin.hgetall("{offbeat:difio}:marks")
        assert ledger.told() == Told()
        admin.flushall()
        for key, value in kept.items():
            admin.restore(key, 0, value)
        for question in (lambda: ledger.take(10), lambda: ledger.claim(A, 10)):
            with pytest.raises(LedgerError, match="L522"):
                question()
        assert lost(told.marks, ledger.look(A).marks) > 0
        ledger.restored(A, told, skip=True)
        assert lost(told.marks, ledger.look(A).marks) == 0
        ledger.take(10)


def test_a_loss_shows_though_another_runner_has_written_more_since(server: str, admin: Any) -> None:
    with closing(opened(f"{server}/0")) as mine, closing(opened(f"{server}/0")) as other:
        mine._slot, other._slot = 1, 2  # by chance they might be the same
        other.activate(schedule(entry("a", "every 1 0")), "s")
        kept = {key: admin.dump(key) for key in admin.keys("*")}
        while not (claims := pass_once(mine, A)):
            mine.look(A)
        mine.settle(A, [outcome(claim) for claim in claims])
        told = mine.told()
        admin.flushall()
        for key, value in kept.items():
            admin.restore(key, 0, value)
        for _ in range(3):
            while not (claims := pass_once(other, A)):
                other.look(A)
            other.settle(A, [outcome(claim) for claim in claims])

        assert lost(told.marks, other.look(A).marks) > 0
        assert mine.restored(A, told, skip=False)


@contextmanager
def sentinel(folder: Path, master: str, port: int) -> Iterator[int]:
    """Run a Sentinel that watches the master; yield its port."""
    mine = servers.free_port()
    lines = [
        f"port {mine}",
        f"dir {folder}",
        f"sentinel monitor shop 127.0.0.1 {port} 1",
        "sentinel down-after-milliseconds shop 400",
        "sentinel failover-timeout shop 2000",
    ]
    (folder / "sentinel.conf").write_text("\n".join(lines) + "\n")
    command = [servers.need("redis-server"), str(folder / "sentinel.conf"), "--sentinel"]
    with servers.running(command, folder / "sentinel.log"):
        servers.wait_for("Sentinel's start", lambda: servers.answers(mine))
        yield mine


def test_sentinel_leads_to_the_master_and_after_a_failover_to_the_next(tmp_path: Path) -> None:
    import redis

    servers.need("redis-server")
    folders = [tmp_path / name for name in ("one", "two", "watch")]
    for folder in folders:
        folder.mkdir()
    first, second = servers.free_port(), servers.free_port()
    flags = ["--appendonly", "yes", "--repl-diskless-sync-delay", "0"]
    with (
        servers.redis_server(folders[0], first, flags=flags) as master,
        servers.redis_server(folders[1], second, flags=[*flags, "--replicaof", f"127.0.0.1 {first}"]) as replica,
        redis.Redis.from_url(master) as admin,
        redis.Redis.from_url(replica) as other,
    ):
        servers.wait_for("replication", lambda: other.info("replication")["master_link_status"] == "up")
        with sentinel(folders[2], master, first) as port, redis.Redis(port=port) as watch:
            servers.wait_for("the replica's discovery", lambda: len(watch.sentinel_slaves("shop")) == 1)
            with closing(opened(f"redis+sentinel://127.0.0.1:{servers.free_port()},127.0.0.1:{port}/shop?db=1")) as ledger:
                ledger.activate(schedule(entry("a", "every 1 0")), "s")
                before = ledger.server_id()
                admin.wait(1, 5000)
                os.kill(ledger_pid(ledger), signal.SIGKILL)

                def works() -> bool:
                    try:
                        return bool(pass_once(ledger, A))
                    except LedgerError as error:
                        assert error.problems[0].code in ("L501", "L502", "L511", "L512")
                        return False

                servers.wait_for("the failover", works)
                assert ledger.server_id() == other.info("server")["run_id"] != before
            assert refusal(f"redis+sentinel://127.0.0.1:{port}/nobody?db=0") == "L517"
