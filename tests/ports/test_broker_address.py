"""Where the broker's address comes from, and that nothing else counts."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from offbeat.core.model import BrokerSettings
from offbeat.errors import ConfigError
from offbeat.ports.broker_kombu.address import (
    SHORTEST,
    TIMEOUT,
    as_kombu_knows_it,
    broker_url,
    fault_of,
    options_for,
    patience_for,
    ssl_for,
)

HERE = Path("/srv/difio")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"OFFBEAT_BROKER": "redis://a", "CELERY_BROKER_URL": "redis://b", "REDIS_URL": "redis://c"}, "redis://a"),
        ({"CELERY_BROKER_URL": "redis://b", "REDIS_URL": "redis://c"}, "redis://b"),
        ({"REDIS_URL": "redis://c"}, "redis://c"),
        ({"OFFBEAT_BROKER": "", "CELERY_BROKER_URL": "redis://b"}, "redis://b"),
        ({"OFFBEAT_BROKER": " redis://a\n"}, "redis://a"),
    ],
    ids=["OFFBEAT_BROKER first", "then CELERY_BROKER_URL", "then broker_env", "an empty one is not set", "spaces around it"],
)
def test_the_address_comes_from_three_variables_in_this_order(environ: dict[str, str], expected: str) -> None:
    assert broker_url(environ, BrokerSettings(broker_env="REDIS_URL"), HERE) == expected


@pytest.mark.parametrize("name", ["BROKER_URL", "CELERY_BROKER", "REDIS_URL"])
def test_variables_that_celerys_own_commands_read_do_nothing_here(name: str) -> None:
    with pytest.raises(ConfigError):
        broker_url({name: "redis://a"}, BrokerSettings(), HERE)


def test_env_file_fills_in_what_the_environment_lacks(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text('export OFFBEAT_BROKER="redis://:pw@file"\nREDIS_URL=redis://other\n')
    settings = BrokerSettings(env_file=".env", broker_env="REDIS_URL")

    assert broker_url({}, settings, tmp_path) == "redis://:pw@file"
    assert broker_url({"OFFBEAT_BROKER": "redis://environment"}, settings, tmp_path) == "redis://environment"
    assert broker_url({"OFFBEAT_BROKER": ""}, settings, tmp_path) == "redis://:pw@file"


def test_without_an_address_all_three_ways_are_named_and_one_can_be_pasted() -> None:
    with pytest.raises(ConfigError) as caught:
        broker_url({}, BrokerSettings(broker_env="REDIS_URL"), HERE)

    (problem,) = caught.value.problems
    assert problem.code == "C220"
    assert all(name in problem.what for name in ("$OFFBEAT_BROKER", "$CELERY_BROKER_URL", "$REDIS_URL"))
    assert problem.fix == "export OFFBEAT_BROKER=redis://127.0.0.1:6379/0"


def test_an_env_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        broker_url({}, BrokerSettings(env_file="secrets.env"), tmp_path)

    (problem,) = caught.value.problems
    assert (problem.code, problem.file) == ("C221", "secrets.env")
    assert "No such file" in problem.what


def test_an_env_file_that_is_missing_stops_nobody_whose_environment_has_the_address(tmp_path: Path) -> None:
    for name in ("OFFBEAT_BROKER", "CELERY_BROKER_URL"):
        assert broker_url({name: "redis://here"}, BrokerSettings(env_file=".env"), tmp_path) == "redis://here"


def test_an_env_file_that_is_not_text_is_a_problem_that_shows_none_of_it(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"OFFBEAT_BROKER=redis://:hunter2\xff@h\n")

    with pytest.raises(ConfigError) as caught:
        broker_url({}, BrokerSettings(env_file=".env"), tmp_path)

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://",
        "redis://127.0.0.1:6379/0",
        "redis://:p%40ss@[::1]:6379/0",
        "amqp://user:pw@host//",
        "amqp://a:1//;amqp://b:2//",
        "sentinel://a:26379;sentinel://b:26379",
        "filesystem://",
        "memory://",
        "redis+socket:///run/redis.sock",
    ],
)
def test_a_good_address_has_no_fault(url: str) -> None:
    assert fault_of(url) == ""


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost",
        "127.0.0.1:6379",
        "redis://h:port/0",
        "redis://h:70000/0",
        "redis://h:0",
        "redis://:pa/ss@h",
        "redis://:p#a@h",
    ],
)
def test_a_bad_address_is_said_to_be_so_without_showing_it(url: str) -> None:
    fault = fault_of(url)

    assert fault
    assert not any(part in fault for part in ("70000", "pa/ss", "p#a"))


def test_paths_of_the_filesystem_transport_are_below_the_root() -> None:
    settings = BrokerSettings(transport_options={"data_folder_in": "var/in", "control_folder": "/run/control"})

    assert options_for("filesystem://", settings, HERE, 5) == {
        "data_folder_in": "/srv/difio/var/in",
        "data_folder_out": "/srv/difio/data_out",
        "control_folder": "/run/control",
    }


def test_options_go_through_with_short_timeouts_and_nothing_that_sends_twice() -> None:
    settings = BrokerSettings(
        transport_options={"global_keyprefix": "d:", "sep": ":", "priority_steps": [0, 5], "retry_on_timeout": True}
    )

    assert options_for("redis://h", settings, HERE, 2.0) == {
        "global_keyprefix": "d:",
        "sep": ":",
        "priority_steps": [0, 5],
        "socket_timeout": 2.0,
        "socket_connect_timeout": 2.0,
        "retry_on_timeout": False,
    }
    assert options_for("redis://h", BrokerSettings(transport_options={"socket_timeout": 1}), HERE, 60)["socket_timeout"] == 1
    assert options_for("amqp://h", BrokerSettings(), HERE, 60)["read_timeout"] == TIMEOUT


def test_certificates_are_verified_unless_told_otherwise() -> None:
    assert ssl_for("rediss://h", BrokerSettings(), HERE) == {"ssl_cert_reqs": "required"}
    assert ssl_for("redis://h", BrokerSettings(), HERE) is False
    assert ssl_for("redis://h", BrokerSettings(ssl=True), HERE) == {"ssl_cert_reqs": "required"}
    assert ssl_for("rediss://h?ssl_cert_reqs=none", BrokerSettings(), HERE) is False
    assert ssl_for("amqps://h", BrokerSettings(), HERE) is True


def test_ssl_options_are_read_from_text_and_their_files_are_below_the_root() -> None:
    settings = BrokerSettings(ssl={"ssl_cert_reqs": "optional", "ssl_ca_certs": "certs/ca.pem"})

    assert ssl_for("rediss://h", settings, HERE) == {
        "ssl_cert_reqs": ssl.CERT_OPTIONAL,
        "ssl_ca_certs": "/srv/difio/certs/ca.pem",
    }


def test_an_unknown_strictness_of_certificates_is_a_problem() -> None:
    with pytest.raises(ConfigError) as caught:
        ssl_for("amqps://h", BrokerSettings(ssl={"cert_reqs": "sometimes"}), HERE)

    assert caught.value.problems[0].code == "C222"


@pytest.mark.parametrize(
    ("url", "known"),
    [
        ("redis://h/0", "redis://h/0"),
        ("valkey://:p%3A@h:1/0;valkeys://i/1?x=a://b", "redis://:p%3A@h:1/0;rediss://i/1?x=a://b"),
        ("valkey+socket:///run/v.sock", "redis+socket:///run/v.sock"),
        ("amqp://a//;amqps://b//", "pyamqp://a//;amqps://b//"),
        ("sqs://", "sqs://"),
        ("nothing", "nothing"),
    ],
)
def test_kombu_is_told_the_schemes_that_it_knows(url: str, known: str) -> None:
    assert as_kombu_knows_it(url) == known


def test_each_server_of_a_list_gets_its_share_of_the_time_and_never_too_little() -> None:
    assert patience_for("redis://a", 60) == TIMEOUT
    assert patience_for("redis://a;redis://b", 8) == 4
    assert patience_for("redis://a;redis://b;redis://c", 0.3) == SHORTEST


def test_sqs_has_short_timeouts_and_no_repeats_unless_the_user_says_otherwise() -> None:
    own = BrokerSettings(transport_options={"region": "eu-west-1", "client-config": {"read_timeout": 20}})

    assert options_for("sqs://", BrokerSettings(), HERE, 2.0)["client-config"] == {
        "connect_timeout": 2.0,
        "read_timeout": 2.0,
        "retries": {"total_max_attempts": 1},
    }
    assert options_for("sqs://", own, HERE, 60)["client-config"] == {
        "connect_timeout": TIMEOUT,
        "read_timeout": 20,
        "retries": {"total_max_attempts": 1},
    }


def test_valkey_over_tls_is_verified_as_redis_is() -> None:
    assert ssl_for("valkeys://h", BrokerSettings(), HERE) == {"ssl_cert_reqs": "required"}
    assert ssl_for("valkey://h", BrokerSettings(), HERE) is False
