"""What only the ledger in Redis promises: rules shared with Python, pushes into queues beside it, and who shares a server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.ports.ledger_world import NOON, command, entry, outcome, pass_once, report, runner, schedule, states
from tests.ports.redis_place import own_place

from offbeat.core import slots, transitions
from offbeat.core.identity import occurrence_id
from offbeat.core.model import Key, Kind, Reason, State
from offbeat.errors import ConfigError, LedgerError
from offbeat.ports import ledger_redis
from offbeat.ports.broker import Push
from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger_mail import Post
from offbeat.ports.ledger_open import open_ledger
from offbeat.ports.ledger_redis import LedgerRedis, Place, schema, values
from offbeat.ports.ledger_redis.address import parse
from offbeat.ports.ledger_redis.dispatching import ELSEWHERE
from offbeat.ports.ledger_values import LEASE, LONGEST_WAIT, Claim, Runner

A, B = runner("a"), runner("b")
LUA = Path(ledger_redis.__file__).with_name("lua")


@pytest.fixture
def place(durable_redis_address: str) -> Iterator[Place]:
    with own_place(durable_redis_address) as found:
        yield found


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(float(NOON))


@pytest.fixture
def ledger(place: Place, clock: FakeClock) -> Iterator[LedgerRedis]:
    with closing(LedgerRedis(place, horizon=clock)) as opened:
        yield opened


@pytest.fixture
def queues(durable_redis_address: str) -> Iterator[Any]:
    """Return a client on the database next to the ledger's, where a broker has its queues."""
    import redis

    with redis.Redis.from_url(f"{durable_redis_address}/7") as client:
        client.flushdb()
        yield client
        client.flushdb()


def post(claim: Claim, payload: bytes = b"{}", *, key: str = "celery", database: int = 7) -> Post:
    task_id = occurrence_id("shop", claim.name, claim.key.due_at)
    return Post(outcome=outcome(claim, task_id=task_id), push=Push(database=database, key=key, payload=payload))


def verdicts(script: str) -> str:
    """Return the letters of a script's table."""
    table = re.search(r"local VERDICTS =\s*((?:'[A-Z]+'[ .\n]*)+)", (LUA / f"{script}.lua").read_text())
    assert table is not None
    return "".join(re.findall(r"[A-Z]+", table.group(1)))


def test_outcomes_are_judged_as_every_ledger_judges_them() -> None:
    letters = {verdict: verdict.value[0].upper() for verdict in transitions.Verdict}
    said = "".join(
        letters[transitions.judge_outcome(held, state, same=same, is_command=is_command)]
        for held in values.STATES
        for state in (State.PENDING, State.UNDELIVERED, State.DISPATCHED, State.SKIPPED)
        for same in (False, True)
        for is_command in (False, True)
    )
    assert verdicts("settle") == said


def test_reports_are_judged_as_every_ledger_judges_them() -> None:
    letters = {verdict: verdict.value[0].upper() for verdict in transitions.Verdict}
    rows = [*((held, Reason.NONE) for held in values.STATES), (State.FAILED, Reason.RUNNER_DIED)]
    said = "".join(
        letters[transitions.judge_report(held, why, state, mine=mine)]
        for held, why in rows
        for state in values.STATES
        for mine in (False, True)
    )
    assert verdicts("report") == said


def test_scripts_and_python_have_the_same_words_and_numbers() -> None:
    base = (LUA / "base.lua").read_text()
    words = {
        name: tuple(re.findall(r"'([a-z_]*)'", found)) for name, found in re.findall(r"local (\w+) = \{(.*?)\}", base, re.S)
    }
    numbers = re.search(r"local SECOND, LEASE, LONGEST_WAIT, STEP = (\d+), (\d+), (\d+), (\d+)", base)
    assert numbers is not None
    look = re.search(r"local SECOND_LOOK, HEARTBEAT = (\d+), (\d+)", (LUA / "look.lua").read_text())
    assert look is not None

    assert words["STATES"] == values.STATES and set(values.STATES) == set(State)
    assert words["REASONS"] == values.REASONS and set(values.REASONS) == set(Reason)
    assert words["CAUSES"] == values.CAUSES
    assert [int(n) / 1e6 for n in numbers.groups()] == [1, LEASE, LONGEST_WAIT, transitions.STEP]
    assert [int(n) / 1e6 for n in look.groups()] == [transitions.SECOND_LOOK, transitions.HEARTBEAT]
    assert f"SET_BACK = {slots.SET_BACK * 1e6:.0f}" in base


