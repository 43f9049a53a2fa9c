"""A command's output: its last bytes, the secrets that are taken out of it, and who reads what comes after its end.

Never keeps a password of an address, be it in the command's environment or not, and never writes to a disk.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping

from offbeat.ports.broker_faults import SHORTEST, secrets_of_query, spellings

KEPT = 64 * 1024  # bytes of output that are kept, the last ones
MARGIN = 4096  # kept beyond KEPT until secrets are replaced, so that none is cut in two
DRAIN = 1024 * 1024  # the most that a pipe holds: what the command wrote before it ended
HIDDEN = b"***"
# Who reads what the background of a command writes after its end; the first that can be started.
READERS = (("cat",), (sys.executable, "-S", "-E", "-c", "import os\nwhile os.read(0, 65536): pass"))
# Every repetition has a limit: output may look like an address for 64 KiB.
_USERINFO = re.compile(rb"(://[^\s/?#@:'\"]{0,256}:)[^\s'\"]{1,512}@")
_QUERY = re.compile(rb"([?&][\w.-]{0,40}(?:password|passwd|secret|token|access_key)[\w.-]{0,40}=)[^&\s'\"]+", re.IGNORECASE)
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_FIRST_AT = re.compile(r"://[^\s/:@]*:([^\s/@]+)@")


class Secrets:
    """The passwords of all addresses in an environment, in every spelling.

    Those of less than four characters are words that are everywhere; they are hidden where they stand in an address.
    """

    def __init__(self, env: Mapping[str, str]) -> None:
        hidden: dict[bytes, bytes] = {}
        for value in env.values():
            if "://" not in value:
                continue
            for before, secret, after in _secrets_in(value):
                for spelled in spellings(secret):
                    if len(spelled) >= SHORTEST:
                        hidden[_octets(spelled)] = HIDDEN
                    hidden[_octets(before + spelled + after)] = _octets(before) + HIDDEN + _octets(after)
        self._hidden = sorted(hidden.items(), key=lambda pair: len(pair[0]), reverse=True)

    def hide(self, said: bytes) -> bytes:
        """Return what was said without these passwords, and without the password of any other address."""
        for secret, instead in self._hidden:
            said = said.replace(secret, instead)
        return _QUERY.sub(rb"\1" + HIDDEN, _USERINFO.sub(rb"\1" + HIDDEN + b"@", said))


def _secrets_in(value: str) -> Iterator[tuple[str, str, str]]:
    """Yield (what stands before it, secret, what stands behind it) of every way to read the addresses in a text."""
    starts = [match.end() for match in _ADDRESS.finditer(value)]
    ends = [match.start() for match in _ADDRESS.finditer(value)][1:]
    rests = [value.partition("://")[2], *(value[start:end] for start, end in zip(starts, [*ends, len(value)], strict=True))]
    for rest in {part for whole in rests for part in (whole, *whole.split(";"))}:
        users, _, _ = rest.rpartition("@")
        password = users.partition(":")[2]
        for secret in {password, *(piece for piece in password.split("@") if len(piece) >= SHORTEST)} - {""}:
            yield ":", secret, "@"
        for name, secret in secrets_of_query(rest):
            for text in {secret, re.split(r"[\s'\"#;,}]", secret, maxsplit=1)[0]} - {""}:
                yield f"{name}=", text, ""
    for match in _FIRST_AT.finditer(value):
        yield ":", match[1], "@"


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


class Tail:
    """The last bytes of a stream, in bounded memory."""

    def __init__(self, limit: int = KEPT + MARGIN) -> None:
        self._limit = limit
        self._kept = bytearray()
        self.dropped = 0

    def add(self, chunk: bytes) -> None:
        self._kept += chunk
        if len(self._kept) > 2 * self._limit:
            self._cut()

    def _cut(self) -> None:
        if (over := len(self._kept) - self._limit) > 0:
            self.dropped += over
            del self._kept[:over]

    def text(self, secrets: Secrets | None = None) -> bytes:
        """Return the last KEPT bytes, without any secret."""
        self._cut()
        whole = bytes(self._kept) if secrets is None else secrets.hide(bytes(self._kept))
        return whole[-KEPT:] if len(whole) > KEPT else whole


def drain(read: int, tail: Tail) -> bool:
    """Add what the pipe holds now, waiting for nobody. Return whether somebody still has its other end."""
    left = DRAIN
    try:
        while left > 0:
            if not (chunk := os.read(read, 65536)):
                return False
            tail.add(chunk)
            left -= len(chunk)
    except BlockingIOError:
        pass
    return True


def hand_over(read: int) -> None:
    """Leave the pipe to a reader that outlives us and ends with the last writer, so that writing into it kills nobody."""
    os.set_blocking(read, True)
    for words in READERS:
        try:
            os.posix_spawnp(
                words[0],
                words,
                os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, read, 0),
                    (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
                ],
                setpgroup=0,
            )
            return
        except OSError:
            continue
