"""Routes: a task's name to the queue that its workers listen on.

Never talks to a broker. Follows Celery's task_routes: an exact name first, else the first pattern with a `*` that matches.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase


def queue_of(task: str, routes: Sequence[tuple[str, str]], default_queue: str) -> str:
    """Return the queue for a task.

    >>> queue_of("difio.tasks.search_dates", [("difio.tasks.search_*", "search")], "celery")
    'search'
    >>> queue_of("difio.tasks.weekly_report", [("difio.tasks.search_*", "search")], "celery")
    'celery'
    """
    for pattern, queue in routes:
        if pattern == task:
            return queue
    for pattern, queue in routes:
        if "*" in pattern and fnmatchcase(task, pattern):
            return queue
    return default_queue