@given(
    st.integers(1, 10**6),
    st.integers(-(10**9), 10**11),
    st.sampled_from(Kind),
    st.text(min_size=1, max_size=20),
)
def test_an_id_tells_its_key(eno: int, due_at: int, kind: Kind, kind_id: str) -> None:
    key = Key(eno=eno, due_at=due_at, kind=kind, kind_id="" if kind is Kind.SCHEDULE else kind_id)
    assert values.key_of(values.id_of(key)) == key


@given(st.one_of(st.uuids().map(str), st.text(max_size=20)))
def test_a_task_id_is_kept_short_and_told_whole(task_id: str) -> None:
    kept = values.short(task_id).encode("utf-8", "surrogateescape")
    assert (values.task_of(kept) if kept else "") == task_id
    assert len(kept) == 16 or "-" not in task_id or len(task_id) != 36


def test_what_is_due_is_pushed_and_settled_in_one_step(ledger: LedgerRedis, clock: FakeClock, queues: Any) -> None:
    ledger.activate(schedule(entry("a"), entry("b", queue="slow")), "s")
    clock.advance(60)
    first, second = sorted(pass_once(ledger, A), key=lambda claim: claim.name)

    answers = ledger.enqueue(A, [post(first, b"one"), post(second, b"\x00\xff", key="slow")])

    assert answers == ["", ""]
    assert (queues.lrange("celery", 0, -1), queues.lrange("slow", 0, -1)) == ([b"one"], [b"\x00\xff"])
    assert {(row.state, row.dispatched_at) for row in ledger.history()} == {(State.DISPATCHED, NOON + 60)}
    assert {row.task_id for row in ledger.history("a")} == {occurrence_id("shop", "a", NOON + 60)}


def test_a_queue_that_is_no_list_stops_only_its_own(ledger: LedgerRedis, clock: FakeClock, queues: Any) -> None:
    ledger.activate(schedule(entry("a"), entry("b")), "s")
    clock.advance(60)
    first, second = pass_once(ledger, A)
    queues.set("odd", "text")

    answers = ledger.enqueue(A, [post(first, key="odd"), post(second)])

    assert answers == ["the queue's key is of the type string", ""]
    assert sorted(row.state for row in ledger.history()) == [State.CLAIMED, State.DISPATCHED]
    assert ledger.settle(A, [outcome(first, State.PENDING, next_try_at=NOON + 70)]) == [first.key]


def test_a_queue_in_the_ledgers_own_database_is_filled_too(ledger: LedgerRedis, clock: FakeClock, place: Place) -> None:
    ledger.activate(schedule(entry()), "s")
    clock.advance(60)
    (claim,) = pass_once(ledger, A)
    queue = f"{{{parse(place.address).prefix}:queue}}"

    assert ledger.enqueue(A, [post(claim, key=queue, database=0)]) == [""]
    assert ledger.client.say("LRANGE", queue, 0, -1) == [b"{}"]


def test_nothing_is_pushed_into_another_server_than_the_one_that_was_named(
    ledger: LedgerRedis, clock: FakeClock, queues: Any
) -> None:
    ledger.activate(schedule(entry()), "s")
    clock.advance(60)
    (claim,) = pass_once(ledger, A)
    assert ledger.server_id() == queues.info("server")["run_id"]
    ledger.client.close()
    assert ledger.enqueue(A, [post(claim)]) == [""]  # another connection, the same server

    clock.advance(60)
    (claim,) = pass_once(ledger, A)
    ledger._server = "a server that was there before"
    ledger.client.close()
    ledger.look(A)
    assert ledger.enqueue(A, [post(claim)]) == [ELSEWHERE]
    assert queues.llen("celery") == 1


