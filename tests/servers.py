"""Real servers for tests: a private Redis and a private RabbitMQ, once per test session, gone when the session is.

A keeper process owns each server. Every test process that uses it holds a shared lock on one file; the kernel lets go of it
when that process ends, however it ends, and the keeper stops the server when nobody holds the lock any more.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO
from urllib.parse import quote

import pytest

PLACES = ("/usr/lib/rabbitmq/bin", "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin", "/opt/homebrew/bin", "/usr/local/bin")
PASSWORD = "s3cr3t p@ss:w/rd#%41?&é"  # of every private server: each of its characters has broken somebody's address
START = 60.0  # seconds; RabbitMQ needs about 4 when nothing else runs
_held: list[int] = []


def find(program: str) -> str | None:
    """Return the path of a server's program, also where daemons live and a user's PATH does not lead.

    RabbitMQ's own script comes before Debian's wrapper, which changes the user.
    """
    first = "/usr/lib/rabbitmq/bin/rabbitmq-server"
    if program == "rabbitmq-server" and Path(first).exists():
        return first
    postgres = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda place: place.parent.name.zfill(4), reverse=True)
    return shutil.which(program) or shutil.which(program, path=os.pathsep.join([*PLACES, *map(str, postgres)]))


def need(program: str) -> str:
    """Return the path of a program; without it skip the test on a laptop, and fail it when CI=true."""
    path = find(program)
    if path is not None:
        return path
    sentence = f"{program} is not installed: run scripts/install-test-servers"
    if os.environ.get("CI") == "true":
        pytest.fail(sentence)
    pytest.skip(sentence)


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(what: str, happened: Callable[[], bool], seconds: float = START) -> None:
    """Return when `happened` is true; fail the test when it is not in time."""
    until = time.monotonic() + seconds  # noqa: TID251 - real servers run on real time
    while not happened():
        if time.monotonic() > until:  # noqa: TID251
            raise AssertionError(f"{what} did not happen within {seconds:.0f} s")
        time.sleep(0.05)  # noqa: TID251


def answers(port: int) -> bool:
    """Return whether something listens on this port."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def shared(kind: str, folder: Path) -> str:
    """Return the address of the session's server of this kind, starting it if no other test process has."""
    home = folder / f"server-{kind}"
    home.mkdir(exist_ok=True)
    with (home / "start.lock").open("w") as start:
        fcntl.flock(start, fcntl.LOCK_EX)
        users = os.open(
            home / "users.lock", os.O_RDWR | os.O_CREAT
        )  # until this process ends: no file object, which would warn then
        fcntl.flock(users, fcntl.LOCK_SH)
        _held.append(users)
        address = home / "address"
        if not address.exists():
            _start_keeper(kind, home)
        return address.read_text()


def _start_keeper(kind: str, home: Path) -> None:
    with (home / "keeper.log").open("w") as log:
        keeper = subprocess.Popen(
            [sys.executable, __file__, kind, str(home)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
        )
    wait_for(f"{kind} server's start", lambda: (home / "address").exists() or keeper.poll() is not None)
    if keeper.poll() is not None:
        raise AssertionError(f"{kind} server did not start:\n{(home / 'keeper.log').read_text()[-4000:]}")
    keeper.returncode = 0  # it outlives this process on purpose, so there is nobody to wait for it


@contextlib.contextmanager
def redis_server(folder: Path, port: int, password: str = "", flags: Sequence[str] = ()) -> Iterator[str]:
    """Run a Redis without persistence; yield its address. flags: more of redis-server's."""
    program = find("redis-server")
    assert program is not None
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "", "--appendonly", "no"]
    with running([*command, *(["--requirepass", password] if password else []), *flags], folder / "redis.log"):
        wait_for("Redis' start", lambda: answers(port))
        yield f"redis://:{quote(password, safe='')}@127.0.0.1:{port}" if password else f"redis://127.0.0.1:{port}"


@contextlib.contextmanager
def durable_redis_server(folder: Path, port: int) -> Iterator[str]:
    """Run a Redis that keeps an append-only file, as a ledger needs it; yield its address."""
    with redis_server(folder, port, flags=["--appendonly", "yes"]) as address:
        yield address


