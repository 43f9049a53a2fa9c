"""Where the broker is: the address from the environment or env_file, and what kombu is to be told with it.

Never connects, never imports kombu. An address is never in a committed file: schedule.toml only names a variable.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from offbeat.core.model import BrokerSettings
from offbeat.errors import ConfigError, Problem

PLAIN_NAMES = ("OFFBEAT_BROKER", "CELERY_BROKER_URL")
VERIFIED = ("rediss", "valkeys")
FOLDERS = {"data_folder_in": "data_in", "data_folder_out": "data_out"}  # kombu's defaults, but below the root
FILES = ("ca_certs", "certfile", "keyfile", "ca_path", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_ca_path")
TIMEOUT = 5.0  # seconds to connect, and for an answer
SHORTEST = 1.0  # seconds; with less, a broker that is well would be called dead because little time was left


def broker_url(environ: Mapping[str, str], settings: BrokerSettings, root: Path) -> str:
    """Return the broker's address: $OFFBEAT_BROKER, else $CELERY_BROKER_URL, else the variable that broker_env names.

    A variable that the environment lacks, or has empty, is looked up in env_file. No other variable counts.
    root: the repository's, for env_file.
    Raises: ConfigError when none of them is set, or env_file cannot be read.
    """
    names = [*PLAIN_NAMES, *([settings.broker_env] if settings.broker_env else [])]
    if settings.env_file and not environ.get(names[0]):
        try:
            environ = {**_of_file(settings, root), **{name: text for name, text in environ.items() if text}}
        except ConfigError:
            if not any(environ.get(name) for name in names):
                raise
    for name in names:
        if url := environ.get(name, "").strip():
            return url
    raise ConfigError(_nowhere(settings))


def _of_file(settings: BrokerSettings, root: Path) -> Mapping[str, str]:
    if not settings.env_file:
        return {}
    from offbeat.core.envfile import parse_env

    try:
        return parse_env((root / settings.env_file).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as exc:
        said = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8"
        raise ConfigError(
            Problem(
                code="C221",
                what=f'env_file "{settings.env_file}" cannot be read: {said}',
                why="the broker's address may be in it, so nothing is sent",
                fix=f"create {settings.env_file} at the repository's root, readable for the user that runs offbeat",
                file=settings.env_file,
            )
        ) from exc


def _nowhere(settings: BrokerSettings) -> Problem:
    third = f"${settings.broker_env}" if settings.broker_env else "the variable that broker_env in schedule.toml names"
    looked = f", nor are they in {settings.env_file}" if settings.env_file else ""
    return Problem(
        code="C220",
        what=f"no broker address: neither $OFFBEAT_BROKER nor $CELERY_BROKER_URL nor {third} is set{looked}",
        why="offbeat does not know where to send tasks; what is due waits in the ledger",
        fix="export OFFBEAT_BROKER=redis://127.0.0.1:6379/0",
    )


def fault_of(url: str) -> str:
    """Return what is wrong with the form of an address, "" when nothing is. Its text has nothing of the address in it."""
    for part in url.split(";"):
        scheme, found, _ = part.partition("://")
        if not found or not scheme:
            return "it has no scheme: it has to begin with redis://, amqp:// or the like"
        try:
            parts = urlsplit("http" + part[len(scheme) :])
            wrong = parts.port == 0 or "@" in parts.path or "@" in parts.fragment
        except ValueError:
            wrong = True
        if wrong:
            return "its host and port cannot be told apart (in a password, write @ : / ? # % as %40 %3A %2F %3F %23 %25)"
    return ""


def as_kombu_knows_it(url: str) -> str:
    """Return an address with the schemes that kombu lacks replaced by those that it has.

    kombu would take librabbitmq for amqp:// where it is installed, which knows no confirms; and Valkey speaks as Redis does.
    """
    schemes = {"amqp": "pyamqp", "valkey": "redis", "valkeys": "rediss", "valkey+socket": "redis+socket"}
    parts = (part.partition("://") for part in url.split(";"))
    return ";".join(schemes.get(scheme, scheme) + found + rest for scheme, found, rest in parts)


def patience_for(url: str, seconds: float) -> float:
    """Return how long each server of an address may take for a step of connecting, so that a dead first one leaves time."""
    return max(SHORTEST, min(TIMEOUT, seconds / (url.count(";") + 1)))


def options_for(url: str, settings: BrokerSettings, root: Path, seconds: float) -> dict[str, Any]:
    """Return the transport_options for kombu: the user's, with timeouts of `seconds`, and paths below `root`.

    Timeouts of the user's own stay. Options that would make a call block or repeat itself are overruled.
    """
    options: dict[str, Any] = dict(settings.transport_options)
    seconds = min(TIMEOUT, seconds)
    scheme = url.partition("://")[0]
    if scheme in ("amqp", "amqps", "pyamqp"):
        for name in ("read_timeout", "write_timeout"):
            options.setdefault(name, seconds)
        options["confirm_publish"] = False  # each message is confirmed, but by the batch
        for name in ("max_retries", "interval_start", "interval_step", "interval_max"):
            options.pop(name, None)
    elif scheme.startswith(("redis", "sentinel", "valkey")):
        for name in ("socket_timeout", "socket_connect_timeout"):
            options.setdefault(name, seconds)
        options["retry_on_timeout"] = False  # a push that is repeated is a task sent twice
    elif scheme.lower() == "sqs":
        usual = {"connect_timeout": seconds, "read_timeout": seconds, "retries": {"total_max_attempts": 1}}
        options["client-config"] = usual | dict(options.get("client-config") or {})
    elif scheme == "filesystem":
        options |= {name: str(root / str(options.get(name, usual))) for name, usual in FOLDERS.items()}
        options |= {name: str(root / str(options[name])) for name in ("control_folder", "processed_folder") if name in options}
    return options


def ssl_for(url: str, settings: BrokerSettings, root: Path) -> dict[str, Any] | bool:
    """Return the `ssl` for kombu: certificates are verified unless schedule.toml or the address says otherwise."""
    scheme = url.partition("://")[0]
    if isinstance(settings.ssl, bool):
        if scheme.startswith(("redis", "valkey")) and (settings.ssl or (scheme in VERIFIED and "ssl_cert_reqs" not in url)):
            return {"ssl_cert_reqs": "required"}
        return settings.ssl or scheme == "amqps"
    options: dict[str, Any] = dict(settings.ssl)
    for name, value in options.items():
        if name in FILES and isinstance(value, str):
            options[name] = str(root / value)
        elif name in ("cert_reqs", "ssl_cert_reqs") and isinstance(value, str):
            options[name] = _cert_reqs(name, value)
    return options


def _cert_reqs(name: str, value: str) -> Any:
    import ssl

    word = value.lower().removeprefix("cert_")
    known = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
    if word not in known:
        raise ConfigError(
            Problem(
                code="C222",
                what=f'[broker] ssl: {name} "{value}" is none of "required", "optional", "none"',
                why="offbeat does not guess how strictly to check the broker's certificate, so nothing is sent",
                fix=f'{name} = "required"',
                file="cron/schedule.toml",
            )
        )
    return known[word]


def is_redis(url: str) -> bool:
    """Return whether the address is of a Redis, or of one of its kin."""
    return url.lower().startswith(("redis", "sentinel", "valkey"))