@pytest.mark.parametrize("name", ["it's", '"]]--', "a b\nc", "{x}", "été", "%s %d", "redis.call('FLUSHALL')", "caf\udce9"])
def test_a_name_is_never_read_as_anything_else(ledger: LedgerRedis, clock: FakeClock, name: str) -> None:
    ledger.activate(schedule(entry(name), entry("other")), "s", name)
    clock.advance(60)
    claims = pass_once(ledger, Runner(id=name, host=name, pid=1, role="tick"))
    slot = ledger.fire(A, name, name)
    ledger.pause(name, name, name)
    ledger.skip(name, NOON + 600, name, name)

    assert {claim.name for claim in claims} == {name, "other"}
    assert slot.claim is not None and slot.key.kind_id == name
    assert {pause.name for pause in ledger.pauses()} == {name}
    assert {row.entry for row in ledger.history()} == {name, "other"}
    assert ledger.occupy(name, name, 60) and not ledger.occupy(name, "else", 60)
    assert ledger.admit(name, 1) and not ledger.admit(name, 2)


def test_projects_and_prefixes_on_one_server_know_nothing_of_each_other(place: Place, clock: FakeClock) -> None:
    other_project = Place(address=place.address, project="bakery")
    other_prefix = Place(address=place.address + "x", project="shop")
    with (
        closing(LedgerRedis(place, horizon=clock)) as shop,
        closing(LedgerRedis(other_project, horizon=clock)) as bakery,
        closing(LedgerRedis(other_prefix, horizon=clock)) as shop2,
    ):
        shop.activate(schedule(entry()), "s")
        clock.advance(60)
        pass_once(shop, A)
        assert (len(states(shop)), states(bakery), states(shop2)) == (1, [], [])
        assert len({ledger.look(A).born for ledger in (shop, bakery, shop2)}) == 3
        for ledger in (bakery, shop2):
            for key in ledger.client.say("KEYS", ledger.keys + "*"):
                ledger.client.say("DEL", key)


def test_a_server_of_a_neighbouring_version_shares_the_ledger(ledger: LedgerRedis, place: Place, clock: FakeClock) -> None:
    ledger.activate(schedule(entry()), "s")
    newer, still_fine = schema.SCHEMA + 1, schema.SCHEMA
    assert ledger.ask("open", "shop", "", "", newer, still_fine, "", 1).body == [newer, still_fine]
    for name in ("revs", "book"):  # what the newer one keeps besides
        for field, text in ledger.hash(name).items():
            ledger.client.say("HSET", ledger.keys + name, field, re.sub(r"\](\]\})?$", r',"more"]\1', text))

    with closing(LedgerRedis(place, horizon=clock)) as ours:
        clock.advance(60)
        (claim,) = pass_once(ours, A)
        assert ours.settle(A, [outcome(claim)]) == [claim.key]
        assert len(ours.revisions(10)) == 1
        assert ours.status().schema == newer

    ledger.ask("open", "shop", "", "", newer + 1, newer + 1, "", 1)
    with pytest.raises(LedgerError) as refused:
        LedgerRedis(place)
    assert refused.value.problems[0].code == "L510"


def test_a_ledger_from_before_its_form_was_released_is_refused_and_left_as_it_is(ledger: LedgerRedis, place: Place) -> None:
    meta = f"{ledger.keys}meta"
    ledger.client.say("HSET", meta, "schema", "1", "oldest", "1")
    before = ledger.client.say("HGETALL", meta)

    for each in (place, replace(place, read_only=True)):
        with pytest.raises(LedgerError) as refused:
            LedgerRedis(each)
        assert refused.value.problems[0].code == "L523"
    assert ledger.client.say("HGETALL", meta) == before


