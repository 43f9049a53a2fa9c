"""No command shows what may be the password of an address, whether the address can be understood or not."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.faces.conftest import Shop

from offbeat.core.passwords import is_public, shown_address
from offbeat.faces.install import variables_for
from offbeat.ports.broker_faults import redact
from offbeat.ports.worker_store import open_store, shown
from offbeat.ports.worker_values import NoAnswer

ODD = (  # each with the two words that may be in no output
    "redis://:geheim wort@h:port/0",
    "redis:/u:geheimwort@127.0.0.1/0",
    "redis://:geheim/wort",
    "redis://:geheimwort/0",
    "redis://127.0.0.1:1?geheim=wort@127.0.0.1/0",
    "redis+sentinel://:geheim@127.0.0.1:1/my?sentinel_password=wort",
    "rediss://geheim:wort@127.0.0.1:1/0?ssl_cert_reqs=none",
    "postgresql:geheimwort@x",
    "postgres:u:geheimwort@h/x",
    "postgresql://u:geheim@wort@127.0.0.1:1/x",
    "postgresql://127.0.0.1:1/x?password=geheimwort",
    "postgresql://u:geheim#wort@127.0.0.1:1/x",
    "mysql://u:geheimwort@h/x",
    "u:geheimwort@h:6379",
    "geheimwort@h",
    "geheimwort",
    "sqlite://u:geheimwort@h/x",
    "amqp://u:geheim@127.0.0.1:1//;amqp://u:wort@127.0.0.1:1//",
    "amqp:/u:geheimwort@127.0.0.1",
    "sqs://KEY:geheim/wort@",
)
COMMANDS = (
    ("check",),
    ("check", "--ledger"),
    ("check", "--broker"),
    ("check", "--ledger", "--broker", "--json"),
    ("status",),
    ("status", "--json"),
    ("tick", "-v", "--max-time", "1s"),
    ("list",),
    ("next",),
    ("plan",),
    ("history",),
    ("log",),
    ("diff",),
    ("deploy", "--dry-run"),
    ("deploy",),
    ("pause", "report"),
    ("resume", "report"),
    ("skip", "report", "--next"),
    ("backfill", "report", "--from", "2h", "--to", "now"),
    ("rewind", "--to", "2020-01-01", "--yes"),
    ("fire", "report"),
)
ASKING = (("check", "--broker"), ("fire", "report"), ("tick", "-v", "--max-time", "1s"), ("history",), ("status",))
letters = st.text(st.sampled_from(string.ascii_letters + string.digits + "@:/?#%&;\\'\"$ é\n"), max_size=12)


@pytest.mark.parametrize(("name", "commands"), [("OFFBEAT_LEDGER", COMMANDS), ("OFFBEAT_BROKER", ASKING)])
@pytest.mark.parametrize("address", ODD)
def test_no_command_shows_a_password_whatever_the_address_looks_like(
    shop: Shop, name: str, commands: tuple[tuple[str, ...], ...], address: str
) -> None:
    shop.write('[entries.report]\ncron = "0 * * * *"\n')
    shop.environ[name] = address

    for words in commands:
        said = shop.call(*words).output
        assert not any(secret in said for secret in ("geheim", "wort")), (words, said)


@pytest.mark.parametrize("address", ODD)
def test_no_crontab_gets_an_address_that_may_have_a_password(address: str) -> None:
    kept, warnings = variables_for({"OFFBEAT_LEDGER": address}, "/root")

    assert kept == {}
    assert [problem.code for problem in warnings] == ["C244"]
    assert "geheim" not in str(warnings)


@pytest.mark.parametrize(
    "address",
    [
        "redis://127.0.0.1:6379/0?prefix=x",
        "redis+sentinel://a:1,b:2/my?db=1",
        "unix:///run/redis/redis.sock?db=3",
        "postgresql://me@[::1]:5432/db?sslmode=verify-full",
        "sqlite:////var/lib/my site/x@y.db?mode=0660&group=web",
    ],
)
def test_a_crontab_gets_an_address_that_has_none(address: str) -> None:
    assert variables_for({"OFFBEAT_LEDGER": address}, "/root") == ({"OFFBEAT_LEDGER": address}, ())


@given(letters, letters)
def test_what_may_be_shown_of_an_address_has_no_password(before: str, after: str) -> None:
    secret = f"{before}Zq7x{after}"
    forms = (
        f"redis://:{secret}@host:6379/0",
        f"postgresql://user:{secret}@host/db?sslmode=disable",
        f"amqp://user:{secret}@host//",
        f"redis+sentinel://h:1/my?sentinel_password={secret}",
        f"postgresql://host/db?user=me&password={secret}",
        f"redis:{secret}@host",
        f"{secret}@host:6379",
    )
    for address in forms:
        assert "Zq7x" not in shown_address(address) + redact(address)
        assert not is_public(address)


def test_a_ledger_whose_address_is_refused_gets_no_line_of_its_own(shop: Shop) -> None:
    for address in ("mysql://u:p@h/x", "redis://:geheim wort@h:port/0", "sqlite:///"):
        shop.environ["OFFBEAT_LEDGER"] = address
        for words in (("check",), ("check", "--ledger")):
            done = shop.call(*words)
            assert done.exit_code == 1
            assert "ledger:" not in done.stdout


@pytest.mark.parametrize(
    ("address", "code", "words"),
    [
        ("mysql://h/x", "C302", 'begins with "mysql"'),
        ("sqlite:///", "C302", "names no file"),
        ("/var/x.db", "C302", "has no ://"),
        ("sqlite:///a?mode=0999", "L216", "0999"),
    ],
)
def test_a_wrong_address_of_the_ledger_is_told_by_every_tick_and_by_status_in_the_same_words(
    shop: Shop, address: str, code: str, words: str
) -> None:
    shop.environ["OFFBEAT_LEDGER"] = address

    told = [shop.call("tick"), shop.call("tick"), shop.call("status")]

    assert [done.exit_code for done in told] == [1, 1, 1]
    assert all(f"[{code}]" in done.stderr and words in done.stderr for done in told)


def test_a_ledger_that_is_out_of_reach_is_told_once(shop: Shop) -> None:
    shop.environ["OFFBEAT_LEDGER"] = "redis://127.0.0.1:1/0"

    first, second = shop.call("tick"), shop.call("tick")

    assert (first.exit_code, second.exit_code) == (3, 3)
    assert first.stderr and not second.stderr


@pytest.mark.parametrize("address", ODD)
def test_a_worker_shows_no_password_of_its_ledger_either(address: str) -> None:
    with pytest.raises(NoAnswer) as refused:
        open_store(address.replace("redis", "nosuch").replace("postgres", "nosuch"), "shop")

    said = f"{refused.value} {shown(address)}"
    assert not any(secret in said for secret in ("geheim", "wort"))
