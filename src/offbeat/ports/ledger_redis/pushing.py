"""The ledger in Redis, where it pushes into the broker's queues: on the server whose name was told, and on no other."""

from __future__ import annotations

from offbeat.errors import LedgerError
from offbeat.ports.ledger_redis import problems, safety
from offbeat.ports.ledger_redis.claims import Claims
from offbeat.ports.ledger_redis.store import Reply

MOST_BYTES = 8 * 2**20  # of messages in one script, the last one aside


class Pushing(Claims):
    """server_id, and what every script that pushes is said by."""

    _server = ""  # as `server_id` told it last
    _connections = -1  # of the client, when it did

    def server_id(self) -> str:
        self._server = safety.run_id(self.client)
        self._connections = self.client.connections
        return self._server

    def is_there(self) -> bool:
        """Return whether this is still the server whose name was told: a push elsewhere would reach no worker."""
        if self._connections == self.client.connections:
            return True
        before = self._server
        return self.server_id() == before or not before

    def ask_there(self, name: str, *words: str | bytes | int) -> Reply | None:
        """Run a script that pushes, once more when the connection was lost; None when that led to another server."""
        if not self.is_there():
            return None
        try:
            return self.ask(name, *words, again=False)
        except LedgerError as error:
            if error.problems[0].code != problems.UNREACHABLE[0]:
                raise
        return self.ask(name, *words, again=False) if self.is_there() else None