def test_what_a_newer_version_adds_to_a_row_stays(ledger: LedgerRedis, clock: FakeClock) -> None:
    ledger.activate(schedule(entry()), "s")
    clock.advance(60)
    (claim,) = pass_once(ledger, A)
    row = f"{ledger.keys}h:{claim.key.due_at // 3600}", f"1:{claim.key.due_at % 3600}"
    add = "local v = cmsgpack.unpack(redis.call('HGET', KEYS[1], ARGV[1])) for i = #v + 1, 21 do v[i] = false end v[22] = 'new'"
    ledger.client.run(add + " redis.call('HSET', KEYS[1], ARGV[1], cmsgpack.pack(v))", [row[0]], [row[1]])

    ledger.settle(A, [outcome(claim)])

    read = "return cmsgpack.unpack(redis.call('HGET', KEYS[1], ARGV[1]))[22]"
    assert ledger.client.run(read, [row[0]], [row[1]]) == b"new"


def test_reading_a_ledger_that_is_not_there_makes_none(place: Place, durable_redis_address: str) -> None:
    with closing(open_ledger(place.address, clock=FakeClock(), project="shop", owner="", read_only=True)) as empty:
        assert isinstance(empty, LedgerRedis)
        assert (empty.history(), empty.schedule(), empty.revisions(9), empty.entries(), empty.pauses()) == (
            [],
            None,
            [],
            [],
            [],
        )
        assert (empty.status().revision, empty.peek(10)[1], empty.broker_settings()) == (0, [], None)
        assert empty.client.say("KEYS", empty.keys + "*") == []


def test_the_servers_clock_is_the_horizon(place: Place) -> None:
    with closing(LedgerRedis(place)) as ledger:
        before = ledger.look(A).now
        seconds, micros = ledger.client.say("TIME")
        assert before <= int(seconds) + int(micros) / 1e6 <= before + 60


def test_history_finds_every_row_however_many_an_hour_has(ledger: LedgerRedis, clock: FakeClock) -> None:
    ledger.activate(schedule(*(entry(f"e{number:03d}", "every 60 0") for number in range(300))), "s")
    for _ in range(5):
        clock.advance(60)
        pass_once(ledger, A)

    assert len(ledger.history(limit=10_000)) == 1500
    assert [row.due_at for row in ledger.history("e299", limit=3)] == [NOON + 300, NOON + 240, NOON + 180]
    assert {row.due_at for row in ledger.history(limit=300)} == {NOON + 300}
    assert ledger.prune(10_000) == 0


def test_closed_queues_hide_nobody_behind_them(ledger: LedgerRedis, clock: FakeClock) -> None:
    jammed = [entry(f"e{number:04d}", "every 60 0", queue="jammed", jitter=1) for number in range(1200)]
    ledger.activate(schedule(*jammed, entry("z", "every 60 0", jitter=30)), "s")
    clock.advance(60)
    pass_once(ledger, A)
    clock.advance(59)

    assert [claim.name for claim in ledger.claim(A, 10, ["jammed"])] == ["z"]


def test_an_occurrence_takes_little_memory(ledger: LedgerRedis, clock: FakeClock) -> None:
    ledger.activate(schedule(*(entry(f"e{number:03d}", "every 60 0") for number in range(400))), "s")
    for _ in range(5):
        clock.advance(60)
        claims = pass_once(ledger, A)
        ledger.settle(A, [outcome(claim, task_id=occurrence_id("shop", claim.name, claim.key.due_at)) for claim in claims])

    assert ledger.client.say("MEMORY", "USAGE", f"{ledger.keys}h:{NOON // 3600}", "SAMPLES", 0) / 2000 < 125


