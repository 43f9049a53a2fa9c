"""Where `offbeat` and `python -m offbeat` start. Imports as little as possible before it knows what is asked for."""

from __future__ import annotations

import sys


def main() -> None:
    """Do what the command line says and exit."""
    try:
        if "tick" in sys.argv:
            from offbeat.faces.crontab_line import tick_once, tree_of

            if plain := tree_of(sys.argv[1:]):
                sys.exit(tick_once(*plain))
        from offbeat.faces.cli import cli

        cli.main()
    except KeyboardInterrupt:  # while importing: nothing has begun
        sys.exit(130)


if __name__ == "__main__":
    main()
