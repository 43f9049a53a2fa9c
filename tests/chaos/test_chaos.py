"""A minute of harm to real runners, workers and servers: nothing is lost, and nothing is started twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.chaos.scene import explain, play, report, set_up, write
from tests.servers import need

SECONDS = 60.0


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("store", "broker"), [("redis", "redis"), ("postgres", "rabbitmq")])
def test_a_minute_of_harm_loses_nothing_and_starts_nothing_twice(tmp_path: Path, store: str, broker: str) -> None:
    for program in {"redis": ["redis-server"], "postgres": ["postgres", "rabbitmq-server"]}[store]:
        need(program)
    with set_up(tmp_path / "scene", store, broker) as scene:
        verdict, nemesis = play(scene, seconds=SECONDS, seed=4711, say=write)
        write(report(store, broker, verdict))
        assert len(nemesis.log) > 10
        assert verdict.due > 3000
        assert (verdict.lost, verdict.unknown, verdict.repeated_starts, verdict.early) == ((), (), (), ()), explain(
            verdict, scene
        )
        assert len(verdict.dropped) < verdict.due // 100  # Celery's loss, not ours: see Verdict
        if store == broker:
            assert verdict.repeated_enqueues == (), explain(verdict, scene)
