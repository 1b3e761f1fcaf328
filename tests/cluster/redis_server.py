"""A Redis server of the tests' own: 127.0.0.1, a free port, nothing on the disk, stopped by its pid."""

from __future__ import annotations

import itertools
import os
import queue
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from ..waiting import until_elsewhere

DATABASES = 500
SOME = 20
"""Grants that there are in any history."""


def find_program() -> Path | None:
    """Where redis-server is, or what RESPROUT_REDIS_SERVER names in its place, such as Valkey's."""
    found = shutil.which(os.environ.get("RESPROUT_REDIS_SERVER", "redis-server"))
    return None if found is None else Path(found)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _cut(client: redis.Redis, name: str) -> int:
    cut = 0
    for each in client.client_list():
        if each["name"].startswith(name):
            # The engine ends the one itself, when it has lost the other.
            client.client_kill_filter(_id=each["id"])
            cut += 1
    return cut


class RedisServer:
    """See the module.

    Args:
        options: of redis-server.
    """

    def __init__(self, program: Path, *options: str) -> None:
        self.folder = tempfile.mkdtemp(prefix="resprout-redis-")
        self.port = free_port()
        self._numbers = itertools.count()
        self._command = [
            *[str(program), "--port", str(self.port), "--bind", "127.0.0.1"],
            *["--save", "", "--daemonize", "no", "--databases", str(DATABASES), *options],
        ]
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, cwd=self.folder)
        until_elsewhere(self._answers)

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except (redis.ConnectionError, redis.AuthenticationError):
            assert self._process.poll() is None, "it has ended"
            return False

    def crash(self) -> None:
        """Have it end at once, with all that it kept."""
        self._process.kill()
        self._process.wait()

    def cut(self) -> int:
        """End all connections of engines; how many there were."""
        return self.cut_named("resprout:")

    def cut_named(self, name: str) -> int:
        """The same of those whose name begins so."""
        with self.client() as client:
            return _cut(client, name)

    def remove(self) -> None:
        self.crash()
        shutil.rmtree(self.folder)

    @property
    def url(self) -> str:
        return self.url_of()

    def client(self, database: int = 0) -> redis.Redis:
        return redis.Redis(port=self.port, db=database, decode_responses=True)

    def url_of(self, database: int = 0) -> str:
        return f"redis://127.0.0.1:{self.port}/{database}"

    def database(self) -> RedisDatabase:
        """An empty one, which the server does not have been started for just now."""
        number = next(self._numbers)
        with self.client(number) as client:
            client.hset("resprout:server", "identity", str(client.info("server")["run_id"]))
        return RedisDatabase(self, number)


# Of all locks; what it used is noted with the lock.
FORGET_CLAIMS = """
for _, key in ipairs(redis.call('KEYS', 'resprout:*')) do
    if key:find(':claims:', 1, true) or key:find('}:members$') or key:find('}:line$') then
        redis.call('DEL', key)
    elseif key:find('}:lock$') then
        redis.call('HSET', key, 'used', 0)
    end
end
"""


class RedisDatabase:
    """See databases."""

    def __init__(self, server: RedisServer, number: int) -> None:
        self._server = server
        self._number = number
        self.url = server.url_of(number)
        self.port = server.port
        self._history: History | None = None

    def client(self) -> redis.Redis:
        return self._server.client(self._number)

    def claims(self) -> int:
        with self.client() as client:
            return sum(client.hlen(key) for key in client.scan_iter("resprout:*:claims:*"))

    def keys(self) -> int:
        with self.client() as client:
            return sum(client.hlen(key) for key in client.scan_iter("resprout:*}:keys"))

    def num_slots(self) -> int:
        with self.client() as client:
            # A lock is told of behind its start.
            return max(
                (int(client.hget(key, "slots") or 0) for key in client.scan_iter("resprout:*:lock")),
                default=0,
            )

    def lose_everything(self) -> None:
        with self.client() as client:
            client.eval(FORGET_CLAIMS, 0)
        self._server.cut_named("resprout:here")

    def forget(self) -> None:
        with self.client() as client:
            client.flushdb()

    def sessions(self) -> int:
        with self.client() as client:
            return sum(each["name"].startswith("resprout:") for each in client.client_list()) // 2

    def cut(self) -> int:
        return self._server.cut() // 2

    @contextmanager
    def silent(self) -> Iterator[None]:
        with self.client() as client:
            client.client_pause(60_000, all=False)
            yield
            client.client_unpause()

    @contextmanager
    def closed(self) -> Iterator[None]:
        with self.client() as client:
            client.execute_command("ACL", "SETUSER", "default", "off")
            try:
                # By this client: another one would not be let in.
                _cut(client, "resprout:")
                yield
            finally:
                client.execute_command("ACL", "SETUSER", "default", "on")

    def keep_history(self) -> None:
        self._history = History(self.client())

    def most_by_history(self) -> int:
        assert self._history is not None
        return self._history.most()


# Of all claims; the mark is seen by whoever monitors the server.
LOOK = """
redis.call('ECHO', 'history')
local found = {}
for _, key in ipairs(redis.call('KEYS', 'resprout:*:claims:*')) do
    found[#found + 1] = {key, unpack(redis.call('HGETALL', key))}
end
return found
"""


class History:
    """Notes what scripts do to claims."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._claims: dict[str, dict[str, int]] = {}
        self._tokens: list[int] = []
        self._most = 0
        self._first: queue.Queue[list[list[str]]] = queue.Queue()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._listen, args=(ready,))
        self._thread.start()
        assert ready.wait(10)
        self._first.put(client.eval(LOOK, 0))

    def _listen(self, ready: threading.Event) -> None:
        began = False
        with self._client.monitor() as monitor:
            ready.set()
            while True:
                command = monitor.next_command()
                words = [*command["command"].split(" ", 3), "", ""]
                if words[:2] == ["PING", "enough"]:
                    break
                if command["client_type"] != "lua":
                    continue
                if words[:2] == ["ECHO", "history"]:
                    began = True
                    for key, *rows in self._first.get(timeout=10):
                        for ref, record in zip(rows[::2], rows[1::2], strict=True):
                            self._note("HSET", key, ref, record)
                    self._tokens.sort()
                elif began and ":claims:" in words[1]:
                    self._note(*words[:4])

    def _note(self, kind: str, key: str, ref: str, record: str) -> None:
        claims = self._claims.setdefault(key, {})
        if kind == "HSET":
            weight, _, _, token, _ = record.split(" ", 4)
            if int(token):
                claims[ref] = int(weight)
                self._tokens.append(int(token))
        elif kind == "HDEL":
            claims.pop(ref, None)
        elif kind == "DEL":
            claims.clear()
        self._most = max(self._most, sum(sum(each.values()) for each in self._claims.values()))

    def most(self) -> int:
        with self._client as client:
            client.execute_command("PING", "enough")
            self._thread.join(30)
        assert not self._thread.is_alive()
        assert len(self._tokens) > SOME
        assert self._tokens == sorted(set(self._tokens))
        return self._most
