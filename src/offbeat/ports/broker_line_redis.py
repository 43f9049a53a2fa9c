"""A line to Redis or Valkey, which can also say what it would push, so that a ledger on the same server may push it.

A push is made by kombu's own channel, byte for byte what its publish sends. Never repeats one.
"""

from __future__ import annotations

from collections.abc import Sequence

from offbeat.ports import broker_faults as faults
from offbeat.ports.broker import Delivery, Push
from offbeat.ports.broker_lines import BrokenLineError, Letter, PlainLine, cut_sockets

OUT_OF_SERVICE = {"ReadOnlyError", "OutOfMemoryError", "MasterDownError", "ClusterDownError", "AuthenticationError"}  # redis-py
MISCONF = "MISCONF"  # Redis cannot write to its disk; redis-py has no class for it
POOLS = ("_pool", "_async_pool")  # kombu's, of a channel
CONNECTIONS = ("_available_connections", "_in_use_connections")  # redis-py's, of a pool


class RedisLine(PlainLine):
    """Letters as entries of lists."""

    def check(self, idle: float) -> None:
        with self._channel.conn_or_acquire() as client:
            client.ping()

    def cut(self) -> None:
        for pool in (getattr(self._channel, name, None) for name in POOLS):
            for name in CONNECTIONS:
                cut_sockets(getattr(each, "_sock", None) for each in list(getattr(pool, name, ())))

    def server_id(self) -> str:
        """Return the server's run_id, another one after each of its starts. Raises what redis-py raises."""
        with self._channel.conn_or_acquire() as client:
            return str(client.info("server").get("run_id", ""))

    def prepare(self, letters: Sequence[Letter], found: dict[int, Push | Delivery]) -> None:
        """Write into `found` what to push for each letter, by number, or why it cannot be. Raises: BrokenLineError."""
        tables: dict[str, Sequence[tuple[str, str, str]]] = {}
        for letter in letters:
            try:
                found[letter.number] = self._prepare(letter, tables)
            except self._connection.channel_errors as exc:
                if self._stops_all(exc):
                    raise BrokenLineError(exc) from exc
                found[letter.number] = self._refused(letter, exc)
            except self._connection.connection_errors as exc:
                raise BrokenLineError(exc) from exc
            except Exception as exc:  # noqa: BLE001 - this letter cannot be written; there is no list of what that raises
                found[letter.number] = faults.refused(f"cannot be written: {exc}", retry=False)

    def _prepare(self, letter: Letter, tables: dict[str, Sequence[tuple[str, str, str]]]) -> Push | Delivery:
        from kombu.utils.json import dumps

        exchange, routing_key = letter.message.exchange, letter.message.routing_key
        queues = {routing_key}
        if exchange:
            if exchange not in tables:
                tables[exchange] = list(self._channel.get_table(exchange))
            queues = self._queues(exchange, routing_key, tables[exchange])
        if not queues:
            return faults.unroutable(exchange, routing_key)
        if len(queues) > 1:
            return faults.not_one_push(exchange)
        channel, message = self._channel, letter.addressed(self._channel)
        channel._inplace_augment_message(message, exchange, routing_key)
        key = channel._q_for_pri(queues.pop(), channel._get_message_priority(message, reverse=False))
        return Push(
            database=int(channel.pool.connection_kwargs["db"]),
            key=f"{channel.global_keyprefix}{key}",
            payload=dumps(message).encode("utf-8"),
        )

    def _stops_all(self, error: Exception) -> bool:
        """Return whether Redis says no to every message, not to this one."""
        return bool(OUT_OF_SERVICE & {kind.__name__ for kind in type(error).__mro__}) or str(error).startswith(MISCONF)
