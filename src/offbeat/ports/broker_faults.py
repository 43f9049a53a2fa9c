"""What goes wrong with a broker, in words for the ledger (Delivery) and for people (Problem).

Never lets an address, a user name or a password through: `Words` is the only way from a library's exception to text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final
from urllib.parse import quote, unquote

from offbeat.core.passwords import shown_address
from offbeat.errors import Problem
from offbeat.ports.broker import Delivery

DOWN: Final = "B201"  # no connection, or it broke, or no answer in time
LOGIN: Final = "B202"  # the server refuses user, password or their rights
ADDRESS: Final = "B203"  # the address cannot be understood, or names a database or virtual host that is not there
UNROUTABLE: Final = "B204"  # no such queue or exchange
REFUSED: Final = "B205"  # this message cannot be serialized, or the broker refuses it
PACKAGE: Final = "B206"  # the Python package for this kind of broker is not installed
UNTRUSTED: Final = "B221"  # the server does not prove who it is
BLOCKED: Final = "B220"  # the broker is there, and takes nothing for the time being

AWS_LOGIN: Final = {  # codes of AWS for who may not
    "AccessDenied", "AccessDeniedException", "AuthFailure", "ExpiredToken", "ExpiredTokenException", "IncompleteSignature",
    "InvalidAccessKeyId", "InvalidClientTokenId", "InvalidSecurity", "KmsAccessDenied", "MissingAuthenticationToken",
    "SignatureDoesNotMatch", "UnrecognizedClientException",
}  # fmt: skip

LOGIN_KINDS: Final = {
    "AuthenticationError", "AuthorizationError", "NoPermissionError", "AccessRefused", "NoCredentialsError",
    "PartialCredentialsError", "AccessDeniedQueueException",
}  # fmt: skip
LONGEST = 300  # characters of a library's words that are kept
SHORTEST = 4  # a shorter secret is part of everyday words: it counts only where it stands as a word of its own
SHORT_WORD = re.compile(rf"(?<!\w)\w{{1,{SHORTEST - 1}}}(?!\w)")
SECRET_NAMES = ("password", "passwd", "secret", "token", "access_key")


def redact(url: str) -> str:
    """Return a broker's address as it may be shown: scheme, host, port, path; never a user, a password or a query.

    >>> redact("redis://:s3cret@cache.example:6379/0?ssl_cert_reqs=none")
    'redis://***@cache.example:6379/0'
    """
    return shown_address(url).partition("?")[0]


class Words:
    """Turns an exception into one line of text without any secret of this broker, nor its user's name as a word.

    Where a secret of less than SHORTEST characters stands as a word of its own, all words so short are hidden: one that is
    hidden alone, of a sentence that everybody knows, would be told by its place.
    """

    def __init__(self, url: str, *settings: object) -> None:
        found = {text for secret in (*_of_url(url), *_of_settings(settings)) for text in spellings(secret)}
        self._secrets = sorted((text for text in found if len(text) >= SHORTEST), key=len, reverse=True)
        short = {text for text in found if len(text) < SHORTEST}
        self._short = _as_words(text for text in short if _is_word(text))
        self._marks = [text for text in short if not _is_word(text)]
        self._users = _as_words(text for user in _users_of(url) for text in spellings(user))

    def of(self, error: BaseException, otherwise: str) -> str:
        """Return what `error` says; `otherwise`, which must be our own words, where a secret of a few marks may be in it."""
        text = " ".join(str(error).split()) or type(error).__name__
        for secret in self._secrets:
            text = text.replace(secret, "***")
        if any(mark in text for mark in self._marks):
            return otherwise
        if self._short and self._short.search(text):
            text = SHORT_WORD.sub("***", self._short.sub("***", text))
        if self._users:
            text = self._users.sub("***", text)
        return text[:LONGEST]


def _is_word(text: str) -> bool:
    """Return whether a text begins and ends as a word does, so that it can be told where it is part of another one."""
    return bool(re.fullmatch(r"\w(.*\w)?", text, re.DOTALL))


def _as_words(texts: Iterable[str]) -> re.Pattern[str] | None:
    """Return what finds each of these where it is not part of another word, None without any."""
    longest_first = sorted(set(texts), key=len, reverse=True)
    words = [
        (r"(?<!\w)" if _is_word(text[0]) else "") + re.escape(text) + (r"(?!\w)" if _is_word(text[-1]) else "")
        for text in longest_first
    ]
    return re.compile("|".join(words)) if words else None


def _of_url(url: str) -> Iterator[str]:
    for part, users in _logins(url):
        user, colon, password = users.partition(":")
        yield from (part, users, password) if colon else (part, user)  # alone, it may be a password in the wrong place
        if "?" in users or "#" in users:  # what kombu takes for options is part of a password then
            yield from users.replace("?", "&").replace("#", "&").replace("=", "&").split("&")
    for part in (url, *url.split(";")):
        for _, value in secrets_of_query(part):
            yield value


def _users_of(url: str) -> Iterator[str]:
    for _, users in _logins(url):
        user, colon, _ = users.partition(":")
        if colon and user:
            yield user


def _logins(url: str) -> Iterator[tuple[str, str]]:
    """Yield (address, who logs in there) of an address, and of each in a list of them."""
    for part in (url, *url.split(";")):
        users, at, _ = part.partition("://")[2].rpartition("@")
        if at:
            yield part, users


def secrets_of_query(url: str) -> Iterator[tuple[str, str]]:
    """Yield (name, value) of what an address has behind its "?" that is called a secret."""
    for pair in url.partition("?")[2].split("&"):
        name, _, value = pair.partition("=")
        if any(secret in name.lower() for secret in SECRET_NAMES):
            yield name, value


def _of_settings(settings: object, name: str = "") -> Iterator[str]:
    if isinstance(settings, Mapping):
        for key, value in settings.items():
            yield from _of_settings(value, str(key).lower())
    elif isinstance(settings, (list, tuple)):
        for value in settings:
            yield from _of_settings(value, name)
    elif isinstance(settings, str) and any(secret in name for secret in SECRET_NAMES):
        yield settings


def spellings(secret: str) -> Iterator[str]:
    """Yield how a secret may be written: as it is, decoded, encoded for an address, as Python prints it."""
    for text in (secret, unquote(secret)):
        octets = text.encode("utf-8", "surrogateescape")
        for spelled in (text, quote(octets, safe=""), quote(octets), repr(text)[1:-1], repr(octets)[2:-1]):
            if spelled:
                yield spelled


def down(words: str) -> Delivery:
    """Return the answer for a broker that is out of reach."""
    return Delivery(error=words, down=True, code=DOWN)


def blocked(words: str) -> Delivery:
    """Return the answer for a broker that has said that it takes nothing: RabbitMQ's alarms of memory and disk."""
    return Delivery(error=f"the broker takes nothing for the time being: {words}", down=True, code=BLOCKED, blocked=True)


