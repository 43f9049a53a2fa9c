"""The words of the schedule as JSON text and back: what the ledger keeps of entries, and what a digest is taken of.

Never writes a default away, so that a stored definition means the same in every version; reads what has fields missing or more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TypeAlias, cast

from offbeat.core.model import (
    AfterRestore,
    BrokerSettings,
    CatchUp,
    CommandCall,
    Entry,
    Json,
    LedgerSettings,
    Overlap,
    Policy,
    Schedule,
    TaskCall,
    Timing,
)
from offbeat.errors import Problem

Fields: TypeAlias = "Mapping[str, object]"


def _text(value: Json) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _fields(text: str) -> Fields:
    return cast("Fields", json.loads(text))


def _whole(fields: Fields, name: str, default: int | None = None) -> int | None:
    return cast("int | None", fields.get(name, default))


def _str(fields: Fields, name: str, default: str = "") -> str:
    return cast("str", fields.get(name, default))


def _map(fields: Fields, name: str) -> Mapping[str, Json]:
    return cast("Mapping[str, Json]", fields.get(name, {}))


def _timing_out(timing: Timing) -> Json:
    return {
        "recurrence": timing.recurrence,
        "zone": timing.zone,
        "starts_at": timing.starts_at,
        "ends_at": timing.ends_at,
        "enabled": timing.enabled,
    }


def _timing_in(fields: Fields) -> Timing:
    return Timing(
        recurrence=_str(fields, "recurrence"),
        zone=_str(fields, "zone", "UTC"),
        starts_at=_whole(fields, "starts_at"),
        ends_at=_whole(fields, "ends_at"),
        enabled=bool(fields.get("enabled", True)),
    )


def _policy_out(policy: Policy) -> Json:
    return {
        "catch_up": policy.catch_up.value,
        "grace": policy.grace,
        "jitter": policy.jitter,
        "jitter_percent": policy.jitter_percent,
        "overlap": policy.overlap.value,
        "max_runtime": policy.max_runtime,
    }


def _policy_in(fields: Fields) -> Policy:
    return Policy(
        catch_up=CatchUp(_str(fields, "catch_up", CatchUp.LATEST.value)),
        grace=_whole(fields, "grace"),
        jitter=_whole(fields, "jitter", 0) or 0,
        jitter_percent=_whole(fields, "jitter_percent", 0) or 0,
        overlap=Overlap(_str(fields, "overlap", Overlap.ALLOW.value)),
        max_runtime=_whole(fields, "max_runtime"),
    )


def _call_out(call: TaskCall | CommandCall) -> Json:
    if isinstance(call, CommandCall):
        return {
            "type": "command",
            "argv": list(call.argv),
            "cwd": call.cwd,
            "directory": call.directory,
            "time_limit": call.time_limit,
        }
    return {
        "type": "task",
        "task": call.task,
        "args": list(call.args),
        "kwargs": call.kwargs,
        "queue": call.queue,
        "exchange": call.exchange,
        "routing_key": call.routing_key,
        "priority": call.priority,
        "expires": call.expires,
        "headers": call.headers,
        "serializer": call.serializer,
    }


def _call_in(fields: Fields) -> TaskCall | CommandCall:
    if fields.get("type") == "command":
        return CommandCall(
            argv=tuple(cast("list[str]", fields["argv"])),
            cwd=_str(fields, "cwd", "."),
            directory=_str(fields, "directory"),
            time_limit=_whole(fields, "time_limit", 1200) or 1200,
        )
    return TaskCall(
        task=_str(fields, "task"),
        args=tuple(cast("list[Json]", fields.get("args", []))),
        kwargs=_map(fields, "kwargs"),
        queue=_str(fields, "queue", "celery"),
        exchange=_str(fields, "exchange"),
        routing_key=_str(fields, "routing_key"),
        priority=_whole(fields, "priority"),
        expires=_whole(fields, "expires"),
        headers=_map(fields, "headers"),
        serializer=_str(fields, "serializer", "json"),
    )


def _settings_out(settings: BrokerSettings) -> Json:
    return {
        "broker_env": settings.broker_env,
        "env_file": settings.env_file,
        "transport_options": settings.transport_options,
        "ssl": settings.ssl,
    }


def _settings_in(fields: Fields) -> BrokerSettings:
    return BrokerSettings(
        broker_env=_str(fields, "broker_env"),
        env_file=_str(fields, "env_file"),
        transport_options=_map(fields, "transport_options"),
        ssl=cast("Mapping[str, Json] | bool", fields.get("ssl", False)),
    )


def _ledger_out(ledger: LedgerSettings) -> Json:
    return {
        "keep_seconds": ledger.keep_seconds,
        "keep_rows": ledger.keep_rows,
        "keep_bytes": ledger.keep_bytes,
        "after_restore": ledger.after_restore.value,
    }


def _ledger_in(fields: Fields) -> LedgerSettings:
    default = LedgerSettings()
    return LedgerSettings(
        keep_seconds=_whole(fields, "keep_seconds") or default.keep_seconds,
        keep_rows=_whole(fields, "keep_rows"),
        keep_bytes=_whole(fields, "keep_bytes"),
        after_restore=AfterRestore(_str(fields, "after_restore", default.after_restore.value)),
    )


def _entry_out(entry: Entry, *, place: bool = True) -> Json:
    fields: dict[str, Json] = {
        "name": entry.name,
        "timing": _timing_out(entry.timing),
        "call": _call_out(entry.call),
        "policy": _policy_out(entry.policy),
        "description": entry.description,
    }
    return {**fields, "file": entry.file, "line": entry.line} if place else fields


def _entry_in(fields: Fields) -> Entry:
    return Entry(
        name=_str(fields, "name"),
        timing=_timing_in(cast("Fields", fields["timing"])),
        call=_call_in(cast("Fields", fields["call"])),
        policy=_policy_in(cast("Fields", fields.get("policy", {}))),
        description=_str(fields, "description"),
        file=_str(fields, "file"),
        line=_whole(fields, "line", 0) or 0,
    )


def _schedule_out(schedule: Schedule, *, place: bool = True) -> dict[str, Json]:
    return {
        "project": schedule.project,
        "timezone": schedule.timezone,
        "task_prefix": schedule.task_prefix,
        "default_queue": schedule.default_queue,
        "routes": [list(route) for route in schedule.routes],
        "broker": _settings_out(schedule.broker),
        "ledger": _ledger_out(schedule.ledger),
        "rules": schedule.rules,
        "entries": [_entry_out(entry, place=place) for entry in schedule.entries],
    }


def timing_to_json(timing: Timing) -> str:
    """Return the timing as compact JSON with sorted keys; equal timings give equal text."""
    return _text(_timing_out(timing))


def timing_from_json(text: str) -> Timing:
    """Return the timing that `timing_to_json` wrote."""
    return _timing_in(_fields(text))


def policy_to_json(policy: Policy) -> str:
    """Return the policy as compact JSON with sorted keys; equal policies give equal text."""
    return _text(_policy_out(policy))


def policy_from_json(text: str) -> Policy:
    """Return the policy that `policy_to_json` wrote."""
    return _policy_in(_fields(text))


def call_to_json(call: TaskCall | CommandCall) -> str:
    """Return the call as compact JSON with sorted keys; "type" tells a task from a command."""
    return _text(_call_out(call))


def call_from_json(text: str) -> TaskCall | CommandCall:
    """Return the call that `call_to_json` wrote."""
    return _call_in(_fields(text))


def settings_to_json(schedule: Schedule) -> str:
    """Return the schedule's settings of broker and ledger, and its rules, as compact JSON with sorted keys."""
    broker = cast("dict[str, Json]", _settings_out(schedule.broker))
    return _text({**broker, "ledger": _ledger_out(schedule.ledger), "rules": schedule.rules})


