"""The closed list of event names that logs carry.

Never logs by itself. Its authority is docs/reference/logging.md. Convention: `log.info("dispatched", extra={"event":
Event.DISPATCHED, "fields": {"entry": ..., "due_at": ...}})` on the logger "offbeat"; the fields are plain values.
"""

from __future__ import annotations

from enum import StrEnum


class Event(StrEnum):
    """What happened. One comment each says which fields go with it."""

    ACTIVATED = "activated"  # a revision came into force: revision, entries, digest
    REFUSED = "refused"  # the newest tree was refused whole, the last good schedule stays in force: problems
    PROBLEM = "problem"  # one problem of the tree, once a change: code, where, entry
    RECURRENCE_FAILED = "recurrence_failed"  # an entry's due times cannot be worked out here; it is tried again: error
    RECORDED = "recorded"  # decisions were written: rows, gaps, groups
    DISPATCHED = "dispatched"  # the broker (or the supervisor) has it: entry, due_at, cause, attempt, task_id
    SKIPPED = "skipped"  # it will not be dispatched: entry, due_at, reason
    RETRIED = "retried"  # it was handed back and will be tried again: entry, due_at, attempt, next_try_at, error
    UNDELIVERED = "undelivered"  # its grace ended before the broker took it: entry, due_at, error
    COMMAND_STARTED = "command_started"  # a supervisor has commands: entry, due_at, directory
    COMMAND_FAILED = "command_failed"  # a command ended badly: entry, due_at, reason, note
    BROKER_DOWN = "broker_down"  # the broker went out of reach: where, error
    BROKER_BACK = "broker_back"  # the broker takes messages again: where, seconds
    BROKER_FORGETFUL = "broker_forgetful"  # it does not remember what it took, so a crash may repeat messages: error
    LEDGER_ERROR = "ledger_error"  # the ledger could not be asked: where, error
    LEDGER_BACK = "ledger_back"  # the ledger answers again: where, seconds
    BUG = "bug"  # a mistake of offbeat's own; the runner goes on: error, and a traceback
    CLOCK_DOUBTED = "clock_doubted"  # the clock stepped far forward; nothing is decided until a second look: believe_at
    CLOCK_DIFFERS = "clock_differs"  # our clock differs from the ledger's, so nothing is recorded here: skew
    RULES_DIFFER = "rules_differ"  # our zones, holidays or sun are older, so nothing is recorded here: own, ledger
    RULES_RENEWED = "rules_renewed"  # the schedule was compiled anew, since ours are newer: revision, rules
    RESTORED = "restored"  # the ledger went back to an older state: seen, found, after_restore
    FENCED = "fenced"  # what became of claims came too late, others have them: count
    COMPILED = "compiled"  # a tree was compiled into a ledger that hosts share: revision
    OVERTIME = "overtime"  # a pass or a tick was ended at its time limit: seconds
    STARTED = "started"  # a runner is up: runner, tree, ledger
    STOPPING = "stopping"  # a runner was told to stop, and its batch is done: runner
    STOPPED = "stopped"  # a runner is gone: runner