def out_of_time() -> Delivery:
    """Return the answer for a message that was not tried."""
    return Delivery(error="not tried: out of time", tried=False, code=DOWN)


def not_one_push(exchange: str) -> Delivery:
    """Return the answer for a message that `prepare` leaves to `publish`: more than one queue gets it."""
    return Delivery(error=f'exchange "{exchange}" has more than one queue for it: to be published', tried=False)


def unroutable(exchange: str, routing_key: str, why: str = "the broker returned the message") -> Delivery:
    """Return the answer for a message that no queue would have got. why: who says so."""
    place = f'exchange "{exchange}" with routing key "{routing_key}"' if exchange else f'"{routing_key}"'
    return Delivery(error=f"no queue for {place}: {why}", unroutable=True, code=UNROUTABLE)


def refused(words: str, *, retry: bool) -> Delivery:
    """Return the answer for one message that was not taken, for a reason of its own."""
    return Delivery(error=words, retry=retry, code=REFUSED)


def connecting(error: BaseException, words: Words) -> Delivery:
    """Return what an exception says that was raised while connecting, or by a connection that broke."""
    if isinstance(error, ImportError) or type(error).__name__ == "VersionMismatch":
        return Delivery(error=words.of(error, "a Python package is missing"), down=True, code=PACKAGE)
    if "SSLError" in {kind.__name__ for kind in type(error).__mro__} or "CERTIFICATE_VERIFY_FAILED" in str(error):
        return Delivery(error=words.of(error, "TLS failed"), down=True, code=UNTRUSTED)  # not the address: it is a ValueError
    if _is_login(error):
        return Delivery(error=words.of(error, "the broker refused user or password"), down=True, code=LOGIN)
    if _is_address(error):
        return Delivery(error=words.of(error, "the broker's address is not right"), down=True, code=ADDRESS)
    if isinstance(error, TimeoutError) and not str(error):
        return down("the broker did not answer in time")
    return down(words.of(error, "the broker is out of reach"))