def settings_from_json(text: str) -> BrokerSettings:
    """Return the broker settings that `settings_to_json` wrote."""
    return _settings_in(_fields(text))


def ledger_settings_from_json(text: str) -> LedgerSettings:
    """Return the ledger settings that `settings_to_json` wrote."""
    return _ledger_in(cast("Fields", _fields(text).get("ledger", {})))


def rules_from_json(text: str) -> str:
    """Return the rules that `settings_to_json` wrote, "" of a revision from before there were any."""
    return _str(_fields(text), "rules")


def entry_to_json(entry: Entry) -> str:
    """Return the entry, with its file and line, as compact JSON with sorted keys."""
    return _text(_entry_out(entry))


def entry_from_json(text: str) -> Entry:
    """Return the entry that `entry_to_json` wrote."""
    return _entry_in(_fields(text))


def schedule_to_json(schedule: Schedule) -> str:
    """Return the schedule, with its digest, as compact JSON with sorted keys."""
    return _text({**_schedule_out(schedule), "digest": schedule.digest})


def schedule_from_json(text: str) -> Schedule:
    """Return the schedule that `schedule_to_json` wrote."""
    fields = _fields(text)
    return Schedule(
        project=_str(fields, "project"),
        timezone=_str(fields, "timezone", "UTC"),
        entries=tuple(_entry_in(entry) for entry in cast("list[Fields]", fields["entries"])),
        task_prefix=_str(fields, "task_prefix"),
        default_queue=_str(fields, "default_queue", "celery"),
        routes=tuple((pattern, queue) for pattern, queue in cast("list[tuple[str, str]]", fields.get("routes", []))),
        broker=_settings_in(cast("Fields", fields.get("broker", {}))),
        ledger=_ledger_in(cast("Fields", fields.get("ledger", {}))),
        rules=_str(fields, "rules"),
        digest=_str(fields, "digest"),
    )


def canonical_text(schedule: Schedule) -> str:
    """Return what the digest is taken of: everything in the schedule except where it is written and the digest itself."""
    return _text(_schedule_out(schedule, place=False))


def format_problem_json(problem: Problem) -> dict[str, str | int]:
    """Return a problem as `offbeat check --json` prints it."""
    return {
        "file": problem.file,
        "line": problem.line,
        "code": problem.code,
        "severity": problem.severity.value,
        "what": problem.what,
        "why": problem.why,
        "fix": problem.fix,
    }