def test_a_command_is_alive_as_long_as_its_supervisor_reports(ledger: LedgerRedis, clock: FakeClock) -> None:
    ledger.activate(schedule(command()), "s")
    clock.advance(60)
    (claim,) = pass_once(ledger, A)
    ledger.settle(A, [outcome(claim)])
    ledger.report(B, [report(claim, State.STARTED)])
    for _ in range(3):
        clock.advance(50)
        ledger.report(B, [])
        ledger.look(A)
    assert ledger.history("c", limit=1, since=claim.key.due_at)[-1].state is State.STARTED


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("redis://h", {"hosts": (("h", 6379),), "database": 0, "prefix": "offbeat", "secure": False}),
        (
            "valkey://u:p%40@h:7/3?prefix=x",
            {"hosts": (("h", 7),), "database": 3, "username": "u", "password": "p@", "prefix": "x"},
        ),
        ("rediss://:p@[::1]:7/?db=2&ssl_ca_certs=/ca.pem", {"hosts": (("::1", 7),), "database": 2, "secure": True}),
        ("valkeys://h", {"secure": True}),
        ("unix:///run/redis.sock?db=2", {"path": "/run/redis.sock", "database": 2}),
        ("redis+unix://u:p@/run/redis.sock", {"path": "/run/redis.sock", "username": "u"}),
        ("redis+sentinel://:p@a:1,b/mymaster?db=4", {"hosts": (("a", 1), ("b", 26379)), "service": "mymaster", "database": 4}),
    ],
)
def test_an_address_is_taken_apart(address: str, expected: dict[str, Any]) -> None:
    found = parse(address)
    assert {name: getattr(found, name) for name in expected} == expected
    assert "p" not in found.where.replace("prefix", "").replace("redis", "").replace("/run", "") or not found.password


@pytest.mark.parametrize(
    "address",
    [
        "redis://:hunter2@h:port/0",
        "redis://:hunter2@h/one",
        "redis://:hunter2/x@h/0",
        "redis://a,b:hunter2/0",
        "redis://:hunter2@h/0?color=red",
        "redis://:hunter2@h/0?durability=some",
        "redis://:hunter2@h/0?prefix=",
        "redis://:hunter2@h/0?prefix={x}",
        "rediss://:hunter2@h/0?ssl_cert_reqs=perhaps",
        "rediss://:hunter2@h/0?ssl_check_hostname=maybe",
        "rediss://:hunter2@h/0?ssl_check_hostname=",
        "redis+sentinel://:hunter2@h/shop?tls=on",
        "rediss://:hunter2@h/0?ssl_keyfile=key.pem",
        "redis://:hunter2@h/0?ssl_ca_certs=ca.pem",
        "redis+sentinel://:hunter2@h/shop?ssl_cert_reqs=required&tls=no",
        "unix:///run/hunter2.sock?ssl_ca_certs=x",
        "redis+sentinel://:hunter2@h",
        "redis://:hunter2@h/0?db",
    ],
)
def test_an_address_that_is_not_right_is_told_without_its_password(address: str) -> None:
    with pytest.raises(ConfigError) as refused:
        open_ledger(address, clock=FakeClock(), project="shop", owner="o")

    assert refused.value.problems[0].code == "L500" and "hunter2" not in str(refused.value)


@pytest.mark.parametrize("option", ["ssl_ca_certs", "ssl_certfile"])
def test_a_file_of_an_address_that_is_not_there_is_told_before_anybody_is_called(option: str, tmp_path: Path) -> None:
    with pytest.raises(LedgerError) as refused:
        open_ledger(f"rediss://h.invalid/0?{option}={tmp_path}/no.pem", clock=FakeClock(), project="shop", owner="o").look(A)

    (problem,) = refused.value.problems
    assert problem.code == "L505" and f"{option}: {tmp_path}/no.pem cannot be read" in problem.what


def test_an_address_is_shown_without_its_password() -> None:
    shown = parse("redis://u:hunter2@h:7/3?prefix=x&password=hunter3").where
    assert shown == "redis://h:7/3?prefix=x"
    assert parse("redis+sentinel://u:hunter2@a:1,b/m?db=2").where == "redis+sentinel://a:1,b/m?db=2"
    assert parse("unix://u:hunter2@/run/r.sock").where == "unix:///run/r.sock?db=0"
    assert "hunter2" not in repr(parse("redis://u:hunter2@h"))