def aws_code(error: BaseException) -> str:
    """Return the code of an error that AWS answered with, "" for any other exception."""
    response = getattr(error, "response", None)
    found = response.get("Error", {}) if isinstance(response, Mapping) else {}
    return str(found.get("Code", "")).rpartition(".")[2]


def _is_login(error: BaseException) -> bool:
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if kinds & LOGIN_KINDS or aws_code(error) in AWS_LOGIN:
        return True
    code = getattr(error, "reply_code", None) or getattr(error, "code", None)
    return code == 403 or (code == 530 and "refused" in str(error)) or str(error).startswith(("NOAUTH", "WRONGPASS"))


def _is_address(error: BaseException) -> bool:
    code = getattr(error, "reply_code", None) or getattr(error, "code", None)
    return isinstance(error, (ValueError, KeyError, TypeError)) or code == 530 or "DB index" in str(error)


_EXPLAINED: Mapping[str, tuple[str, str, str]] = {
    DOWN: (
        "the broker is out of reach",
        "nothing is lost: what is due waits in the ledger, and goes out once the broker is back, within its grace",
        "start the broker, or set OFFBEAT_BROKER to where it listens",
    ),
    LOGIN: (
        "the broker refuses user or password",
        "nothing can be sent until it lets offbeat in; what is due waits in the ledger",
        "set OFFBEAT_BROKER to the address with user and password that the workers use; "
        "write @ : / ? # % in a password as %40 %3A %2F %3F %23 %25",
    ),
    ADDRESS: (
        "the broker's address is not right",
        "nothing can be sent until it is; what is due waits in the ledger",
        "set OFFBEAT_BROKER to an address such as redis://127.0.0.1:6379/0 or amqp://user:password@127.0.0.1:5672//",
    ),
    UNTRUSTED: (
        "the broker cannot prove who it is",
        "nothing is sent to a server that cannot; what is due waits in the ledger",
        'name who signed its certificate in schedule.toml: [broker] ssl = { ca_certs = "ca.pem" }, and call it as that does',
    ),
    UNROUTABLE: (
        "no queue would get the message",
        "this entry's messages wait until their grace ends; the others are sent",
        "start a worker that listens there (celery worker -Q NAME), or mend queue, [routes] or exchange in schedule.toml",
    ),
    REFUSED: (
        "the message was not taken",
        "this message is not sent; the others are",
        "mend args, kwargs, headers or serializer of the entry in schedule.toml, or what the broker complains of",
    ),
    BLOCKED: (
        "the broker takes no messages",
        "nothing is lost: what is due waits in the ledger, and goes out once the broker takes messages again, within its grace",
        "give the broker memory or disk, or start workers that empty its queues (rabbitmqctl alarms says what it lacks)",
    ),
    PACKAGE: (
        "the Python package for this kind of broker is missing",
        "nothing can be sent until it is installed; what is due waits in the ledger",
        "pip install 'kombu[redis]'",
    ),
}


def broker_problem(delivery: Delivery, where: str, entry: str = "") -> Problem:
    """Return what to tell a person of a delivery that was not taken.

    where: the broker's address as `redact` gives it. entry: the entry that it stops, "" when it stops all.
    """
    head, why, fix = _EXPLAINED.get(delivery.code, _EXPLAINED[DOWN])
    scheme = where.partition("://")[0].removeprefix("broker ")
    if delivery.code == PACKAGE and scheme.lower() == "sqs":
        fix = "pip install 'kombu[sqs]'"
    elif delivery.code == PACKAGE and not scheme.startswith(("redis", "sentinel", "valkey")):
        fix = f"install what kombu needs for {scheme}://; it says: {delivery.error}"
    what = f"{head}: {delivery.error}"
    if entry:
        what = f'entry "{entry}": {what}'
    return Problem(code=delivery.code or DOWN, what=what, why=why, fix=fix, file=where, entry=entry)
