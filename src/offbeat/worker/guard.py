"""Before a task's body and after it: let one attempt of an occurrence start, and tell the ledger how it went.

Never changes a message that is not offbeat's. Authority: celery/app/trace.py (build_tracer); ADR 0011.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any, Mapping, NamedTuple, NoReturn

from celery import signals
from celery._state import get_current_task
from celery.app.task import Task
from celery.exceptions import Ignore
from kombu.exceptions import OperationalError

from offbeat.ports.worker_values import ALIVE, ENDED, PASSED, REFUSED_ATTEMPT, Ask, NoAnswer, Said
from offbeat.worker.life import Life
from offbeat.worker.message import COPY, TURN, Delivery, Occurrence, delivery_of, occurrence_of, of_request
from offbeat.worker.settings import REFUSE

log = logging.getLogger("offbeat.worker")

WAITED = "offbeat_waited"  # a header: how often a later attempt was put back because the ledger was silent
DOUBTED = "offbeat_doubted"  # a header: an earlier copy may be in the queue, since the broker did not say that it has it
PASSING = frozenset((COPY, WAITED, DOUBTED))  # of the message, and not of the retries of its task
WAIT, MOST_WAITS = 2.0, 15  # seconds, times
MARK = "_guarded_by_offbeat"  # on a task's request, once it was looked at: a Passage
IGNORED = {
    REFUSED_ATTEMPT: "ignored attempt %d of %s: another one has started",
    ENDED: "ignored attempt %d of %s: its first delivery has ended",
    ALIVE: "ignored attempt %d of %s: its first delivery runs",
}
ENDS = {"SUCCESS": "succeeded", "FAILURE": "failed", "RETRY": "retrying", "REVOKED": "revoked"}

life = Life()


class Passage(NamedTuple):
    """What was let through: an occurrence, or (None) what is none. No header of a message can be one.

    at: when, by the monotonic clock. is_replaced: another task goes on with the occurrence.
    """

    found: Occurrence | None
    ask: Ask = Ask("", 0, 0)
    at: float = 0.0
    is_replaced: bool = False


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
    signals.task_unknown.connect(on_unknown, weak=False)
    signals.task_rejected.connect(on_rejected, weak=False)
    signals.before_task_publish.connect(on_publish, weak=False)


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
    delivery = delivery_of(found.headers, request.delivery_info, request.retries)
    ask = life.ask(found, delivery, task.acks_late)
    if not found.atomic or life.may_be_out_twice(found, delivery):  # what was queued once, and delivered once, need not ask
        stop_unless_passed(task, request, found, ask)
    if DOUBTED in request.headers and not task.acks_late:  # Celery runs it no more; nor is its twin to run, wherever it is
        life.end(ask, found.project, done=True)
    if not PASSING.isdisjoint(request.headers):
        request.headers = {name: value for name, value in request.headers.items() if name not in PASSING}
    setattr(request, MARK, Passage(found, ask, life.clock.monotonic()))
    if found.row is not None:
        life.say(Said(found.row, found.attempt, "started", note=life.by, admitted=True), found.project)


def stop_unless_passed(task: Any, request: Any, found: Occurrence, ask: Ask) -> None:
    """Return when the ledger lets this delivery start. Raises: Ignore."""
    verdict = answer_for(task, request, found, ask)
    if verdict == ALIVE and task.acks_late:
        log.info("attempt %d of %s waits: its first delivery runs", found.attempt, found.id, extra={"event": "waits"})
        wait_for_first(task, request)
        return
    if verdict != PASSED:
        log.info(IGNORED[verdict], found.attempt, found.id, extra={"event": "not_admitted"})
        raise Ignore(IGNORED[verdict] % (found.attempt, found.id))


def answer_for(task: Any, request: Any, found: Occurrence, ask: Ask) -> str:
    """Return the verdict of WorkerStore.admit. When the ledger does not answer: this host's, or Ignore, as the settings say.

    What is put back is marked as a copy, for the broker may have it although it did not say so: then we still have it, too.
    Whoever has a copy that was doubted before keeps it, or they would multiply while ledger and broker are away.
    """
    is_doubted = False
    while True:
        try:
            return life.admit(ask, found.project)
        except NoAnswer as error:
            if life.settings.on_error != REFUSE:
                life.complain("W102", "the ledger does not answer, so tasks run without asking it", str(error))
                return unasked(task, request, found, ask)
            life.complain("W103", "the ledger does not answer, so tasks are put back", str(error))
        try:
            if not (is_doubted and DOUBTED in found.headers):
                put_back(task, request, life.settings.pause, copy=True)
        except (OperationalError, OSError) as error:  # no broker either: nothing is lost as long as we have it
            life.complain("W104", "a task could not be put back, so its process waits", type(error).__name__)
            request.headers, is_doubted = {**request.headers, DOUBTED: True}, True
            ask = ask._replace(again=True)
        life.wait()


def unasked(task: Any, request: Any, found: Occurrence, ask: Ask) -> str:
    """Return whether a delivery starts while the ledger is silent. A first attempt does, unless another one did on this host.

    A later one may be a repeat of what another host has started, and the ledger answered when it was sent. So it waits for
    that, but not for long: it may be the only one that has arrived. Raises: Ignore, when it waits.
    """
    waited = found.headers.get(WAITED)
    waited = waited if isinstance(waited, int) else 0
    if found.attempt > 1 and waited < MOST_WAITS and not life.has_started(ask, found.project):
        request.headers = {**request.headers, WAITED: waited + 1}
        with suppress(OperationalError, OSError):
            put_back(task, request, WAIT, copy=ask.again)
    return PASSED if life.start_unasked(ask, found.project) else REFUSED_ATTEMPT


def wait_for_first(task: Any, request: Any) -> None:
    """Put a copy back while the first delivery runs: acknowledged, the first one would be lost if its worker died now.

    Redis knows both by one delivery tag. When the broker is silent the copy runs: in doubt nothing is dropped.
    """
    with suppress(OperationalError, OSError):
        put_back(task, request, life.watch.beat, copy=True)


def put_back(task: Any, request: Any, pause: float, *, copy: bool) -> NoReturn:
    """Send the same message again, to come after the pause, and end this one. Not a retry: the count stays.

    A rejection would not do: most tasks are acknowledged before they run, and it knows no pause. copy: it was delivered before.
    """
    if copy:
        request.headers = {**request.headers, COPY: True}
    again = task.signature_from_request(
        request, countdown=life.watch.pause(pause), retries=request.retries, ignore_result=bool(task.ignore_result)
    )
    again.apply_async()
    raise Ignore("put back until the ledger answers, or the first delivery has ended")


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
    life.receive(request)


def on_postrun(task: Any = None, state: str | None = None, retval: Any = None, **_: Any) -> None:
    """In the task's own process: it has ended, or will be tried again."""
    passage = vars(task.request).get(MARK)
    found = passage.found if isinstance(passage, Passage) else None
    if found is None or state is None:  # without a state this process is being killed: on_failure tells
        return
    is_replaced = state == "IGNORED" and passage.is_replaced
    if is_replaced:
        state = "RETRY"
    tell_end(task, passage, state)
    if found.row is None:
        return
    said, note = ENDS.get(state, "failed"), "replaced" if is_replaced else ""
    if state == "IGNORED":  # by the task itself
        said, note = "succeeded", "ignored"
    elif state == "REJECTED":
        said, note = "retrying" if getattr(retval, "requeue", False) else "failed", "rejected"
    elif said == "failed":
        note = type(retval).__name__ if isinstance(retval, BaseException) else ""
    life.say(Said(found.row, found.attempt, said, note=note, admitted=True), found.project)


