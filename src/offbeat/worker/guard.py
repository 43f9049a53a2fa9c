"""Before a task's body and after it: let one attempt of an occurrence start, and tell the ledger how it went.

Never changes a message that is not offbeat's. Authority: celery/app/trace.py (build_tracer); ADR 0011.
"""

from __future__ import annotations

import logging
from typing import Any, NamedTuple, NoReturn

from celery import signals
from celery.app.task import Task
from celery.exceptions import Ignore
from kombu.exceptions import OperationalError

from offbeat.ports.worker_values import NoAnswer, Said
from offbeat.worker.life import Life
from offbeat.worker.message import Occurrence, of_request
from offbeat.worker.settings import REFUSE

log = logging.getLogger("offbeat.worker")

MARK = "_guarded_by_offbeat"  # on a task's request, once it was looked at: a Passage
ENDS = {"SUCCESS": "succeeded", "FAILURE": "failed", "RETRY": "retrying", "REVOKED": "revoked"}

life = Life()


class Passage(NamedTuple):
    """What was let through: an occurrence, or (None) what is none. No header of a message can be one."""

    found: Occurrence | None


def install() -> None:
    """Put the guard in front of every task of this process. Doing it twice is as good as once."""
    if getattr(Task.before_start, "is_offbeat", False):
        return
    Task.before_start = guarded(Task.before_start)
    signals.worker_init.connect(on_worker_init, weak=False)
    signals.worker_ready.connect(on_worker_ready, weak=False)
    signals.worker_shutdown.connect(on_worker_shutdown, weak=False)
    signals.task_received.connect(on_received, weak=False)
    signals.task_postrun.connect(on_postrun, weak=False)
    signals.task_failure.connect(on_failure, weak=False)
    signals.task_revoked.connect(on_revoked, weak=False)


def guarded(before_start: Any) -> Any:
    """Return a `before_start` of Task itself that asks first. Its module must not be Celery's: by that Celery finds it."""

    def before_start_guarded(self: Any, task_id: str, args: Any, kwargs: Any) -> Any:
        check(self)
        return before_start(self, task_id, args, kwargs)

    before_start_guarded.is_offbeat = True  # type: ignore[attr-defined]
    return before_start_guarded


def cover(task: Any) -> None:
    """Put the guard in front of a task whose class has a `before_start` of its own, which need not call Task's."""
    own = task.before_start
    if getattr(own, "is_offbeat", False):
        return

    def before_start_covered(task_id: str, args: Any, kwargs: Any) -> Any:
        check(task)
        return own(task_id, args, kwargs)

    before_start_covered.is_offbeat = True  # type: ignore[attr-defined]
    task.before_start = before_start_covered


def check(task: Any) -> None:
    """Return when the task may run. Raises: Ignore when another attempt of its occurrence has won, or to come again later."""
    request = task.request
    if isinstance(vars(request).get(MARK), Passage):  # a before_start of the task's own calls Task's
        return
    found = of_request(request)
    setattr(request, MARK, Passage(None))
    if found is None or not life.is_on(task.app):
        return
    if request.headers is None:  # Celery 5.2 would lose them in a retry
        request.headers = found.headers
    if not found.atomic and not admitted(task, request, found):
        log.info("ignored attempt %d of %s: another one has started", found.attempt, found.id, extra={"event": "not_admitted"})
        raise Ignore("another attempt of this occurrence has started")
    setattr(request, MARK, Passage(found))
    if found.row is not None:
        life.say(Said(found.row, found.attempt, "started", admitted=True), found.project)


def admitted(task: Any, request: Any, found: Occurrence) -> bool:
    """Return whether this attempt may start. When the ledger does not answer: True, or Ignore, as the settings say."""
    while True:
        try:
            return life.admit(found)
        except NoAnswer as error:
            if life.settings.on_error != REFUSE:
                life.complain("W102", "the ledger does not answer, so tasks run without asking it", str(error))
                return True
            life.complain("W103", "the ledger does not answer, so tasks are put back", str(error))
        try:
            put_back(task, request)
        except (OperationalError, OSError) as error:  # no broker either: nothing is lost as long as we have it
            life.complain("W104", "a task could not be put back, so its process waits", type(error).__name__)
            life.wait()


def put_back(task: Any, request: Any) -> NoReturn:
    """Send the same message again, to come after the pause, and end this one. Not a retry: the count stays.

    A rejection would not do: most tasks are acknowledged before they run, and it knows no pause.
    """
    again = task.signature_from_request(
        request, countdown=life.settings.pause, retries=request.retries, ignore_result=bool(task.ignore_result)
    )
    again.apply_async()
    raise Ignore("put back until the ledger answers")


def on_worker_init(sender: Any = None, **_: Any) -> None:
    """Every module of tasks is imported, and no process of the pool is there yet."""
    for task in list(sender.app.tasks.values()):
        cover(task)
    life.open(sender.app)


def on_worker_ready(**_: Any) -> None:
    life.start()


def on_worker_shutdown(**_: Any) -> None:
    life.stop()


def on_received(request: Any = None, **_: Any) -> None:
    """In the worker's first process: remember what is reported here if the task's own process cannot."""
    if "offbeat_row" in request.request_dict:
        life.received[request.id] = request


def on_postrun(task: Any = None, state: str | None = None, retval: Any = None, **_: Any) -> None:
    """In the task's own process: it has ended, or will be tried again."""
    passage = vars(task.request).get(MARK)
    found = passage.found if isinstance(passage, Passage) else None
    if found is None or found.row is None or state is None:  # without a state this process is being killed: on_failure tells
        return
    said, note = ENDS.get(state, "failed"), ""
    if state == "IGNORED":  # by the task itself
        said, note = "succeeded", "ignored"
    elif state == "REJECTED":
        said, note = "retrying" if getattr(retval, "requeue", False) else "failed", "rejected"
    elif said == "failed":
        note = type(retval).__name__ if isinstance(retval, BaseException) else ""
    life.say(Said(found.row, found.attempt, said, note=note, admitted=True), found.project)


def on_failure(sender: Any = None, task_id: str = "", exception: Any = None, **_: Any) -> None:
    """In the worker's first process: the task's own was killed, by a time limit or by somebody else."""
    if sender.request.id == task_id:
        return  # told after the task
    found = life.of_received(task_id)
    if found is not None and found.row is not None:
        note = type(exception).__name__
        reason = "timed_out" if note == "TimeLimitExceeded" else ""
        life.say_later(Said(found.row, found.attempt, "failed", reason, note, admitted=True), found.project)


def on_revoked(request: Any = None, terminated: bool = False, expired: bool = False, **_: Any) -> None:
    """In the worker's first process: it has expired in the queue, or somebody revoked it, perhaps while it ran."""
    found = of_request(request)
    if found is not None and found.row is not None and life.is_on(None):
        note = "expired in the queue" if expired else "terminated" if terminated else "revoked"
        life.say_later(Said(found.row, found.attempt, "revoked", note=note, admitted=terminated), found.project)
