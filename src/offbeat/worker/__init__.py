"""The guard inside a Celery worker: `imports = ["offbeat.worker"]` lets at most one attempt of each occurrence start.

Python 3.8 and Celery 5.2, because users' workers may be old. Imports nothing of offbeat's but the ports' worker side.
"""

from __future__ import annotations

from offbeat.worker.guard import install

__all__ = ["install"]

install()
