"""A worker's side of the Redis ledger: one command or script to be admitted, one script to report. Python 3.8 and redis-py 3.5.

Authority: ports/ledger_redis/ for the names of keys, the form of addresses, and the script itself.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Sequence
from urllib.parse import parse_qsl, unquote, urlsplit

from offbeat.ports.worker_values import ANSWER, CONNECT, PASSED, REFUSED_ATTEMPT, Ask, Me, NoAnswer, Row, Said

SCHEMA = 2  # the ledger's form that this file was written for
LETTERS = {"manual": "m", "backfill": "b"}
TLS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs")
YES = ("1", "true", "yes")
NO = ("0", "false", "no")


WATCHED = 2 * 86_400  # seconds after the last sign of life for which it is known who ran it
# Who runs the admitted attempt, w:<occurrence>: JSON [attempt, turn, again, owner, alive at, ended]; the rules are those of
# worker_values.judge_again, and a test compares them. ARGV: what, attempt, keep, turn, again, owner, patience, watched.
WATCH = """
local what, attempt, turn, again, owner = ARGV[1], ARGV[2], tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local function write(by, ended)
  local told = cjson.encode({attempt, turn, again, by, string.format('%.6f', now), ended})
  redis.call('SET', KEYS[2], told, 'EX', ARGV[8])
end
local first = redis.call('SET', KEYS[1], attempt, 'NX', 'EX', ARGV[3])
if not first and redis.call('GET', KEYS[1]) ~= attempt then return 'refused' end
local held, text = nil, redis.call('GET', KEYS[2])
if text then
  local told = cjson.decode(text)
  if told[1] == attempt then
    held = {turn = told[2], again = told[3], owner = told[4], at = tonumber(told[5]), ended = told[6]}
  end
end
local mine = held and held.owner == owner and held.turn == turn and held.again == again
if what == 'running' then
  if not held or (not held.ended and (held.owner == '' or mine)) then write(owner, false) end
elseif what == 'done' then
  if not held or held.turn <= turn then write(owner, true) end
elseif what == 'released' then
  turn, again = 0, 0
  if mine and not held.ended then write('', false) end
else
  if held and (again == 1 or held.again == 1) and turn <= held.turn then
    if turn < held.turn or held.ended then return 'ended' end
    if held.owner ~= '' and math.abs(now - held.at) < tonumber(ARGV[7]) then return 'alive' end
  end
  if owner ~= '' then write(owner, false) end
