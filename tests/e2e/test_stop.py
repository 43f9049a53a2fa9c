"""A runner that is told to end in the middle of a burst ends before anybody kills it; others take what it leaves, each once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
from tests.proxy import Proxy
from tests.servers import wait_for

OFFBEAT = (sys.executable, "-m", "offbeat")
BURST = 1500
KILLED_AFTER = 9  # seconds; `docker stop` kills after 10


def burst(folder: Path) -> tuple[list[str], dict[str, str], float]:
    """Lay out a tree of which everything is due in some seconds; return words, environment and when."""
    tree = folder / "cron"
    tree.mkdir()
    at = int(time.time()) + 6
    due = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
    entries = "".join(f'[entries.e{n}]\nat = "{due}"\n' for n in range(BURST))
    (tree / "schedule.toml").write_text(f'project = "stop"\ntask_prefix = "k."\n{entries}')
    return [*OFFBEAT, "--tree", str(tree), "-q"], {**os.environ, "XDG_STATE_HOME": str(folder / "state")}, at


@pytest.mark.parametrize(("role", "number", "code"), [("run", signal.SIGTERM, 0), ("tick", signal.SIGINT, 130)])
def test_told_to_end_in_a_burst_it_ends_in_time_and_what_it_left_goes_out_at_once(
    tmp_path: Path, redis_url: str, role: str, number: signal.Signals, code: int
) -> None:
    words, environ, at = burst(tmp_path)
    port = urlsplit(redis_url).port
    assert port is not None
    plain = {**environ, "OFFBEAT_BROKER": redis_url}
    with Proxy(port) as slow, redis.Redis.from_url(redis_url) as client:
        slow.delay(0.2)
        subprocess.run([*words, "tick"], env=plain, check=True, timeout=60)
        if role == "tick":
            time.sleep(max(0.0, at - time.time()))
        far = {**environ, "OFFBEAT_BROKER": redis_url.replace(f":{port}", f":{slow.port}")}
        runner = subprocess.Popen([*words, role], env=far)
        wait_for("the first of the burst", lambda: client.llen("celery") > 0, 60)
        runner.send_signal(number)
        ended = runner.wait(KILLED_AFTER)
        before = client.llen("celery")
        subprocess.run([*words, "tick"], env=plain, check=True, timeout=60)
        sent = Counter(json.loads(raw)["headers"]["id"] for raw in client.lrange("celery", 0, -1))

    assert ended == code
    assert before < BURST
    assert (len(sent), set(sent.values())) == (BURST, {1})
