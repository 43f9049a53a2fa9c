"""The proxy that other tests rely on does what it is told."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest
from tests.proxy import Proxy, Way


@pytest.fixture
def echo() -> Iterator[int]:
    """Return the port of a server that sends back what it gets."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer(peer: socket.socket) -> None:
        with closing(peer), suppress(OSError):
            while some := peer.recv(65536):
                peer.sendall(some)

    def serve() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield int(listener.getsockname()[1])
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(10)


@pytest.fixture
def proxy(echo: int) -> Iterator[Proxy]:
    with Proxy(echo) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as client:
        yield client


def ask(client: socket.socket, text: bytes) -> bytes:
    client.sendall(text)
    return client.recv(100)


def is_silent(client: socket.socket) -> bool:
    client.settimeout(0.2)
    try:
        client.recv(1)
    except TimeoutError:
        return True
    finally:
        client.settimeout(5)
    return False


def test_it_passes_bytes_both_ways_and_counts_them(proxy: Proxy, client: socket.socket) -> None:
    assert ask(client, b"hello") == b"hello"
    assert (proxy.connections, proxy.passed) == (1, {Way.REQUESTS: 5, Way.ANSWERS: 5})


def test_a_stall_swallows_and_the_connection_stays_dead_while_new_ones_live(proxy: Proxy, client: socket.socket) -> None:
    proxy.stall()
    client.sendall(b"lost")
    assert is_silent(client)
    proxy.pass_on()
    client.sendall(b"more")
    assert is_silent(client)
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as other:
        assert ask(other, b"new") == b"new"


def test_only_answers_may_be_stalled(proxy: Proxy, client: socket.socket) -> None:
    proxy.stall(Way.ANSWERS)
    client.sendall(b"heard")
    assert is_silent(client)
    assert proxy.passed == {Way.REQUESTS: 5, Way.ANSWERS: 0}


def test_what_is_frozen_blocks_the_writer_and_comes_when_it_thaws(proxy: Proxy, client: socket.socket) -> None:
    proxy.freeze()
    client.sendall(b"early")
    assert is_silent(client)
    proxy.pass_on()
    assert client.recv(100) == b"early"


def test_a_drop_resets_and_refuses_until_it_passes_on(proxy: Proxy, client: socket.socket) -> None:
    assert ask(client, b"hello") == b"hello"
    proxy.drop()
    with pytest.raises(ConnectionResetError):
        ask(client, b"gone")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", proxy.port), timeout=5)
    proxy.pass_on()
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as other:
        assert ask(other, b"back") == b"back"


def test_a_half_closed_client_reads_the_end_and_may_go_on_writing(proxy: Proxy, client: socket.socket) -> None:
    assert ask(client, b"hello") == b"hello"
    proxy.half_close()
    assert client.recv(100) == b""
    client.sendall(b"to nobody")


def test_a_cut_lets_so_many_bytes_through(proxy: Proxy, client: socket.socket) -> None:
    proxy.cut_after(3)
    client.sendall(b"hello")
    assert client.recv(100) == b"hel"
    with pytest.raises(ConnectionResetError):
        client.recv(100)
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as other:
        assert ask(other, b"whole") == b"whole"


def test_a_delay_holds_what_it_passes(proxy: Proxy, client: socket.socket) -> None:
    proxy.delay(0.5)
    client.sendall(b"slow")
    assert is_silent(client)
    assert client.recv(100) == b"slow"


def test_a_server_that_is_away_is_a_reset() -> None:
    with Proxy(1) as nobody, pytest.raises((ConnectionResetError, BrokenPipeError)):
        with socket.create_connection(("127.0.0.1", nobody.port), timeout=5) as client:
            for _ in range(3):
                assert ask(client, b"hello") != b""
