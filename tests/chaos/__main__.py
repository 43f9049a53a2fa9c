"""The long chaos test: `python -m tests.chaos --minutes 5 --ledger postgres --broker rabbitmq --seed 1`."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from tests.chaos.scene import BROKERS, HARMS, STORES, explain, play, report, set_up, write


def main() -> int:
    """Play one scene; return 0 when nothing was lost or repeated."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--ledger", choices=STORES, default="postgres")
    parser.add_argument("--broker", choices=BROKERS, default="rabbitmq")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--on-error", choices=("refuse", "run"), default="refuse", help="the guard's policy")
    parser.add_argument("--harm", choices=HARMS, default="all", help="ledger: it alone is restarted, again and again")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="offbeat-chaos-"))
    folder.chmod(0o755)  # PostgreSQL runs as somebody else
    with set_up(folder / "scene", options.ledger, options.broker, on_error=options.on_error) as scene:
        verdict, _ = play(scene, seconds=options.minutes * 60, seed=options.seed, say=write, harm=options.harm)
        write(report(options.ledger, options.broker, verdict))
        bad = verdict.lost or verdict.unknown or verdict.repeated_starts or verdict.early
        if options.ledger == options.broker:
            bad = bad or verdict.repeated_enqueues
        if bad:
            write(explain(verdict, scene))
    return int(bool(bad))


if __name__ == "__main__":
    raise SystemExit(main())