def tell_end(task: Any, passage: Passage, state: str) -> None:
    """Let the ledger know how a delivery ended, if there may be a copy of it."""
    found, ask = passage.found, passage.ask
    assert found is not None
    done = state in ("SUCCESS", "RETRY") or (state == "FAILURE" and is_acknowledged(task))
    if life.watch.visibility:
        ran = life.clock.monotonic() - passage.at
        may_be = life.may_be_out_twice(found, Delivery(ask.turn, ask.again))
        if may_be or ran >= life.watch.beat or (ask.owner and not done):
            life.end(ask, found.project, done)
    elif (task.acks_late or ask.again) and done:  # its acknowledgement may be lost with the connection; it may have a twin
        life.end(ask, found.project, done)


def is_acknowledged(task: Any, after: str = "failure") -> bool:
    """Return whether Celery acknowledges the message of a task after its failure, or after its timeout."""
    words = [getattr(task, name, None) for name in (f"acks_on_{after}", "acks_on_failure_or_timeout")]
    return not task.acks_late or bool(next((word for word in words if word is not None), True))


def on_failure(sender: Any = None, exception: Any = None, kwargs: Any = None, **_: Any) -> None:
    """In the worker's first process: the task's own was killed, by a time limit or by somebody else.

    The sender's request does not tell where we are: a newer Celery lends the first process the one of the task.
    """
    if isinstance(vars(sender.request).get(MARK), Passage):
        return  # told after the task
    request = life.received(kwargs)
    found = None if request is None else occurrence_of(request.request_dict, request.id)
    if found is None:
        return
    note = type(exception).__name__
    is_late = note == "TimeLimitExceeded"
    life.let_go(request, found, done=is_late and is_acknowledged(sender, "timeout"))
    if found.row is not None:
        reason = "timed_out" if is_late else ""
        life.say_later(Said(found.row, found.attempt, "failed", reason, note, admitted=True), found.project)


def on_revoked(request: Any = None, terminated: bool = False, expired: bool = False, **_: Any) -> None:
    """In the worker's first process: it has expired in the queue, or somebody revoked it, perhaps while it ran."""
    found = of_request(request)
    if found is None or found.row is None or not life.is_on(None):
        return
    if terminated:
        life.say_later(Said(found.row, found.attempt, "revoked", note="terminated", admitted=True), found.project)
    else:
        life.say_unstarted(found, "revoked", "expired in the queue" if expired else "revoked")


def on_unknown(message: Any = None, **_: Any) -> None:
    """In the worker's first process: no task has the name that a message is for, and Celery has thrown it away."""
    tell_thrown_away(message, "no task of that name is known to the worker")


def on_rejected(message: Any = None, **_: Any) -> None:
    """In the worker's first process: Celery could not make out a message, and has thrown it away."""
    tell_thrown_away(message, "rejected")


def tell_thrown_away(message: Any, note: str) -> None:
    """Report the end of what never began."""
    headers = getattr(message, "headers", None)
    found = occurrence_of(headers, headers.get("id")) if isinstance(headers, Mapping) else None
    if found is not None:
        life.say_unstarted(found, "failed", note)


def on_publish(headers: Any = None, **_: Any) -> None:
    """In a task's own process: what takes its place (`self.replace`) has its id; the occurrence ends when that has ended."""
    request = getattr(get_current_task(), "request", None)
    passage = None if request is None else vars(request).get(MARK)
    if not isinstance(passage, Passage) or passage.found is None or not isinstance(headers, dict):
        return
    found = passage.found
    if headers.get("id") != found.id or "offbeat_occurrence" in headers:
        return
    headers.update({name: value for name, value in found.headers.items() if name not in PASSING})
    headers[TURN] = passage.ask.turn + 1
    setattr(request, MARK, passage._replace(is_replaced=True))
