"""What a process calls itself in the ledger."""

from __future__ import annotations

import os
import subprocess
import sys

from offbeat.ports.process import runner_here

SAY = "import os; os.getpid = lambda: 1; from offbeat.ports.process import runner_here as r; print(r('run').id, r('run').id)"


def test_two_containers_with_one_host_name_and_one_process_id_are_two_runners() -> None:
    said = [subprocess.run([sys.executable, "-c", SAY], capture_output=True, text=True, check=True).stdout for _ in range(2)]

    (first, again), (second, _) = (line.split() for line in said)
    assert first == again
    assert first.rpartition(":")[0] == second.rpartition(":")[0] == f"{os.uname().nodename}:1:run"
    assert first != second


def test_a_fork_is_another_runner() -> None:
    mine = runner_here("run").id
    out, into = os.pipe()
    if not (child := os.fork()):
        os.write(into, runner_here("run").id.encode())
        os._exit(0)
    os.waitpid(child, 0)

    assert os.read(out, 1000).decode().rpartition(":")[2] != mine.rpartition(":")[2]
