"""What is remembered on this host from one process to the next: a small file in the state folder.

Never the truth of anything: without it a tree is read once more, and the same trouble is told twice.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from offbeat.errors import ConfigError
from offbeat.runners.places import state_home

FILE = "tree.json"  # what the newest tree was, so that an unchanged one is not parsed again; what was told; what was seen


@dataclass(slots=True, kw_only=True)
class Notes:
    """Words by topic. names: what the folder is called, by where the tree really is, and by how it is known.

    A tree that is reached by two names has one folder, and so have the releases that one link leads to in turn. tree: kept
    with the words. optional: a host without a place for them is fine: they last as long as the process then.
    """

    environ: Mapping[str, str]
    names: tuple[str, ...]
    tree: str
    optional: bool = False
    _folder: Path | None = field(default=None, init=False)
    _kept: dict[str, str] = field(default_factory=dict, init=False)

    @property
    def folder(self) -> Path:
        """The state folder. Raises ConfigError when there is no place for one."""
        if self._folder is None:
            base = state_home(self.environ)
            places = [base / "offbeat" / name for name in self.names]
            self._folder = next((place.resolve() for place in places if place.is_dir()), places[-1])
        return self._folder

    def read(self) -> dict[str, str]:
        """Return all that is remembered."""
        try:
            notes = json.loads((self.folder / FILE).read_text("utf-8"))
        except (OSError, ValueError, RecursionError):
            return dict(self._kept)
        except ConfigError:
            if not self.optional:
                raise
            return dict(self._kept)
        return {**notes, **self._kept} if isinstance(notes, dict) else dict(self._kept)

    def get(self, topic: str, default: str = "") -> str:
        """Return what is remembered of one topic."""
        return self.read().get(topic, default)

    def write(self, **words: str) -> None:
        """Remember these words too. Raises OSError where that is not possible, unless it is optional."""
        try:
            self._write(words)
        except (OSError, ConfigError):
            if not self.optional:
                raise
            self._kept.update(words)

    def _write(self, words: Mapping[str, str]) -> None:
        folder = self.folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = folder / f"{FILE}.{os.getpid()}"
        draft.write_text(json.dumps({"tree": self.tree, **self.read(), **words}), "utf-8")
        draft.replace(folder / FILE)
        for name in self.names:
            if not (folder.parent / name).exists():
                with contextlib.suppress(FileExistsError):
                    (folder.parent / name).symlink_to(folder.name)

    def is_news(self, topic: str, text: str) -> bool:
        """Return whether `text` differs from what was told of `topic` last, and remember it; "" when there is nothing to tell.

        Keeps a crontab line from mailing the same trouble every minute. Where nothing can be remembered, all is news.
        """
        if self.get(topic) == text:
            return False
        with contextlib.suppress(OSError):
            self.write(**{topic: text})
        return True
