"""What is said of a broker never gives its password away, and always says what to do."""

from __future__ import annotations

import re
import ssl
import string
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offbeat.core.model import BrokerSettings
from offbeat.ports import broker_faults as faults
from offbeat.ports.broker import Delivery
from offbeat.ports.broker_kombu.broker import BrokerKombu
from offbeat.ports.clock import SystemClock

# Long enough and odd enough not to be part of our own words by chance.
passwords = st.text(st.sampled_from(string.ascii_letters + string.digits + "@:/?#%&;\\'\"$ é\n"), min_size=6).map(
    lambda t: f"Zq{t}7x"
)


def spellings(password: str) -> set[str]:
    return {password, quote(password), quote(password, safe=""), repr(password)[1:-1]}


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://h:6379/0", "redis://h:6379/0"),
        ("redis://:pw@h:6379/0", "redis://***@h:6379/0"),
        ("amqp://user:pw@h//", "amqp://***@h//"),
        ("amqp://u:p@ss@h//vhost", "amqp://***@h//vhost"),
        ("redis://h/0?password=pw", "redis://h/0"),
        ("redis://h/0?password=p@w", "redis://..."),
        ("redis://:p?w@h/0", "redis://..."),
        ("amqp://u:p@a//;amqp://u:q@b//", "amqp://***@b//"),
        ("filesystem://", "filesystem://"),
        ("user:pw@h", "(not an address)"),
        ("", ""),
    ],
)
def test_an_address_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert faults.redact(url) == shown


@given(passwords)
def test_no_password_is_ever_shown_with_the_address(password: str) -> None:
    for written in (password, quote(password, safe="")):
        for url in (f"redis://:{written}@host:6379/0", f"amqp://user:{written}@host//", f"redis://host/0?password={written}"):
            assert not any(text in faults.redact(url) for text in spellings(password))


@given(passwords)
def test_no_password_survives_in_what_a_library_says(password: str) -> None:
    url = f"amqp://somebody:{quote(password, safe='')}@host//"
    words = faults.Words(url)

    for error in (
        ValueError(f"cannot parse {url}"),
        OSError(f"login of somebody with {password} failed"),
        KeyError(password),
        RuntimeError(password.encode()),
        RuntimeError({"password": password}),
    ):
        said = words.of(error, "the broker is out of reach")
        assert not any(text in said for text in spellings(password))
        assert "somebody" not in said
        assert "\n" not in said


@given(passwords)
def test_no_password_survives_in_anything_a_broker_says_of_itself(password: str) -> None:
    for written in (password, quote(password, safe="")):
        broker = BrokerKombu(f"nosuch://user:{written}@host:1/0", BrokerSettings(), clock=SystemClock())
        delivery = broker.reach(1)
        texts = (repr(broker), broker.where, delivery.error, str(faults.broker_problem(delivery, broker.where)))
        assert not delivery.taken
        assert not any(spelled in text for spelled in spellings(password) for text in texts)


short = st.text(st.sampled_from(string.ascii_letters + string.digits + "é"), min_size=1, max_size=3)
NOT_FOUND = "Basic.publish: (404) NOT_FOUND - no exchange 'nope1' in vhost '/'"


@given(short)
def test_no_password_however_short_stands_as_a_word_in_what_a_library_says(password: str) -> None:
    url = f"amqp://somebody:{password}@host//"
    said = faults.Words(url).of(OSError(f"'{password}' is wrong, {password} at {url}, somebody:{password}"), "")

    assert password not in re.findall(r"\w+", said)
    assert "wrong" in said


@given(st.text(string.punctuation.replace("_", "") + " ", min_size=1, max_size=3))
def test_no_password_of_a_few_marks_survives_in_what_a_library_says(password: str) -> None:
    said = faults.Words(f"amqp://somebody:{quote(password, safe='')}@host//").of(OSError(f"x{password}x is wrong"), "ours")

    assert f"x{password}x" not in said


@given(short, short)
def test_what_is_hidden_of_a_short_password_does_not_tell_which_word_it_is(one: str, other: str) -> None:
    said = [faults.Words(f"redis://:{password}@h/0").of(OSError(f"no {one} or {other}"), "") for password in (one, other)]

    assert said[0] == said[1] == "*** *** *** ***"


def test_a_short_password_that_is_part_of_other_words_only_hides_none() -> None:
    words = faults.Words("redis://:abc@h/0")

    assert words.of(OSError("wrong: abc"), "") == "wrong: ***"
    assert words.of(OSError("wrong abcissa"), "") == "wrong abcissa"
    for password in ("a", "not", "no1", "exc"):
        assert faults.Words(f"amqp://somebody:{password}@h//").of(OSError(NOT_FOUND), "") == NOT_FOUND


@pytest.mark.parametrize("user", ["u1", "app", "celery", "x"])
def test_a_users_name_is_hidden_as_a_word_and_the_rest_of_what_the_broker_says_is_told(user: str) -> None:
    refusal = "(403) ACCESS_REFUSED - access to exchange 'celery.dlx' in vhost 'apple' refused for user '{}'"
    said = faults.Words(f"amqp://{user}:hunter22@h//").of(OSError(refusal.format(user)), "")

    assert said == refusal.replace("'celery.", "'***.").format("***") if user == "celery" else said == refusal.format("***")


def test_secrets_in_transport_options_are_cut_out_too() -> None:
    words = faults.Words("sentinel://h", {"sentinel_kwargs": {"password": "hunter22"}}, {"name": "plain"})

    assert words.of(OSError("hunter22 is wrong, says plain"), "") == "*** is wrong, says plain"


def test_long_words_are_cut_and_an_error_without_words_gives_its_name() -> None:
    words = faults.Words("redis://h")

    assert len(words.of(OSError("x" * 1000), "")) == faults.LONGEST
    assert words.of(TimeoutError(), "") == "TimeoutError"


def test_a_certificate_that_nobody_trusts_is_no_wrong_address() -> None:
    error = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate")  # a ValueError, too
    delivery = faults.connecting(error, faults.Words("amqps://h//"))

    assert (delivery.code, delivery.down, delivery.retry) == (faults.UNTRUSTED, True, True)
    assert "self-signed" in delivery.error


@pytest.mark.parametrize(
    "code",
    [
        faults.DOWN,
        faults.LOGIN,
        faults.ADDRESS,
        faults.UNROUTABLE,
        faults.REFUSED,
        faults.PACKAGE,
        faults.BLOCKED,
        faults.UNTRUSTED,
    ],
)
def test_each_fault_has_a_problem_with_all_its_parts(code: str) -> None:
    problem = faults.broker_problem(Delivery(error="its words", code=code), "redis://h/0", entry="weekly_report")

    assert problem.code == code
    assert problem.what.startswith('entry "weekly_report": ')
    assert problem.what.endswith("its words")
    assert problem.why
    assert problem.fix
    assert (problem.file, problem.entry) == ("redis://h/0", "weekly_report")


def test_a_missing_package_is_named_as_it_is_installed() -> None:
    delivery = faults.connecting(ImportError("Missing redis library (pip install redis)"), faults.Words("redis://h"))

    assert delivery.code == faults.PACKAGE
    assert faults.broker_problem(delivery, "broker redis://h").fix == "pip install 'kombu[redis]'"
    missing = Delivery(error="boto3 is not installed", code=faults.PACKAGE)
    assert faults.broker_problem(missing, "broker sqs://h").fix == "pip install 'kombu[sqs]'"
    assert "boto3" in faults.broker_problem(missing, "broker nosuch://h").fix
