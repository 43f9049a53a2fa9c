"""One scene: servers, three runners, two workers, 200 entries; harm for some seconds; then the verdict."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.crowd import Actor, runner, worker
from tests.chaos.nemesis import Nemesis
from tests.chaos.plant import Plant
from tests.chaos.verdict import Verdict, judge, read_records
from tests.proxy import Proxy
from tests.servers import free_port, postgres_home, postgres_server, rabbitmq_server, redis_server

from offbeat.ports.clock import SystemClock
from offbeat.ports.ledger_open import open_ledger

PERIODS = {f"e{n:03d}": 1 + n % 10 for n in range(200)}  # seconds
RUNNERS, WORKERS = 3, 2
SETTLE = 60.0  # seconds that what was due before the end may take at most: a lease, back-off, the guard's pause
# What was acknowledged outlives kill -9 (with everysec Redis holds writes back while a sync runs), and the file names every
# message that was ever pushed.
AOF = ("--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0")
STORES = ("redis", "postgres", "sqlite")
BROKERS = ("redis", "rabbitmq")
HARMS = ("all", "ledger")


@dataclass(slots=True, kw_only=True)
class Scene:
    """What is on stage. ledger, broker: the addresses that workers use; runners reach the broker through the proxy."""

    folder: Path
    plants: list[Plant]
    proxies: list[Proxy]
    ledger: str
    broker: str
    runners: list[Actor]
    workers: list[Actor]

    @property
    def records(self) -> Path:
        """Return the file that the workers write."""
        return self.folder / "records.jsonl"


@contextmanager
def set_up(folder: Path, store: str, broker: str, *, on_error: str = "refuse") -> Iterator[Scene]:
    """Start everything; end it at the end of the block. store, broker: of STORES and BROKERS. on_error: the guard's policy."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        plants = {name: _plant(name, folder / name) for name in sorted({store, broker} - {"sqlite"})}
        for plant in plants.values():
            stack.callback(plant.stop)
            plant.start()
        proxy = stack.enter_context(Proxy(port_of(plants[broker].address)))
        through = plants[broker].address.replace(f":{port_of(plants[broker].address)}", f":{proxy.port}")
        ledgers = _ledgers(store, broker, folder, plants, through)
        environ = _environ(folder)
        at_runner = {**environ, "OFFBEAT_LEDGER": ledgers[0], "OFFBEAT_BROKER": through}
        at_worker = {
            **environ,
            "OFFBEAT_LEDGER": ledgers[1],
            "CHAOS_BROKER": plants[broker].address,
            "CHAOS_ON_ERROR": on_error,
            "CHAOS_ENTRIES": str(len(PERIODS)),
            "CHAOS_RECORDS": str(folder / "records.jsonl"),
        }
        tree = _lay_out(folder)
        scene = Scene(
            folder=folder,
            plants=list(plants.values()),
            proxies=[proxy],
            ledger=ledgers[1],
            broker=plants[broker].address,
            runners=[runner(n, environ=at_runner, tree=tree, folder=folder) for n in range(RUNNERS)],
            workers=[worker(n, environ=at_worker, folder=folder) for n in range(WORKERS)],
        )
        for actor in [*scene.runners, *scene.workers]:
            stack.callback(actor.kill)
            actor.start()
        yield scene


def play(scene: Scene, *, seconds: float, seed: int, say: Callable[[str], None], harm: str = "all") -> tuple[Verdict, Nemesis]:
    """Wait until all is running, do harm, wait until all is settled; return the verdict and what was done. harm: of HARMS."""
    plants = [plant for plant in scene.plants if harm == "all" or scene.ledger.startswith(plant.address)]
    proxies = scene.proxies if harm == "all" else []
    nemesis = Nemesis(runners=scene.runners, workers=scene.workers, plants=plants, proxies=proxies, seed=seed)
    nemesis.only_plants = harm != "all"
    _wait_for_first(scene)
    after = int(time.time()) + 1
    nemesis.rage(seconds)
    until = int(time.time())
    for when, what in nemesis.log:
        say(f"{when:7.1f} s  {what}")
    verdict = _verdict(scene, (after, until))
    began = time.monotonic()
    while (verdict.lost or verdict.unknown) and time.monotonic() - began < SETTLE:
        time.sleep(2)
        for actor in scene.workers:
            actor.start()
        verdict = _verdict(scene, (after, until))
    say(f"settled {time.monotonic() - began:.0f} s after the last fault")
    for actor in scene.runners:
        status = actor.end()
        assert status == 0, f"{actor.name} ended with status {status}:\n{actor.log.read_text()[-3000:]}"
    return _verdict(scene, (after, until)), nemesis


