"""What a broker promises is one line for each kind, and gives nothing of its address away."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from offbeat.ports.broker_kombu.promises import promises

PAGE = Path(__file__).parent.parent.parent / "docs" / "explanation" / "brokers.md"


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("redis://:hunter22@h:6379/0", "Redis"),
        ("rediss://h", "Redis"),
        ("redis+socket:///run/redis.sock", "Redis"),
        ("sentinel://a:26379;sentinel://b:26379", "Redis"),
        ("valkey://h", "Redis"),
        ("amqp://user:hunter22@h//", "RabbitMQ"),
        ("amqps://h//", "RabbitMQ"),
        ("sqs://AKIA:hunter22@", "SQS"),
        ("SQS://", "SQS"),
        ("filesystem://", "filesystem"),
        ("memory://", "memory"),
        ("mongodb://user:hunter22@h", "this kind of broker"),
        ("", "this kind of broker"),
    ],
)
def test_each_kind_of_broker_has_a_line_of_its_own(url: str, kind: str) -> None:
    line = promises(url)

    assert line.startswith(f"{kind}: ")
    assert "\n" not in line
    assert "hunter22" not in line


def test_the_page_about_brokers_has_a_column_for_each_kind() -> None:
    header = re.search(r"^\| \| (.+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)

    assert header
    kinds = {promises(f"{scheme}://").partition(":")[0] for scheme in ("redis", "amqp", "sqs", "filesystem")}
    assert kinds <= {cell.strip() for cell in header[1].split("|")}