@contextlib.contextmanager
def postgres_server(folder: Path, port: int, *flags: str) -> Iterator[str]:
    """Run a PostgreSQL that keeps what it has committed; yield its address, of database "postgres". flags: more of postgres'.

    A data directory that is in `folder` already is used again. PostgreSQL refuses to run as root: then it gets a user and a
    place of its own, since no other user may enter a folder of pytest's.
    """
    home = postgres_home(folder)
    data, drop = home / "data", unprivileged(home)
    env = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "HOME": str(home)}
    if not (data / "PG_VERSION").exists():
        (home / "password").write_text(PASSWORD, encoding="utf-8")
        make = [find("initdb") or "initdb", "-D", str(data), "-U", "offbeat", "-A", "scram-sha-256", "--no-sync"]
        make += ["--pwfile", str(home / "password"), "-E", "UTF8", "--locale", "C.UTF-8"]
        made = subprocess.run([*drop, *make], env=env, cwd=home, capture_output=True, check=False)
        assert made.returncode == 0, made.stderr.decode()
    options = {
        "port": port,
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": home,
        "shared_buffers": "32MB",
        "fsync": "on",
    }
    command = [
        find("postgres") or "postgres",
        "-D",
        str(data),
        *(f"--{name}={value}" for name, value in options.items()),
        *flags,
    ]
    with running([*drop, *command], home / "postgres.log", env) as server:
        wait_for("PostgreSQL's start", lambda: _is_ready(home, port))
        try:
            yield f"postgresql://offbeat:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/postgres"
        finally:
            server.send_signal(signal.SIGINT)  # at once, without waiting for its clients
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(10)


@contextlib.contextmanager
def pgbouncer(folder: Path, address: str, pool: int, mode: str = "transaction") -> Iterator[str]:
    """Run a pgbouncer in this mode, with `pool` connections, before the PostgreSQL at `address`; yield its address."""
    home, port = postgres_home(folder), free_port()
    behind = int(address.rpartition(":")[2].partition("/")[0])
    (home / "users.txt").write_text(f'"offbeat" "{PASSWORD}"\n', encoding="utf-8")
    settings: dict[str, object] = {"listen_addr": "127.0.0.1", "listen_port": port, "unix_socket_dir": ""}
    settings |= {"auth_type": "scram-sha-256", "auth_file": home / "users.txt"}
    settings |= {"pool_mode": mode, "default_pool_size": pool}
    lines = "\n".join(f"{name} = {value}" for name, value in settings.items())
    databases = f"postgres = host=127.0.0.1 port={behind} dbname=postgres user=offbeat"
    (home / "pgbouncer.ini").write_text(f"[databases]\n{databases}\n[pgbouncer]\n{lines}\n", encoding="utf-8")
    command = [*unprivileged(home), find("pgbouncer") or "pgbouncer", str(home / "pgbouncer.ini")]
    with running(command, home / "pgbouncer.log", {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}):
        wait_for("pgbouncer's start", lambda: answers(port))
        yield f"postgresql://offbeat:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/postgres"


def postgres_home(folder: Path) -> Path:
    if os.getuid():
        return folder
    named = folder / "postgres-home"
    if not named.exists():
        named.write_text(tempfile.mkdtemp(prefix="offbeat-pg-"))
        atexit.register(shutil.rmtree, named.read_text(), ignore_errors=True)
    return Path(named.read_text())


def unprivileged(home: Path) -> list[str]:
    """Return what to put before a command so that it runs as another user than root; the folder is theirs then."""
    if os.getuid():
        return []
    try:
        user = pwd.getpwnam("postgres")
    except KeyError:
        user = pwd.getpwnam("nobody")
    os.chown(home, user.pw_uid, user.pw_gid)
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]


def _is_ready(home: Path, port: int) -> bool:
    """Return whether the server says that it takes connections."""
    with contextlib.suppress(OSError):
        lines = (home / "data" / "postmaster.pid").read_text().split("\n")
        return len(lines) > 7 and lines[7].strip() == "ready" and answers(port)
    return False


