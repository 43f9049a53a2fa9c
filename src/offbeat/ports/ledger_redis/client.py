"""The one seam to a Redis server: run a script, say a command. The only file that knows the package redis.

One connection, opened when it is needed. Whatever breaks it is noticed within TIMEOUT; what is said once more on a new
connection is safe, because every operation of a ledger may be repeated. Sentinel is asked anew for each connection.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

from offbeat.errors import LedgerError
from offbeat.ports.ledger_redis import problems
from offbeat.ports.ledger_redis.address import Address

FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
TIMEOUT = 4.5  # seconds for a connection, and for a reply


class Client(Protocol):
    """What the ledger asks of a client."""

    connections: int  # how many were opened so far

    def run(self, text: str, keys: Sequence[str], args: Sequence[str | bytes | int], *, again: bool = True) -> Any:
        """Return what the script answers: numbers, bytes, lists. Raises: LedgerError.

        again: whether it may be said once more on a new connection, which may lead to another server.
        """

    def say(self, *words: str | bytes | int) -> Any:
        """Return the reply to one command. Raises: LedgerError."""

    def close(self) -> None:
        """Release the connection; the next call opens another."""


class RedisClient:
    """A client on the package redis."""

    def __init__(self, address: Address, *, timeout: float = TIMEOUT) -> None:
        self._address = address
        self._timeout = timeout
        self._line: Any = None
        self._digests: dict[str, str] = {}
        self.connections = 0

    def run(self, text: str, keys: Sequence[str], args: Sequence[str | bytes | int], *, again: bool = True) -> Any:
        digest = self._digests.get(text)
        if digest is None:
            digest = self._digests[text] = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        try:
            return self._exchange(("EVALSHA", digest, len(keys), *keys, *args), again=again)
        except Exception as error:
            if not str(error).startswith(("NOSCRIPT", "No matching script")):
                raise self._told(error) from error
        try:
            return self._exchange(("EVAL", text, len(keys), *keys, *args), again=again)
        except Exception as error:  # each kind becomes one Problem
            raise self._told(error) from error

    def say(self, *words: str | bytes | int) -> Any:
        try:
            return self._exchange(words)
        except Exception as error:
            raise self._told(error) from error

    def close(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            with suppress(Exception):
                line.disconnect()

    def _exchange(self, words: Sequence[str | bytes | int], *, again: bool = True) -> Any:
        """Say it; once more on a new connection when the one that was open has been lost, or led to a server of old."""
        if self._line is not None:
            redis = _package(self._address)
            try:
                return self._once(words)
            except redis.exceptions.TimeoutError:
                raise  # waited long enough already
            except (redis.exceptions.RedisError, OSError):
                if not again or self._line is not None:
                    raise
        self._open()
        return self._once(words)

    def _once(self, words: Sequence[str | bytes | int]) -> Any:
        redis = _package(self._address)
        try:
            self._line.send_packed_command([packed(words)], check_health=False)
            return self._line.read_response()
        except redis.exceptions.ResponseError as error:
            if "READONLY" in str(error) or isinstance(error, redis.exceptions.ReadOnlyError):
                self.close()  # it was the master once; the next connection may find the new one
            raise
        except BaseException:
            self.close()  # a reply that was not read must never be taken for the next one
            raise

    def _open(self) -> None:
        redis = _package(self._address)
        host, port = self._address.hosts[0] if self._address.hosts else ("", 0)
        if self._address.service:
            host, port = self._master(redis)
        line = self._connection(redis, host, port)
        line.connect()
        self._line = line
        self.connections += 1

    def _connection(self, redis: Any, host: str, port: int, *, sentinel: bool = False) -> Any:
        address = self._address
        kind, more = redis.connection.Connection, {"host": host, "port": port, "socket_keepalive": True}
        if address.path:
            kind, more = redis.connection.UnixDomainSocketConnection, {"path": address.path}
        elif address.secure:
            kind = redis.connection.SSLConnection
            more |= {"ssl_cert_reqs": "required", "ssl_check_hostname": True, **_tls(address)}
        if not address.path:
            more["socket_connect_timeout"] = self._timeout
        name, word = (
            (address.sentinel_username, address.sentinel_password) if sentinel else (address.username, address.password)
        )
        return kind(
            db=0 if sentinel else address.database,
            username=name or None,
            password=word or None,
            socket_timeout=self._timeout,
            protocol=2,
            retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0),
            **more,
        )

    def _master(self, redis: Any) -> tuple[str, int]:
        """Ask the Sentinels one after the other. Raises: what the last one that failed said."""
        last: Exception | None = None
        for host, port in self._address.hosts:
            line = self._connection(redis, host, port, sentinel=True)
            try:
                line.connect()
                line.send_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._address.service)
                found = line.read_response()
                if found:
                    return found[0].decode(), int(found[1])
                last = redis.exceptions.ResponseError("NOMASTER it is not known there")
            except redis.exceptions.RedisError as error:
                last = error
            finally:
                with suppress(Exception):
                    line.disconnect()
        assert last is not None
        raise last

    def _told(self, error: Exception) -> Exception:
        """Return the error as an operator can read it; anything that is no error of the server or the network as it is."""
        redis = _package(self._address)
        where, known = self._address.where, redis.exceptions
        secrets = (self._address.password, self._address.sentinel_password)
        if isinstance(error, LedgerError):
            return error
        if isinstance(error, known.AuthenticationError):
            return problems.refuse(where, problems.DENIED, problems.clean(str(error), secrets))
        words = problems.clean(str(error), secrets)
        if isinstance(error, known.BusyLoadingError):
            return problems.refuse(where, problems.LOADING)
        if isinstance(error, known.TimeoutError) or (isinstance(error, OSError) and "timed out" in words):
            return problems.refuse(where, problems.SILENT, f"no answer within {self._timeout:g} s")
        if isinstance(error, (known.ConnectionError, OSError)):
            tls = "certificate" in words.lower() or "ssl" in words.lower()
            return problems.refuse(where, problems.TLS if tls else problems.UNREACHABLE, words)
        if isinstance(error, known.ResponseError):
            return problems.of_reply(where, f"{_word(error, known)}{error}", secrets)
        return error


def packed(words: Sequence[str | bytes | int]) -> bytes:
    """Return a command as the server reads it (RESP 2): with a thousand words the package would take most of the time."""
    told = [word if isinstance(word, bytes) else str(word).encode("utf-8", "surrogateescape") for word in words]
    return b"*%d\r\n%b" % (len(told), b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in told]))


def _word(error: Exception, known: Any) -> str:
    """Return the first word of an error reply where the package cuts it off."""
    words = {
        "NoPermissionError": "NOPERM ",
        "ReadOnlyError": "READONLY ",
        "OutOfMemoryError": "OOM ",
        "NoAuthError": "NOAUTH ",
    }
    return words.get(type(error).__name__, "")


def _tls(address: Address) -> dict[str, Any]:
    options: dict[str, Any] = dict(address.tls)
    for name in FILES:
        if name in options and not os.access(options[name], os.R_OK):
            raise problems.refuse(address.where, problems.TLS, f"{name}: {options[name]} cannot be read")
    if "ssl_check_hostname" in options:
        options["ssl_check_hostname"] = options["ssl_check_hostname"].lower() in ("1", "true", "yes")
    if options.get("ssl_cert_reqs") == "none":
        options["ssl_check_hostname"] = False
    return options


def _package(address: Address) -> Any:
    """Return the package redis, loaded when it is needed."""
    try:
        import redis
        import redis.backoff
        import redis.connection
        import redis.retry
    except ImportError as error:
        raise problems.refuse(address.where, problems.MISSING) from error
    return redis
