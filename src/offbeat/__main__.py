"""Where `offbeat` and `python -m offbeat` start. Imports as little as possible before it knows what is asked for."""

from __future__ import annotations

import gc
import os
import sys


def main() -> None:
    """Do what the command line says and exit."""
    if sys.version_info < (3, 11):
        sys.exit("offbeat's commands need Python 3.11 or newer; on this one only offbeat.worker works, beside Celery tasks")
    open_closed()
    gc.disable()  # a tick or a fire lives for a fraction of a second; `run` switches it on again
    try:
        if "tick" in sys.argv:
            from offbeat.faces.crontab_line import tick_once, tree_of

            if plain := tree_of(sys.argv[1:]):
                leave(tick_once(*plain))
        from offbeat.faces.cli import cli

        cli.main()
    except KeyboardInterrupt:  # while importing: nothing has begun
        sys.exit(130)
    except SystemExit as exc:
        leave(exc.code if isinstance(exc.code, int) else 0 if exc.code is None else 1)


def open_closed() -> None:
    """Let each standard file that is closed lead nowhere, or a file of ours would get its number, and what is printed."""
    for fd, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
            setattr(sys, name, os.fdopen(fd, mode, closefd=False))


def leave(code: int) -> None:
    """End at once, without the interpreter's own clearing up, which costs a tenth of a tick; all that is held is closed."""
    if "coverage" in sys.modules or "pdb" in sys.modules:
        sys.exit(code)
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):  # nobody reads any more
        os._exit(code or 141)
    os._exit(code)


if __name__ == "__main__":
    main()