def empty_database(url: str) -> Iterator[str]:
    """Yield a Redis database that must be empty, and empty it again."""
    import redis

    with redis.Redis.from_url(url) as client:
        assert client.dbsize() == 0, "this database of the Redis for tests is not empty; give a server without anything in it"
        yield url
        client.flushdb()


@contextlib.contextmanager
def rabbitmq_server(folder: Path, port: int, more: str = "") -> Iterator[str]:
    """Run a RabbitMQ of its own: node, cookie, ports, port mapper; yield its address. more: lines of rabbitmq.conf."""
    program, epmd = find("rabbitmq-server"), find("epmd")
    assert program is not None
    assert epmd is not None
    mapper, distribution = free_port(), free_port()
    config = folder / "rabbitmq.conf"
    config.write_text(
        f"listeners.tcp.1 = 127.0.0.1:{port}\nloopback_users = none\ndisk_free_limit.absolute = 1MB\n"
        f"default_user = offbeat\nlog.console = true\nlog.console.level = warning\n{more}"
    )
    password = ",".join(str(byte) for byte in PASSWORD.encode())  # as Erlang bytes: rabbitmq.conf cannot quote it
    (folder / "advanced.config").write_text(f"[{{rabbit, [{{default_pass, <<{password}>>}}]}}].\n")
    (folder / "enabled_plugins").write_text("[].\n")
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "ERL_EPMD_PORT": str(mapper),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"offbeat{port}@localhost",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_BASE": str(folder),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_CONFIG_FILE": str(config),
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
    }
    (folder / "environment.json").write_text(json.dumps(env))  # for rabbitmqctl
    with running([epmd, "-port", str(mapper), "-address", "127.0.0.1"], folder / "epmd.log", env):
        wait_for("epmd's start", lambda: answers(mapper))
        with running([program], folder / "rabbitmq.log", env):
            wait_for("RabbitMQ's start", lambda: answers(port))
            yield f"amqp://offbeat:{quote(PASSWORD, safe='')}@127.0.0.1:{port}//"


def rabbitmqctl(folder: Path, *arguments: str) -> None:
    """Tell the RabbitMQ that runs in this folder something; only one that was not `shared`."""
    env = json.loads((folder / "environment.json").read_text())
    program = str(Path(find("rabbitmq-server") or "").with_name("rabbitmqctl"))
    subprocess.run([program, "-n", env["RABBITMQ_NODENAME"], *arguments], env=env, check=True, capture_output=True)


@contextlib.contextmanager
def running(command: list[str], log: Path, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program in a process group of its own; end the whole group at the end."""
    with log.open("ab") as out:
        program = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env, start_new_session=True, cwd=log.parent
        )
    try:
        yield program
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGTERM)
        try:
            program.wait(10)
        except subprocess.TimeoutExpired:
            pass
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        program.wait()


def keep(kind: str, home: Path) -> None:
    """Run the server until no test process holds the users' lock; the main function of a keeper."""
    server: Callable[..., contextlib.AbstractContextManager[str]]
    server = {
        "redis": redis_server,
        "durable-redis": durable_redis_server,
        "rabbitmq": rabbitmq_server,
        "postgres": postgres_server,
    }[kind]
    with (
        server(home, free_port()) as address,
        (home / "start.lock").open("w") as start,
        (home / "users.lock").open("w") as users,
    ):
        draft = home / "address.new"
        draft.write_text(address)
        draft.rename(home / "address")
        while not _alone(start, users, home / "address"):
            time.sleep(0.2)  # noqa: TID251 - real servers run on real time


def _alone(start: IO[str], users: IO[str], address: Path) -> bool:
    """Return whether nobody uses the server; then nobody will, because its address is gone."""
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(start, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            address.unlink()
            fcntl.flock(users, fcntl.LOCK_UN)
            fcntl.flock(start, fcntl.LOCK_UN)
            return True
        fcntl.flock(start, fcntl.LOCK_UN)
    return False


if __name__ == "__main__":
    keep(sys.argv[1], Path(sys.argv[2]))
