"""A line to Redis or Valkey: pushes many at once and each id once, or says what it would push, for a ledger on the same server.

A push is made by kombu's own channel, byte for byte what its publish sends. Its authority is docs/adr/0018.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

from offbeat.ports import broker_faults as faults
from offbeat.ports.broker import Delivery, Push
from offbeat.ports.broker_kombu.lines import BrokenLineError, Letter, PlainLine, Until, cut_sockets
from offbeat.ports.clock import Clock

MARK = "offbeat:sent:"  # before an id: the key that says that it was pushed, under which attempt
KEPT = 86_400  # seconds for which a mark is kept that nobody takes away
STEP = 100  # pushes of one script at most, so that the server is not held up
STEP_BYTES = 2**20  # of bodies in one script
BUSY = ("BUSY", "TRYAGAIN", "NOREPLICAS")  # what Redis says to every command, for a while
UNKNOWN, UNMARKED = -1, 2  # answers of the script: nobody may look for the mark; pushed, but not marked
Post: TypeAlias = tuple[Letter, Push]

# ARGV: 1 seconds to keep a mark, 2 the server's time after which nothing is pushed, then list, message, mark, attempt of each.
# Returns the server's time in two parts, and unless it is too late an answer for each. Whatever can fail comes before the mark:
# a message with a mark is in its list.
PUSH = """
if redis.replicate_commands then redis.replicate_commands() end
local time = redis.pcall('TIME')
if time.err then return time end
local answers = {time[1], time[2]}
if tonumber(time[1]) + tonumber(time[2]) / 1000000 > tonumber(ARGV[2]) then return answers end
for n = 3, #ARGV, 4 do
  local answer = redis.pcall('EXISTS', ARGV[n + 2])
  if type(answer) ~= 'number' then
    answer = -1
  elseif answer == 1 then
    answer = 0
  else
    answer = redis.pcall('LPUSH', ARGV[n], ARGV[n + 1])
    if type(answer) == 'number' then
      local marked = redis.pcall('SET', ARGV[n + 2], ARGV[n + 3], 'EX', ARGV[1])
      answer = marked.err and 2 or 1
    end
  end
  answers[#answers + 1] = answer
end
return answers
"""

OUT_OF_SERVICE = {"ReadOnlyError", "OutOfMemoryError", "MasterDownError", "ClusterDownError", "AuthenticationError"}  # redis-py
MISCONF = "MISCONF"  # Redis cannot write to its disk; redis-py has no class for it
POOLS = ("_pool", "_async_pool")  # kombu's, of a channel
CONNECTIONS = ("_available_connections", "_in_use_connections")  # redis-py's, of a pool


class RedisLine(PlainLine):
    """Letters as entries of lists. forgetful: why this server cannot remember what was pushed, "" while it does."""

    def __init__(self, connection: Any, clock: Clock) -> None:
        super().__init__(connection, clock)
        self.forgetful = ""
        self._is_nameless = False  # the server does not tell this user which it is
        self._ahead: float | None = None  # seconds by which the server's clock is ahead of our monotonic one

    def send(self, letters: Sequence[Letter], until: Until, found: dict[int, Delivery]) -> None:
        """Send in order, STEP at a time, none after `until` by the server's own clock, no id twice. See Line.send."""
        for step in _steps(letters):
            if until.is_over():
                return
            if self.forgetful:
                super().send(step, until, found)
            else:
                self._send_once(step, until, found)

    def forget(self, task_ids: Sequence[str]) -> None:
        """Take the marks of these ids away. Raises what redis-py raises."""
        if task_ids and not self.forgetful:
            with self._channel.conn_or_acquire() as client, suppress(*self._connection.channel_errors):  # then they end by age
                client.execute_command("UNLINK", *map(self._mark, task_ids))

    def check(self, idle: float) -> None:
        with self._channel.conn_or_acquire() as client:
            client.ping()

    def cut(self) -> None:
        for pool in (getattr(self._channel, name, None) for name in POOLS):
            for name in CONNECTIONS:
                cut_sockets(getattr(each, "_sock", None) for each in list(getattr(pool, name, ())))

    def server_id(self) -> str:
        """Return the server's run_id, another one after each start; "" where it tells this user none, and is not asked again.

        Raises what redis-py raises.
        """
        if self._is_nameless:
            return ""
        with self._channel.conn_or_acquire() as client:
            try:
                return str(client.info("server").get("run_id", ""))
            except self._connection.channel_errors as exc:
                self._is_nameless = _is_forbidden(exc)
                if not self._is_nameless:
                    raise
                return ""

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

    def _send_once(self, letters: Sequence[Letter], until: Until, found: dict[int, Delivery]) -> None:
        posts, others = self._sorted(letters, found)
        try:
            if posts:
                others += self._read(posts, self._push(posts, until.at), found)
        except self._connection.channel_errors as exc:
            if self._stops_all(exc):
                raise BrokenLineError(exc) from exc
            if str(exc).startswith(BUSY):
                found.update({letter.number: self._refused(letter, exc) for letter, _ in posts})
            else:  # nothing was pushed: this user may not, or this server cannot
                self.forgetful = str(exc) or type(exc).__name__
                others = list(letters)
        except self._connection.connection_errors as exc:
            raise BrokenLineError(exc) from exc
        super().send([letter for letter in others if letter.number not in found], until, found)

    def _sorted(self, letters: Sequence[Letter], found: dict[int, Delivery]) -> tuple[list[Post], list[Letter]]:
        """Return what can be pushed, and what one push is not enough for; write into `found` what cannot be sent."""
        prepared: dict[int, Push | Delivery] = {}
        self.prepare(letters, prepared)
        posts: list[Post] = []
        others: list[Letter] = []
        for letter in letters:
            push = prepared[letter.number]
            if isinstance(push, Push):
                posts.append((letter, push))
            elif push.tried:
                found[letter.number] = push
            else:
                others.append(letter)
        return posts, others

    def _push(self, posts: Sequence[Post], until: float) -> Sequence[Any]:
        """Push; return the script's answers, of which a refusal is an exception; none when it was too late."""
        with self._channel.conn_or_acquire() as client:
            if self._ahead is None:
                self._set_clock(client.execute_command("TIME"))
            words: list[Any] = [KEPT, repr((self._ahead or 0.0) + until)]
            for letter, push in posts:
                attempt = letter.message.headers.get("offbeat_attempt", 0)
                words += [push.key, push.payload, self._mark(letter.message.task_id), str(attempt)]
            found: Sequence[Any] = client.eval(PUSH, 0, *words)
        self._set_clock(found)
        return found[2:]

    def _read(self, posts: Sequence[Post], answers: Sequence[Any], found: dict[int, Delivery]) -> list[Letter]:
        """Write what became of each into `found`; return what is to be published instead. Raises: BrokenLineError."""
        if not answers:  # others may have what we claimed
            found.update({letter.number: faults.out_of_time() for letter, _ in posts})
            return []
        left: list[Letter] = []
        stop: Exception | None = None
        for (letter, _), answer in zip(posts, answers, strict=True):
            if isinstance(answer, Exception):
                if self._stops_all(answer) or not isinstance(answer, self._connection.channel_errors):
                    stop = answer
                else:
                    found[letter.number] = self._refused(letter, answer)
                continue
            if answer in (UNKNOWN, UNMARKED):
                self.forgetful = f'the user may not read and write the keys "{self._mark("*")}"'
            if answer == UNKNOWN:
                left.append(letter)
            else:
                found[letter.number] = Delivery()
        if stop is not None:
            raise BrokenLineError(stop)
        return left

    def _set_clock(self, answer: Sequence[Any]) -> None:
        """Learn what the server's clock says; its answer was on its way, so we rather think it slow than fast."""
        self._ahead = int(answer[0]) + int(answer[1]) / 1e6 - self._clock.monotonic()

    def _mark(self, task_id: str) -> str:
        return f"{self._channel.global_keyprefix}{MARK}{task_id}"

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


def _is_forbidden(error: Exception) -> bool:
    """Return whether this user may not give the command, or the server has none of this name."""
    return type(error).__name__ == "NoPermissionError" or str(error).lower().startswith(("noperm", "unknown command"))


def _steps(letters: Sequence[Letter]) -> Iterator[Sequence[Letter]]:
    """Cut into what one script is given."""
    step: list[Letter] = []
    size = 0
    for letter in letters:
        if step and (len(step) == STEP or size + len(letter.body) > STEP_BYTES):
            yield step
            step, size = [], 0
        step.append(letter)
        size += len(letter.body)
    if step:
        yield step
