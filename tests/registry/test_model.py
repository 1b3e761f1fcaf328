"""The registry against a plain dict: keys, deaths and crashes in any order and from several threads."""

from __future__ import annotations

import itertools
import threading
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from resprout.actors import AlreadyRegistered, GenServer, NotFound, Pid, Reply, process
from resprout.registry import Registry

from ..waiting import down_of
from .user_id import UserId

WATCHDOG = 30.0
QUICK = settings(
    max_examples=30, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
_numbers = itertools.count(1)


KEYS = st.sampled_from(["a", "b", 1, True, 2.0, ("user", 1), UserId(1), UserId(2), None])


class Owner(GenServer):
    """Tries what it is called with and answers whether that worked."""

    def handle_call(self, message: Any, from_: Any, state: Any) -> Reply:
        try:
            return Reply(("done", message()), state)
        except (AlreadyRegistered, NotFound) as error:
            return Reply(("refused", getattr(error, "pid", None)), state)


class InlineOwner(Owner):
    blocking = False


class ThreadOwner:
    """A plain thread with the same calls; its end is its death."""

    def __init__(self) -> None:
        self._work: list[tuple[Any, threading.Event, list[Any]]] = []
        self._bell = threading.Semaphore(0)
        self._pids: list[Pid] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self.call(lambda: self._pids.append(process.current()))
        self.pid = self._pids[0]

    def _run(self) -> None:
        while self._bell.acquire() and self._work:
            function, done, answer = self._work.pop(0)
            try:
                answer.append(("done", function()))
            except (AlreadyRegistered, NotFound) as error:
                answer.append(("refused", getattr(error, "pid", None)))
            done.set()

    def call(self, function: Any) -> Any:
        done, answer = threading.Event(), list[Any]()
        self._work.append((function, done, answer))
        self._bell.release()
        assert done.wait(WATCHDOG)
        return answer[0]

    def end(self) -> None:
        self._bell.release()
        self._thread.join(WATCHDOG)


def end(owner: Any) -> None:
    pid = owner.pid if isinstance(owner, ThreadOwner) else owner
    ref = process.monitor(pid)
    if isinstance(owner, ThreadOwner):
        owner.end()
    else:
        process.exit(owner, "kill")
    down_of(ref)


def pid_of(owner: Any) -> Pid:
    return owner.pid if isinstance(owner, ThreadOwner) else owner


class Machine(RuleBasedStateMachine):
    """Common to both kinds of keys: who lives, and the crash of the registry."""

    keys = "unique"
    owners = Bundle("owners")

    def __init__(self) -> None:
        super().__init__()
        self.name = f"model-{next(_numbers)}"
        self.before = process.trap_exit(True)
        self.alive: list[Any] = []
        self.start()

    def start(self) -> None:
        Registry.start_link(keys=self.keys, name=self.name, partitions=2)

    @rule(target=owners, kind=st.sampled_from([Owner, InlineOwner, ThreadOwner]))
    def begin(self, kind: Any) -> Any:
        owner = kind() if kind is ThreadOwner else kind.start()
        self.alive.append(owner)
        return owner

    @rule(owner=consumes(owners))
    def die(self, owner: Any) -> None:
        end(owner)
        self.alive.remove(owner)
        self.forget(pid_of(owner))

    @rule()
    def crash(self) -> None:
        end(process.whereis(self.name))
        self.start()

    def forget(self, pid: Pid) -> None:
        raise NotImplementedError

    def teardown(self) -> None:
        for owner in self.alive:
            end(owner)
            self.forget(pid_of(owner))
        assert Registry.select(self.name) == []
        assert Registry.count(self.name) == 0
        Registry.stop(self.name)
        process.trap_exit(bool(self.before))


class UniqueKeys(Machine):
    """The model: each key has one owner and one value."""

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[Any, tuple[Pid, Any]] = {}

    @rule(owner=Machine.owners, key=KEYS, value=st.integers())
    def register(self, owner: Any, key: Any, value: int) -> None:
        answer = owner.call(lambda: Registry.register(self.name, key, value))
        if key in self.model:
            assert answer == ("refused", self.model[key][0])
        else:
            assert answer == ("done", pid_of(owner))
            self.model[key] = (pid_of(owner), value)

    @rule(owner=Machine.owners, key=KEYS)
    def unregister(self, owner: Any, key: Any) -> None:
        owner.call(lambda: Registry.unregister(self.name, key))
        if self.model.get(key, (None,))[0] is pid_of(owner):
            del self.model[key]

    @rule(owner=Machine.owners, key=KEYS)
    def update(self, owner: Any, key: Any) -> None:
        answer = owner.call(lambda: Registry.update_value(self.name, key, lambda value: value + 1))
        if self.model.get(key, (None,))[0] is pid_of(owner):
            pid, old = self.model[key]
            assert answer == ("done", (old + 1, old))
            self.model[key] = (pid, old + 1)
        else:
            assert answer == ("refused", None)

    @rule(key=KEYS)
    def contest(self, key: Any) -> None:
        """All owners try at the same time: one wins, or nobody if the key is taken."""
        gate = threading.Barrier(len(self.alive) + 1)
        answers: list[tuple[Any, Any]] = []

        def attempt(owner: Any) -> None:
            gate.wait(WATCHDOG)
            answers.append((owner, owner.call(lambda: Registry.register(self.name, key, 0))))

        threads = [threading.Thread(target=attempt, args=(owner,)) for owner in self.alive]
        for thread in threads:
            thread.start()
        gate.wait(WATCHDOG)
        for thread in threads:
            thread.join()
        winners = [owner for owner, (outcome, _) in answers if outcome == "done"]
        if key in self.model:
            assert winners == []
        elif self.alive:
            (winner,) = winners
            self.model[key] = (pid_of(winner), 0)

    def forget(self, pid: Pid) -> None:
        self.model = {key: entry for key, entry in self.model.items() if entry[0] is not pid}

    @invariant()
    def agrees(self) -> None:
        assert {key: (pid, value) for key, pid, value in Registry.select(self.name)} == self.model
        assert Registry.count(self.name) == len(self.model)
        for owner in self.alive:
            pid = pid_of(owner)
            mine = {key for key, (who, _) in self.model.items() if who is pid}
            assert set(Registry.keys(self.name, pid)) == mine
        for key in ("a", 1, True, UserId(1), None):
            assert Registry.lookup(self.name, key) == ([self.model[key]] if key in self.model else [])


class DuplicateKeys(Machine):
    """The model: each key has a list of owners with their values."""

    keys = "duplicate"

    def __init__(self) -> None:
        super().__init__()
        self.model: list[tuple[Any, Pid, int]] = []

    @rule(owner=Machine.owners, key=KEYS, value=st.integers(0, 3))
    def register(self, owner: Any, key: Any, value: int) -> None:
        assert owner.call(lambda: Registry.register(self.name, key, value)) == ("done", pid_of(owner))
        self.model.append((key, pid_of(owner), value))

    @rule(owner=Machine.owners, key=KEYS)
    def unregister(self, owner: Any, key: Any) -> None:
        owner.call(lambda: Registry.unregister(self.name, key))
        self.model = [row for row in self.model if row[:2] != (key, pid_of(owner))]

    @rule(owner=Machine.owners, key=KEYS, value=st.integers(0, 3))
    def unregister_match(self, owner: Any, key: Any, value: int) -> None:
        owner.call(lambda: Registry.unregister_match(self.name, key, value))
        self.model = [row for row in self.model if row != (key, pid_of(owner), value)]

    def forget(self, pid: Pid) -> None:
        self.model = [row for row in self.model if row[1] is not pid]

    @invariant()
    def agrees(self) -> None:
        assert Registry.count(self.name) == len(self.model)
        for key in ("a", 1, 2.0, UserId(1), None):
            rows = [(pid, value) for each, pid, value in self.model if each == key]
            assert Registry.lookup(self.name, key) == rows
        for owner in self.alive:
            pid = pid_of(owner)
            assert Registry.keys(self.name, pid) == [key for key, who, _ in self.model if who is pid]


TestUniqueKeys = UniqueKeys.TestCase
TestUniqueKeys.settings = QUICK
TestDuplicateKeys = DuplicateKeys.TestCase
TestDuplicateKeys.settings = QUICK