def port_of(address: str) -> int:
    """Return the port of a server's address."""
    from urllib.parse import urlsplit

    port = urlsplit(address).port
    assert port is not None, address
    return port


def _plant(name: str, folder: Path) -> Plant:
    folder.mkdir(mode=0o755)
    port = free_port()
    if name == "redis":
        flags = (*AOF, "--pidfile", str(folder / "pid"))
        return Plant(name=name, make=lambda: redis_server(folder, port, "", flags), pid_file=folder / "pid")
    if name == "rabbitmq":
        return Plant(name=name, make=lambda: rabbitmq_server(folder, port), pid_file=folder / "pid")
    data = postgres_home(folder) / "data"
    return Plant(name=name, make=lambda: postgres_server(folder, port), pid_file=data / "postmaster.pid")


def _ledgers(store: str, broker: str, folder: Path, plants: dict[str, Plant], through: str) -> tuple[str, str]:
    """Return the ledger's address for runners, and for workers."""
    if store == "sqlite":
        return (f"sqlite:///{folder / 'ledger.sqlite3'}",) * 2
    address = plants[store].address
    if store == "redis":
        return (f"{through if broker == store else address}/1", f"{address}/1")
    return address, address


def _environ(folder: Path) -> dict[str, str]:
    home = Path(__file__).resolve().parents[2]
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    paths = [str(Path(__file__).parent), str(home), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**kept, "HOME": str(folder), "PYTHONPATH": os.pathsep.join(paths), "OFFBEAT_PROJECT": "chaos"}


def _lay_out(folder: Path) -> Path:
    tree = folder / "cron"
    tree.mkdir()
    entries = "".join(f'[entries.{name}]\nevery = "{seconds}s"\n' for name, seconds in PERIODS.items())
    text = f'project = "chaos"\ntask_prefix = "chaos."\n[defaults]\ncatch_up = "all"\n{entries}'
    (tree / "schedule.toml").write_text(text)
    return tree


def _wait_for_first(scene: Scene) -> None:
    from tests.servers import wait_for

    try:
        wait_for("the first start of a task", scene.records.exists, 60)
    except AssertionError as error:
        logs = "\n".join(f"== {actor.log.name}\n{actor.log.read_text()[-2000:]}" for actor in [*scene.runners, *scene.workers])
        raise AssertionError(f"{error}\n{logs}") from None
    time.sleep(2)


def _verdict(scene: Scene, span: tuple[int, int]) -> Verdict:
    ledger = open_ledger(scene.ledger, clock=SystemClock(), project="chaos", owner="", read_only=True)
    with closing(ledger):
        rows = ledger.history(limit=1_000_000, since=span[0])
    left = _left_in(scene.broker) if scene.broker.startswith("redis") else b""
    written = _written_by(scene.folder / "redis") if scene.broker.startswith("redis") else b""

    def pushed(occurrence: str) -> bool:
        message = f'"correlation_id": "{occurrence}"'.encode()  # its id alone is in the ledger, too
        return message in written and message not in left

    return judge(PERIODS, span, rows=rows, records=read_records(scene.records), pushed=pushed)


def _left_in(broker: str) -> bytes:
    """Return what waits in the queue, or is with a worker, as one text."""
    import redis

    with redis.Redis.from_url(broker) as client:
        return b"\n".join([*client.lrange("celery", 0, -1), *client.hvals("unacked")])


def _written_by(folder: Path) -> bytes:
    """Return the server's log of its writes."""
    return b"".join(file.read_bytes() for file in sorted(folder.glob("appendonlydir/*.aof")))


def report(store: str, broker: str, verdict: Verdict) -> str:
    """Return the line that people read."""
    return f"ledger {store}, broker {broker}: {verdict}"


def explain(verdict: Verdict, scene: Scene) -> str:
    """Return what to look at when something is wrong."""
    some = {"lost": verdict.lost, "unknown": verdict.unknown, "starts": verdict.repeated_starts, "early": verdict.early}
    return json.dumps({name: list(found[:20]) for name, found in some.items()}, indent=1) + f"\nlogs: {scene.folder}\n"


def write(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
