"""How the guard is set: the app's configuration first, then the environment.

Never connects to anything.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

RUN, REFUSE = "run", "refuse"
VISIBILITY = 3600.0  # seconds: kombu.transport.redis
PAUSE = 10.0  # seconds before a refused message comes again


class Settings(NamedTuple):
    """ledger: its address, "" for none: the guard is off then. on_error: when it does not answer. pause: in seconds."""

    ledger: str
    project: str
    on_error: str
    pause: float
    wrong: list[str]  # what could not be read, as sentences


def read_settings(conf: Any) -> Settings:
    """Return the settings of an app. conf: its `app.conf`, or any mapping."""
    wrong: list[str] = []
    on_error = _word(conf, "offbeat_on_error", "OFFBEAT_GUARD_ON_ERROR").lower() or RUN
    if on_error not in (RUN, REFUSE):
        wrong.append(f'offbeat_on_error is "{on_error[:40]}", not "run" or "refuse": taken as "run"')
        on_error = RUN
    pause = PAUSE
    text = _word(conf, "offbeat_requeue_pause", "OFFBEAT_GUARD_REQUEUE_PAUSE")
    try:
        pause = min(max(float(text or PAUSE), 0.1), 3600.0)
    except ValueError:
        wrong.append(f'offbeat_requeue_pause is "{text[:40]}", not a number of seconds: taken as {PAUSE:g}')
    return Settings(
        ledger=_word(conf, "offbeat_ledger", "OFFBEAT_LEDGER"),
        project=_word(conf, "offbeat_project", "OFFBEAT_PROJECT") or os.environ.get("OPENSHIFT_APP_NAME", "") or "default",
        on_error=on_error,
        pause=pause,
        wrong=wrong,
    )


def visibility_of(app: Any) -> float:
    """Return after how many seconds the app's broker delivers again what nobody has acknowledged, and says so; 0 if never.

    Only Redis does both: RabbitMQ waits for the connection to end, and SQS does not say that it was delivered before.
    """
    try:
        connection = app.connection_for_read()
        if connection.get_transport_cls().driver_type != "redis":
            return 0.0
        options = {**(connection.transport_options or {}), **(app.conf.broker_transport_options or {})}
        return max(float(options.get("visibility_timeout") or VISIBILITY), 0.0)
    except (ImportError, AttributeError, KeyError, TypeError, ValueError):
        return 0.0


def _word(conf: Any, name: str, variable: str) -> str:
    value = conf.get(name)
    return str(os.environ.get(variable, "") if value is None else value).strip()
