"""Where `offbeat` and `python -m offbeat` start. Imports as little as possible before it knows what is asked for."""

from __future__ import annotations

import gc
import os
import sys


def main() -> None:
    """Do what the command line says and exit."""
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