end
return 'passed'
"""


class WorkerRedis:
    """A client with a connection of its own."""

    def __init__(self, address: str, project: str) -> None:
        try:
            import redis
        except ImportError as error:
            raise NoAnswer("redis is not installed: pip install 'kombu[redis]'") from error
        self._errors = (redis.exceptions.RedisError, OSError)
        self._client: Any = None
        try:
            prefix, self._client = _client(address)
        except (ValueError, TypeError) as error:
            raise NoAnswer("the ledger's address is not right") from error
        except self._errors as error:
            raise NoAnswer(_words(error)) from error
        self._keys = f"{{{prefix}:{project}}}:"
        self._script: Any = None
        self._watch: Any = None
        form = self._asked(lambda: self._client.hget(self._keys + "meta", "oldest"))
        if int(form or SCHEMA) > SCHEMA:
            self.close()
            raise NoAnswer("the ledger is newer than the offbeat of this worker: upgrade offbeat")

    def admit(self, ask: Ask) -> str:
        if ask.owner or ask.again:
            return str(self._looked("admit", ask).decode())
        key = f"{self._keys}a:{ask.occurrence}"  # nobody watches it, so one plain command does
        if self._asked(lambda: self._client.set(key, ask.attempt, nx=True, ex=ask.keep)):
            return PASSED
        if self._asked(lambda: self._client.get(key)) != b"%d" % ask.attempt:
            return REFUSED_ATTEMPT
        return str(self._looked("admit", ask).decode())

    def admit_all(self, asks: Sequence[Ask]) -> list[str]:
        return [self.admit(ask) for ask in asks]

    def admit_late(self, asks: Sequence[Ask]) -> list[bool]:
        def ask_all() -> Any:
            pipe = self._client.pipeline(transaction=False)
            for ask in asks:
                key = f"{self._keys}a:{ask.occurrence}"
                pipe.set(key, ask.attempt, nx=True, ex=ask.keep).get(key)
            return pipe.execute()

        return [winner == b"%d" % ask.attempt for ask, winner in zip(asks, self._asked(ask_all)[1::2])]

    def winner(self, occurrence: str) -> int:
        return int(self._asked(lambda: self._client.get(f"{self._keys}a:{occurrence}")) or 0)

    def running(self, asks: Sequence[Ask]) -> None:
        for ask in asks:
            self._looked("running", ask)

    def ended(self, ask: Ask, done: bool) -> None:
        self._looked("done" if done else "released", ask)

    def _looked(self, what: str, ask: Ask) -> Any:
        """Run the script WATCH. A newer redis-py loads it where the server has forgotten it; so does an older one."""
        if self._watch is None:
            self._watch = self._client.register_script(WATCH)
        keys = [f"{self._keys}a:{ask.occurrence}", f"{self._keys}w:{ask.occurrence}"]
        words = [what, ask.attempt, ask.keep, ask.turn, int(ask.again), ask.owner, repr(ask.patience)]
        return self._asked(lambda: self._watch(keys=keys, args=[*words, min(ask.keep, WATCHED)]))

    def report(self, me: Me, said: Said) -> bool:
        row = [id_of(said.row), said.attempt, said.state, said.reason, said.note, None, 0, 1 if said.admitted else 0]
        return bool(self._told(me, [row])[1] == [1])

    def beat(self, me: Me) -> None:
        self._told(me, [])

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.connection_pool.disconnect()

    def _told(self, me: Me, rows: list[list[Any]]) -> Any:
        if self._script is None:
            lua = Path(__file__).with_name("ledger_redis") / "lua"
            text = (lua / "base.lua").read_text("utf-8") + (lua / "report.lua").read_text("utf-8")
            self._script = self._client.register_script(text)
        details = json.dumps([me.id, me.host, me.pid, "worker", 0, 0.0, me.version])
        return self._asked(lambda: self._script(keys=[self._keys], args=["", tag(me.id), details, json.dumps(rows)]))

    def _asked(self, question: Any) -> Any:
        if self._client is None:
            raise NoAnswer("the connection is closed")
        try:
            return question()
        except self._errors as error:
            self.close()
            raise NoAnswer(_words(error)) from error


def id_of(row: Row) -> str:
    """Return the id by which Redis knows a row.

    >>> id_of(Row(7, 1772332200, "schedule", "")), id_of(Row(7, 1772332200, "backfill", "x"))
    ('7:1772332200', '7:1772332200:b:x')
    """
    tail = "" if row.kind == "schedule" else f":{LETTERS[row.kind]}:{row.kind_id}"
    return f"{row.eno}:{row.due_at}{tail}"


def tag(runner: str) -> int:
    """Return the number by which rows know who reported."""
    return int.from_bytes(hashlib.sha1(runner.encode("utf-8", "surrogateescape")).digest()[:6], "big")


def _client(address: str) -> tuple[str, Any]:
    """Return the prefix of our keys, and a client that never tries twice by itself. Connects to nothing but Sentinels."""
    import redis

    scheme, _, rest = address.partition("://")
    scheme = scheme.lower()
    parts = urlsplit("x://" + rest)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    userinfo, _, places = parts.netloc.rpartition("@")
    username, _, password = userinfo.partition(":")
    settings: dict[str, Any] = {
        "username": options.get("username", unquote(username)) or None,
        "password": options.get("password", unquote(password)) or None,
        "socket_timeout": ANSWER,
        "socket_connect_timeout": CONNECT,
        **_never_again(),
    }
    if scheme.startswith(("rediss", "valkeys")) or options.get("tls", "").lower() in YES:
        settings.update({"ssl": True, "ssl_check_hostname": True, **{name: options[name] for name in TLS if name in options}})
        if options.get("ssl_check_hostname", "").lower() in NO or options.get("ssl_cert_reqs") == "none":
            settings["ssl_check_hostname"] = False
    prefix = options.get("prefix") or "offbeat"
    tail = parts.path.strip("/")
    if "sentinel" in scheme:
        return prefix, _master(places, unquote(tail), options, settings)
    if scheme in ("unix", "redis+unix"):
        path = unquote(places + parts.path)
        return prefix, redis.Redis(unix_socket_path=path, db=int(options.get("db") or 0), **settings)
    host, port = _host(places or "localhost", 6379)
    return prefix, redis.Redis(host=host, port=port, db=int(options.get("db") or tail or 0), **settings)


def _master(places: str, service: str, options: dict[str, str], settings: dict[str, Any]) -> Any:
    from redis.sentinel import Sentinel

    name, word = options.get("sentinel_username"), options.get("sentinel_password")
    own = {**settings, "username": name or None, "password": word or None}
    hosts = [_host(place, 26379) for place in places.split(",")]
    return Sentinel(hosts, sentinel_kwargs=own, **settings).master_for(service, db=int(options.get("db") or 0))


def _host(text: str, usual: int) -> tuple[str, int]:
    parts = urlsplit("x://" + text)
    return parts.hostname or "localhost", parts.port or usual


def _never_again() -> dict[str, Any]:
    """Return the setting by which a newer redis-py does not wait and try again: a task waits for us."""
    try:
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError:
        return {}
    return {"retry": Retry(NoBackoff(), 0)}


def _words(error: BaseException) -> str:
    """Return what went wrong, without an address: redis-py shows none with a password in it."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
