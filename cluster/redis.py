"""Redis as an engine: locks and keys on the server that one has. Needs the extra ``redis``.

A session has two connections, of which one only listens: to a channel of its own, by which others tell it
what it was granted, and see that it is there.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from typing_extensions import assert_never

from ..throttle import Rate
from .driver import Claimant, Greeting, NotTaken, Request, utf8
from .errors import EngineRefused
from .key_operations import KeyFact, KeyRequest
from .operations import (
    Answer,
    Declare,
    Fact,
    Granted,
    Join,
    Keep,
    Leave,
    Lost,
    Operation,
    Pause,
    Queued,
    Reaped,
    Redeclared,
    Refused,
    Rerated,
    Resize,
    Row,
)
from .redis_keys import STEP_KEYS, facts_of, packed, rows_of
from .redis_scripts import BEAT, CLAIMANTS, HELLO, VERSION, Script
from .redis_step import STEP
from .redis_wire import RedisError, Wire, Word
from .settings import EngineSettings, shown, without_secrets

OLDEST = 7
NOT_TAKEN = ("WRONGTYPE ", "ERR user_script:")
"""What a script ends with because of what was said, or of what is kept there of that."""
_SAME_AS = {"valkey": "redis", "valkeys": "rediss"}


def connect(settings: EngineSettings, member: int, again: bool, timeout: float) -> RedisConnection:
    """Begin a session (see driver.Connect)."""
    with ExitStack() as ends:
        wire, about = connected(settings, timeout)
        ends.callback(wire.close)
        ears = _wire(settings, timeout)
        ends.callback(ears.close)
        try:
            connection = RedisConnection(settings, wire, ears, member, again, _name_of(about), timeout)
        except RedisError as error:
            raise _refusal(settings, error) or error from None
        ends.pop_all()
        return connection


def connected(settings: EngineSettings, timeout: float) -> tuple[Wire, Mapping[str, str]]:
    """Connect to a server that can be an engine; what it says of itself."""
    wire = _wire(settings, timeout)
    try:
        about = wire.run("INFO", timeout=timeout)
        found = dict(line.split(":", 1) for line in about.decode().splitlines() if ":" in line)
        _check(settings, found)
        return wire, found
    except RedisError as error:
        wire.close()
        raise _refusal(settings, error) or error from None
    except BaseException:
        wire.close()
        raise


def _wire(settings: EngineSettings, timeout: float) -> Wire:
    _, _, rest = settings.url.partition("://")
    scheme = _SAME_AS.get(settings.scheme, settings.scheme)
    try:
        _database_of(settings.url)
        return Wire(f"{scheme}://{rest}", _printable(f"resprout:{settings.node}"), timeout)
    except ValueError as error:
        why = without_secrets(str(error), settings.url)
        raise EngineRefused(settings.name, f"the URL {shown(settings.url)} is none: {why}") from None
    except RedisError as error:
        raise _refusal(settings, error) or error from None


def _database_of(url: str) -> None:
    """Refuse what the library would take for the database 0."""
    path = url.partition("://")[2].partition("?")[0].partition("/")[2]
    if path and not path.isdigit():
        raise ValueError(
            "expected nothing but the number of a database behind the host, as in redis://host/0"
        )


def _printable(text: str) -> str:
    """What Redis takes for the name of a connection: printable ASCII without spaces."""
    return "".join(each if "!" <= each <= "~" else "_" for each in text)


def _name_of(about: Mapping[str, str]) -> str:
    valkey = about.get("valkey_version")
    return f"Valkey {valkey}" if valkey else f"Redis {about['redis_version']}"


def _check(settings: EngineSettings, about: Mapping[str, str]) -> None:
    """Look what is at the other end.

    Raises:
        EngineRefused: it can't be an engine.
    """
    where = shown(settings.url)
    version = about.get("redis_version", "0")
    if int(version.partition(".")[0]) < OLDEST:
        raise EngineRefused(settings.name, f"expected Redis {OLDEST} or later at {where}, got: {version}")
    mode = about.get("redis_mode", "standalone")
    if mode == "cluster" or about.get("cluster_enabled") == "1":
        raise EngineRefused(
            settings.name,
            f"{where} is a node of a Redis Cluster, whose failovers forget what was granted, and which sends "
            f"locks to several servers; give the address of a server that is on its own",
        )
    if mode != "standalone":
        raise EngineRefused(
            settings.name,
            f"{where} is a {mode}, which keeps no data; give the address of the primary",
        )
    if about.get("role", "master") != "master":
        raise EngineRefused(settings.name, f"{where} is a replica; give the address of the primary")


def rights(schema: str) -> str:
    """What a user of an access control list needs."""
    return f"~{schema}:* &{schema}@* +@all -@dangerous +info"


def _refusal(settings: EngineSettings, error: RedisError) -> EngineRefused | None:
    """What an answer means for which trying again does not help; None for all others."""
    where = shown(settings.url)
    if error.kind == "NOPERM":
        return EngineRefused(
            settings.name,
            f"this user may not do at {where} what an engine does ({error}); it needs "
            f"`{rights(settings.schema)}`",
        )
    if error.kind == "VERSION":
        version = str(error).partition(" ")[2]
        newer = "update resprout here" if int(version) > VERSION else "run `resprout cluster remove URL`"
        return EngineRefused(
            settings.name, f"expected keys {settings.schema}:* of version {VERSION}, got: {version}; {newer}"
        )
    if error.kind == "ELSEWHERE":
        return EngineRefused(
            settings.name,
            f"two connections to {where} lead to two servers, or to something in between that keeps "
            f"subscriptions to itself; give the address of Redis itself",
        )
    return None


class RedisConnection:
    """A session (see driver.KeyConnection)."""

    def __init__(
        self,
        settings: EngineSettings,
        wire: Wire,
        ears: Wire,
        member: int,
        again: bool,
        server: str,
        timeout: float,
    ) -> None:
        self._wire = wire
        self._ears = ears
        self._schema = schema = settings.schema
        # Never the number of another one, whatever the server forgets.
        session = random.SystemRandom().getrandbits(53)
        self._channel = channel = f"{schema}@{_selected(wire, timeout)}:"
        self._who = (schema, channel, str(member), str(session))
        # First, so that nothing is missed that is granted from now on, and others see that it is there.
        ears.run("SUBSCRIBE", f"{channel}{session}", timeout=timeout)
        microseconds = (round(settings.ttl * 1e6), round(settings.grace * 1e6))
        values = (*self._who, utf8(settings.node), *microseconds, int(again))
        quiet, ended, rows, keys = self._one(HELLO, values, timeout)
        self.greeting = Greeting(session, server, float(quiet), _by_lock(rows), rows_of(keys), bool(ended))

    def fileno(self) -> int:
        return self._ears.fileno()

    def step(self, requests: Sequence[Request], timeout: float) -> list[Answer]:
        if not requests:
            self._one(BEAT, self._who, timeout)
            return []
        member = self._who[2]
        asked: list[tuple[Word, ...]] = []
        for each in requests:
            name = utf8(each.lock)
            base = f"{self._schema}:{{{name}}}"
            keys = (f"{base}:lock", f"{base}:line", f"{base}:members", f"{base}:claims:{member}")
            new = (each.num_slots, *_rate(each.rate))
            words: list[Word] = [4, *keys, *self._who, name, int(each.poll), *new]
            for operation in each.operations:
                words += _packed(operation)
            asked.append(tuple(words))
        return [_answer(*told) for told in self._several(STEP, asked, timeout)]

    def keys(self, requests: Sequence[KeyRequest], timeout: float) -> list[list[KeyFact]]:
        asked: list[tuple[Word, ...]] = []
        for each in requests:
            words: list[Word] = [0, *self._who, utf8(each.registry)]
            for operation in each.operations:
                words += packed(operation)
            asked.append(tuple(words))
        return [facts_of(told) for told in self._several(STEP_KEYS, asked, timeout)]

    def notified(self) -> list[Granted]:
        return [Granted(*map(int, said.split())) for _, _, said in self._ears.heard()]

    def claimants(self, lock: str, timeout: float) -> list[Claimant]:
        values = (self._schema, self._channel, utf8(lock))
        found = []
        for member, node, ref, record, seconds in self._one(CLAIMANTS, values, timeout):
            weight, rank, place, token, _, _, who = record.decode(errors="replace").split(" ", 6)
            order = (int(token) == 0, int(token), int(rank), int(place))
            claimant = Claimant(
                int(member),
                int(ref),
                node.decode(errors="replace"),
                who,
                int(token) or None,
                int(weight),
                -int(rank),
                float(seconds),
            )
            found.append((order, claimant))
        return [claimant for _, claimant in sorted(found, key=lambda each: each[0])]

    def warnings(self, timeout: float) -> list[str]:
        about = self._wire.run("INFO", "memory", timeout=timeout).decode()
        policy = about.partition("maxmemory_policy:")[2].partition("\r")[0]
        if policy in ("noeviction", ""):
            return []
        warning = (
            f"maxmemory-policy is {policy}, by which Redis forgets who holds a lock when its memory is full, "
            f"and lets somebody else in; set it to noeviction, or give locks a server of their own"
        )
        return [warning]

    def interrupt(self) -> None:
        self._wire.interrupt()
        self._ears.interrupt()

    def close(self) -> None:
        self._wire.close()
        self._ears.close()

    def _one(self, script: Script, values: Sequence[Word], timeout: float) -> Any:
        (answer,) = self._several(script, [(0, *values)], timeout)
        return answer

    def _several(self, script: Script, asked: Sequence[Sequence[Word]], timeout: float) -> list[Any]:
        answers = self._wire.ask([("EVALSHA", script.sha, *each) for each in asked], timeout)
        unknown = [number for number, answer in enumerate(answers) if _is_unknown(answer)]
        if unknown:
            told = self._wire.ask([("EVAL", script.text, *asked[number]) for number in unknown], timeout)
            for number, answer in zip(unknown, told, strict=True):
                answers[number] = answer
        errors = [answer for answer in answers if isinstance(answer, RedisError)]
        for error in errors:
            if not str(error).startswith(NOT_TAKEN):
                raise error
        if errors:
            raise NotTaken(str(errors[0]))
        return answers


def _selected(wire: Wire, timeout: float) -> str:
    """The number of the database: channels are of all of them."""
    about: bytes = wire.run("CLIENT", "INFO", timeout=timeout)
    return about.decode(errors="replace").partition(" db=")[2].partition(" ")[0]


def _is_unknown(answer: object) -> bool:
    return isinstance(answer, RedisError) and answer.kind == "NOSCRIPT"


def _by_lock(rows: Sequence[bytes]) -> Mapping[str, Mapping[int, Row]]:
    found: dict[str, dict[int, Row]] = {}
    for at in range(0, len(rows), 4):
        ref, token, place = map(int, rows[at + 1 : at + 4])
        found.setdefault(rows[at].decode(), {})[ref] = Row(token or None, place)
    return found


def _packed(operation: Operation) -> tuple[Word, ...]:
    match operation:
        case Join(ref, weight, priority, once, max_waiting, who, place, block):
            most = "" if max_waiting is None else max_waiting
            given = "" if place is None else place
            return ("j", ref, weight, priority, int(once), most, utf8(who), given, block)
        case Leave(ref):
            return ("l", ref)
        case Keep(ref, token, weight, priority, who, block):
            return ("k", ref, token, weight, priority, utf8(who), block)
        case Declare(num_slots, paused, rate):
            return ("d", num_slots, int(paused), *_rate(rate))
        case Resize(num_slots):
            return ("r", num_slots)
        case Pause(paused):
            return ("p", int(paused))
        case _:
            assert_never(operation)


def _rate(rate: Rate | None) -> tuple[Word, Word]:
    return ("", "") if rate is None else (repr(rate.per_second), rate.burst)


def _answer(num_slots: bytes, paused: int, watch: bytes, again: bytes, said: Sequence[bytes | int]) -> Answer:
    words = iter(said)
    facts: list[Fact] = []
    for kind in words:
        match kind:
            case b"granted":
                facts.append(Granted(int(next(words)), int(next(words))))
            case b"queued":
                facts.append(Queued(int(next(words)), int(next(words))))
            case b"refused":
                facts.append(Refused(int(next(words)), _decoded(next(words))))
            case b"lost":
                facts.append(Lost(int(next(words))))
            case b"redeclared":
                facts.append(Redeclared(int(next(words))))
            case b"rerated":
                per_second, burst = next(words), next(words)
                facts.append(Rerated(Rate(float(per_second), int(burst)) if burst else None))
            case b"reaped":
                facts.append(Reaped(_decoded(next(words)), int(next(words))))
            case _:
                raise AssertionError(kind)
    return Answer(
        int(num_slots),
        bool(paused),
        tuple(facts),
        None if not watch else watch == b"1",
        float(again) if again else None,
    )


def _decoded(word: bytes | int) -> str:
    assert isinstance(word, bytes)
    return word.decode(errors="replace")
