"""A line to the filesystem transport: each file appears under its name when it is whole, never before."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from offbeat.ports import broker_faults as faults
from offbeat.ports.broker import Delivery
from offbeat.ports.broker_kombu.lines import Letter, PlainLine
from offbeat.ports.clock import Clock


def stage(options: dict[str, Any]) -> tuple[Path, Path]:
    """Let kombu write files where no worker looks, on the same file system; return (there, where they belong)."""
    target = Path(options["data_folder_out"])
    Path(options["data_folder_in"]).mkdir(parents=True, exist_ok=True)
    staged = target / f".sending-{os.getpid()}"
    staged.mkdir(parents=True, exist_ok=True)
    for left in staged.iterdir():
        left.unlink()
    options["data_folder_out"] = str(staged)
    return staged, target


class FolderLine(PlainLine):
    """Letters as files in a folder."""

    def __init__(self, connection: Any, clock: Clock, stage: Path, target: Path) -> None:
        super().__init__(connection, clock)
        self._stage = stage
        self._target = target

    def check(self, idle: float) -> None:
        self._stage.stat()
        self._target.stat()

    def close(self) -> None:
        super().close()
        self._stage.rmdir()

    def _stops_all(self, error: Exception) -> bool:
        return True  # disk full, no rights, folder gone

    def _send(self, letter: Letter) -> Delivery:
        if "/" in letter.message.routing_key or "\0" in letter.message.routing_key:
            return faults.refused(f'"{letter.message.routing_key}" cannot be part of a file name', retry=False)
        try:
            delivery = super()._send(letter)
            for file in self._stage.iterdir():
                file.replace(self._target / file.name)
        except BaseException:
            for file in self._stage.glob("*"):  # half a message
                file.unlink()
            raise
        return delivery
