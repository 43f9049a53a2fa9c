"""Thousands of simulated days, drawn from seeds; and the proof that the same seed is the same run, and that mistakes show."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from itertools import count
from pathlib import Path

import pytest
from tests.simulation.__main__ import say, summary
from tests.simulation.mutants import MUTANTS, Mutant
from tests.simulation.scenario import Result, Run, plan_of, simulate

ROOT = Path(__file__).resolve().parents[2]
DENSE = (
    "calm",
    "rough",
    "people",
    "broker",
    "clock",
    "leap",
    "guard",
    "overlap",
    "restore",
    "fused",
    "switch",
    "rewind",
    "deploy",
)
DAYS = 260  # of each of the eight chunks of long runs: 2,080 in all
SEEDS = 5  # of each dense kind


def clean(results: list[Result]) -> None:
    """Fail with the seeds that break a rule, and how to see them."""
    say(summary(results))
    failing = [
        f"python -m tests.simulation --seed {result.seed} --kind {result.kind} --trace: {result.violations[0]}"
        for result in results
        if result.violations
    ]
    assert not failing, "\n".join(failing)


def caught(mutant: Mutant) -> tuple[int, Result]:
    """Return the first seed with which a mutant breaks a rule, and that run; the last one of all when none does."""
    for seed in range(mutant.first, mutant.first + mutant.seeds):
        with mutant.patch():
            result = Run(seed, mutant.plan, hasty=True).go()
        if result.violations:
            break
    return seed, result


@pytest.mark.parametrize("kind", DENSE)
def test_every_promise_holds_in_busy_hours_full_of_faults(kind: str) -> None:
    results = [simulate(seed, kind) for seed in range(SEEDS)]

    clean(results)
    assert sum((result.counts for result in results), Counter[str]())["push"] > 100


@pytest.mark.parametrize("chunk", range(8))
def test_every_promise_holds_over_more_than_two_thousand_days(chunk: int) -> None:
    results: list[Result] = []
    for seed in count(chunk * 1_000):
        results.append(simulate(seed, "long"))
        if sum(result.days for result in results) >= DAYS:
            break

    clean(results)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_a_ledger_without_one_of_its_rules_is_caught(mutant: Mutant) -> None:
    seed, result = caught(mutant)

    assert result.violations, f"{mutant.seeds} runs did not find out that the rule is gone"
    say(f"{mutant.name}: seed {seed}, {result.violations[0]}")
    assert not Run(seed, mutant.plan).go().violations, "the rule itself is broken, or the checker is"


def test_a_seed_is_the_same_run_every_time_also_where_it_fails() -> None:
    mutant = MUTANTS[1]
    seed, first = caught(mutant)
    with mutant.patch():
        second = Run(seed, mutant.plan, hasty=True).go()

    assert first.violations
    assert first == second
    assert simulate(3, "rough").trace == simulate(3, "rough").trace != simulate(4, "rough").trace


def test_a_seed_is_the_same_run_in_another_process_with_another_order_of_hashes() -> None:
    def told(hashes: str) -> str:
        command = [sys.executable, "-m", "tests.simulation", "--seed", "5", "--kind", "guard", "--trace"]
        environ = {**os.environ, "PYTHONHASHSEED": hashes, "PYTHONPATH": os.pathsep.join(sys.path)}
        return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True).stdout

    assert told("1") == told("2") != ""


def test_every_kind_of_run_is_drawn() -> None:
    assert {plan_of(seed).kind for seed in range(300)} == {*DENSE, "long"}


@pytest.mark.parametrize("kind", ["rough", "overlap", "guard", "deploy"])
def test_every_promise_holds_on_a_sqlite_file_too(kind: str) -> None:
    results = [simulate(seed, kind, sqlite=True) for seed in (1, 3)]

    clean(results)
    assert sum(result.counts["push"] for result in results) > 100
