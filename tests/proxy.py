"""A TCP proxy between a client and a server that misbehaves on order: stalls, freezes, drops, half-closes, delays, cuts.

    with Proxy(server_port) as proxy:
        connect_to(proxy.port)
        proxy.stall()

What is ordered holds for connections that are open as well as for new ones, until another order; `pass_on` ends it. A
connection that has lost bytes never passes any again: to its client it is dead, as a real one would be.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from enum import StrEnum
from types import TracebackType

RESET = struct.pack("ii", 1, 0)  # SO_LINGER of no time: close() sends RST


class Way(StrEnum):
    """Which way bytes go."""

    REQUESTS = "requests"  # from client to server
    ANSWERS = "answers"  # from server to client


BOTH = frozenset(Way)


class Proxy:
    """Listens on a port of 127.0.0.1 and passes bytes to `server_port`, and back, as it is told to. For any thread.

    port: where clients connect, the same for the whole life of the proxy. connections: how many have been accepted.
    passed: how many bytes went through, by way.
    """

    def __init__(self, server_port: int) -> None:
        self.connections = 0
        self.passed = dict.fromkeys(Way, 0)
        self._server_port = server_port
        self._listener: socket.socket | None = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thawed = threading.Event()
        self._thawed.set()
        self._swallowed: frozenset[Way] = frozenset()
        self._seconds = 0.0
        self._left: dict[Way, int] = {}
        self._links: list[_Link] = []
        self._threads: list[threading.Thread] = []
        self._start(self._accept, self._listener)

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def pass_on(self) -> None:
        """Pass everything again, and listen again. Connections that have lost bytes stay dead."""
        with self._lock:
            self._swallowed, self._seconds, self._left = frozenset(), 0.0, {}
            if self._listener is None:
                self._listener = socket.create_server(("127.0.0.1", self.port))
                self._start(self._accept, self._listener)
        self._thawed.set()

    def stall(self, *ways: Way) -> None:
        """Take bytes and throw them away, with no word to anybody: half-open. Only those of `ways`; without any, of both."""
        self._swallowed = frozenset(ways) or BOTH

    def freeze(self) -> None:
        """Read nothing any more, so that whoever writes much is blocked in the end. Nothing is lost: `pass_on` passes it."""
        self._thawed.clear()

    def drop(self) -> None:
        """Reset every connection, and refuse new ones."""
        with self._lock:
            listener, self._listener = self._listener, None
            links = list(self._links)
        if listener is not None:
            _end(listener)
        for link in links:
            link.reset()

    def reset(self) -> None:
        """Reset every connection that is open; new ones are welcome."""
        with self._lock:
            links = list(self._links)
        for link in links:
            link.reset()

    def half_close(self) -> None:
        """Tell clients that the server says nothing more, and go on taking what they send, for nobody. New ones are welcome."""
        with self._lock:
            links = list(self._links)
        for link in links:
            link.dead = True
            with contextlib.suppress(OSError):
                link.client.shutdown(socket.SHUT_WR)

    def delay(self, seconds: float) -> None:
        """Hold each piece for so long before it is passed, either way."""
        self._seconds = seconds

    def cut_after(self, count: int, way: Way = Way.ANSWERS) -> None:
        """Reset the connection that passes the byte number `count` from now on this way, after that byte; 0: before any."""
        with self._lock:
            self._left[way] = count

    def close(self) -> None:
        """End every connection and every thread."""
        self._closing.set()
        self.drop()
        self._thawed.set()
        for thread in self._threads:
            thread.join(10)

    def _start(self, work: object, *about: object) -> None:
        thread = threading.Thread(target=work, args=about, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while not self._closing.is_set():
                client = listener.accept()[0]
                self.connections += 1
                self._link(client)

    def _link(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._server_port), timeout=10)
        except OSError:
            _reset(client)
            return
        server.settimeout(None)
        link = _Link(client, server)
        with self._lock:
            self._links.append(link)
            gone = self._listener is None
        if gone:
            link.reset()
            return
        for way in Way:
            self._start(self._pump, link, way)

    def _pump(self, link: _Link, way: Way) -> None:
        with contextlib.suppress(OSError):
            for some in self._pieces(link, way):
                allowed = self._allow(len(some), way)
                self.passed[way] += allowed
                link.sink(way).sendall(some[:allowed])
                if allowed < len(some) or self._left.get(way) == 0:
                    self._left.pop(way, None)
                    link.reset()
            if not link.dead:
                link.sink(way).shutdown(socket.SHUT_WR)

    def _pieces(self, link: _Link, way: Way) -> Iterator[bytes]:
        """Yield what is to be passed; what is swallowed makes the connection dead."""
        while True:
            self._thawed.wait()
            some = link.source(way).recv(65536)
            self._thawed.wait()
            if not some:
                return
            if self._seconds:
                self._closing.wait(self._seconds)
            link.dead = link.dead or way in self._swallowed
            if not link.dead:
                yield some

    def _allow(self, count: int, way: Way) -> int:
        with self._lock:
            if way not in self._left:
                return count
            allowed = min(count, self._left[way])
            self._left[way] -= allowed
            return allowed


class _Link:
    """One client and its connection to the server. dead: bytes were lost, so none may follow."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.dead = False

    def source(self, way: Way) -> socket.socket:
        return self.client if way is Way.REQUESTS else self.server

    def sink(self, way: Way) -> socket.socket:
        return self.server if way is Way.REQUESTS else self.client

    def reset(self) -> None:
        self.dead = True
        for each in (self.client, self.server):
            _reset(each)


def _reset(sock: socket.socket) -> None:
    """Close with RST, also while another thread waits for it."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RD)  # wakes a thread in recv; sends nothing
    sock.close()


def _end(listener: socket.socket) -> None:
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
    listener.close()
