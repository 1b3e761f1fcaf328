"""Errors survive copy, deepcopy, pickle and a process pool: same type, same text, same attributes."""

from __future__ import annotations

import copy
import importlib
import inspect
import multiprocessing
import os
import pickle
import pkgutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import attrs
import pytest

import resprout
from resprout.actors import (
    AlreadyStarted,
    CallTimeout,
    ConfigError,
    Crash,
    Killed,
    LockNotFound,
    NoProcess,
    Pid,
    ProcessExit,
    QueueFull,
    ResproutError,
    ServerExit,
    Shutdown,
    SpecError,
    StartError,
    process,
)
from resprout.registry import UnknownRegistry

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
WITHOUT_WHEELS = ("confluent_kafka", "hiredis", "psycopg", "redis")


def every_error() -> list[type[BaseException]]:
    """The classes of all errors in all modules of the library."""
    for module in pkgutil.walk_packages(resprout.__path__, "resprout."):
        if not module.name.endswith("__main__"):
            try:
                importlib.import_module(module.name)
            except ModuleNotFoundError as error:
                # Some have no wheels yet for the newest Python.
                if error.name not in WITHOUT_WHEELS:
                    raise

    def below(cls: type[BaseException]) -> Iterator[type[BaseException]]:
        yield cls
        for each in cls.__subclasses__():
            yield from below(each)

    found = dict.fromkeys([*below(ResproutError), *below(Killed)])
    return [cls for cls in found if cls.__module__.startswith("resprout.")]


def sample(cls: type[BaseException], pid: Pid) -> BaseException:
    """One of a class, made from values that suit the names of its constructor's parameters."""
    values: dict[str, Any] = {
        "actor": object(),
        "advice": "leave one out",
        "allowed": "Ok or Stop",
        "callback": "init",
        "chain": (pid, pid, pid),
        "column": 5,
        "combination": (("restart", "temporary"), ("significant", True)),
        "ended": Crash(ValueError("boom", pid)),
        "field": "restart",
        "file": "tree.yaml",
        "key": ("user", 42),
        "kind": "message",
        "known": ("books", "films"),
        "leaks": ("lock 'boks'",),
        "line": 4,
        "max_waiting": 100,
        "meant": ("films",),
        "message": "there are no boks",
        "more": 19,
        "name": "boks",
        "part": "message[0]",
        "path": "children[0]",
        "pid": pid,
        "problem": "it is odd",
        "problems": [ConfigError("a.yaml", 1, 2, "strategy", "odd"), ConfigError("a.yaml", 3, 4, "", "no")],
        "reason": Crash(ValueError("boom", pid)),
        "registry": "syncs",
        "request": ("add", pid, 1),
        "size": 7,
        "spec": "worker",
        "target": pid,
        "token": 42,
        "value": 3,
        "what": ("key", 1),
        "why": "lock 'boks' is being drained",
        "forked": True,
        "starting": True,
        "thing": "a socket",
        "owned": ("a file",),
    }  # fmt: skip
    if not inspect.isfunction(cls.__init__):
        return cls("what went wrong, and what to do")  # Python's own, which takes anything
    parameters = inspect.signature(cls).parameters.values()
    missing = [each.name for each in parameters if each.name not in values]
    assert not missing, f"{cls.__name__}: say here what its constructor's {missing} may be"
    suit = {each.name: "odd" if each.annotation == "str" else values[each.name] for each in parameters}
    return cls(**suit)


@pytest.fixture
def pid() -> Iterator[Pid]:
    """A process, which is alive while an error tells of it."""
    done = process.spawn(process.receive)
    yield done
    process.exit(done, "kill")


def printed_form(value: object, pid: Pid) -> object:
    """An attribute as a pickled error has it."""
    if value is pid:
        return str(pid)
    if isinstance(value, tuple):
        return tuple(printed_form(item, pid) for item in value)
    return value


@pytest.mark.parametrize("cls", every_error(), ids=lambda cls: cls.__name__)
def test_every_error_of_the_library_survives_copies_and_pickles(cls: type[BaseException], pid: Pid) -> None:
    error = sample(cls, pid)
    error.noted = ("by somebody", pid)  # type: ignore[attr-defined]  # as frameworks do
    for copied in (copy.copy(error), copy.deepcopy(error)):
        assert type(copied) is cls
        assert copied is not error
        assert (str(copied), repr(copied)) == (str(error), repr(error))
        assert vars(copied).keys() == vars(error).keys()
    assert vars(copy.copy(error)) == vars(error)
    for protocol in PROTOCOLS:
        arrived = pickle.loads(pickle.dumps(error, protocol))
        assert type(arrived) is cls
        assert (str(arrived), repr(arrived)) == (str(error), repr(error))
        assert len(arrived.args) == len(error.args)
        assert vars(arrived).keys() == vars(error).keys()
        for name, value in vars(error).items():
            assert repr(getattr(arrived, name)) == repr(value)
            if isinstance(value, (str, int, Pid, tuple)) and name != "problems":
                assert getattr(arrived, name) == printed_form(value, pid)


def test_a_copy_within_the_interpreter_keeps_the_process(pid: Pid) -> None:
    error = AlreadyStarted(pid)
    assert copy.copy(error).pid is pid
    assert copy.deepcopy(error).pid is pid
    assert copy.deepcopy(error).reason == ("already_started", pid)


def test_a_deep_copy_shares_what_has_no_copy_and_copies_the_rest() -> None:
    lock, payload = threading.Lock(), [1, [2]]
    error = StartError((lock, payload))
    error.payload = payload  # type: ignore[attr-defined]
    copied: Any = copy.deepcopy(error)
    assert copied.reason[0] is lock
    assert (copied.payload, copied.payload[1] is payload[1]) == ([1, [2]], False)


def test_a_copy_that_fails_leaves_no_half_of_it_anywhere() -> None:
    order = Order(1, threading.Lock())
    error = ServerExit(("late", order), None, {"of": order})
    copied = copy.deepcopy(error)
    assert copied.reason[1] is order
    assert copied.request["of"] is order
    assert str(copied) == str(error)
    both = copy.deepcopy([error, error])
    assert both[0] is both[1]


@attrs.frozen
class Order:
    """A request as users define them."""

    number: int
    buyer: object


class Odd(Exception):
    """An exception of a user whose constructor does not fit its args."""

    def __init__(self, code: int, where: str) -> None:
        self.code = code
        super().__init__(f"{where} says {code}")


class NotReadable:
    """Pickles, and cannot be read."""

    def __reduce__(self) -> tuple[Callable[[], object], tuple[()]]:
        return _fails, ()

    def __repr__(self) -> str:
        return "<not readable>"


def _fails() -> object:
    raise RuntimeError("it cannot be read")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_pid_is_its_printed_form_however_deep_it_is(protocol: int, pid: Pid) -> None:
    def sent(error: BaseException) -> Any:
        return pickle.loads(pickle.dumps(error, protocol))

    name = str(pid)
    assert isinstance(sent(ServerExit("boom", pid)).pid, str)
    assert sent(ServerExit("boom", pid)).pid == name
    assert sent(AlreadyStarted(pid)).reason == ("already_started", name)
    assert sent(StartError(Shutdown(pid))).reason == Shutdown(name)
    assert sent(StartError(Crash(ValueError(pid)))).reason == Crash(ValueError(name))
    assert sent(ServerExit("boom", None, Order(1, pid))).request == Order(1, name)
    assert sent(ServerExit("boom", None, {"to": [pid, {pid}]})).request == {"to": [name, {name}]}
    nested = StartError(Crash(ServerExit(Crash(AlreadyStarted(pid)), pid, ("add", pid))))
    assert str(sent(nested)) == str(nested)
    assert sent(nested).reason.exception.reason.exception.pid == name


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_cannot_be_pickled_is_its_repr(protocol: int) -> None:
    class Local(Exception):
        pass

    lock, function = threading.Lock(), lambda: None
    for thing in (lock, function, Local("here"), NotReadable(), (n for n in ()), os.stat, threading.local()):
        for reason in (thing, ("late", thing), Crash(ValueError(thing)), Shutdown([thing]), {"a": thing}):
            error = ServerExit(reason, None, thing)
            arrived = pickle.loads(pickle.dumps(error, protocol))
            assert type(arrived) is ServerExit
            assert str(arrived) == str(error)
    arrived = pickle.loads(pickle.dumps(StartError((lock, 1, [function])), protocol))
    assert arrived.reason == (repr(lock), 1, [repr(function)])


def test_an_exception_of_a_user_arrives_though_its_constructor_does_not_fit_its_args() -> None:
    arrived = pickle.loads(pickle.dumps(StartError(Crash(Odd(7, "the disk")))))
    cause = arrived.reason.exception
    assert (type(cause), str(cause), cause.code) == (Odd, "the disk says 7", 7)


@pytest.mark.parametrize(
    "inner",
    [
        OSError(2, "No such file", "orders.db"),
        FileNotFoundError(2, "No such file", "a", None, "b"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        SystemExit(3),
        StopIteration(4),
        KeyError("key"),
        ImportError("no", name="module", path="file"),
        SyntaxError("bad", ("file.py", 1, 2, "text")),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_python_keeps_of_its_own_errors_arrives(inner: BaseException) -> None:
    for again in (
        pickle.loads(pickle.dumps(StartError(Crash(inner)))).reason.exception,
        copy.deepcopy(StartError(Crash(inner))).reason.exception,
    ):
        assert (type(again), str(again), again.args) == (type(inner), str(inner), inner.args)
        for name in ("filename", "filename2", "errno", "code", "value", "name", "path", "object", "lineno"):
            assert getattr(again, name, None) == getattr(inner, name, None)


def test_an_error_that_refers_to_itself_arrives() -> None:
    error = StartError("boom")
    error.reason = Crash(error)
    error.me = error  # type: ignore[attr-defined]
    arrived = pickle.loads(pickle.dumps(error))
    assert (type(arrived), str(arrived)) == (StartError, "start failed: 'boom'")
    assert type(arrived.reason.exception) is StartError
    copied: Any = copy.deepcopy(error)
    assert copied.me is copied


def test_one_that_is_nested_too_deeply_arrives_without_its_depths() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    error = StartError("boom")
    error.reason = deep
    arrived = pickle.loads(pickle.dumps(error))
    assert (type(arrived), str(arrived)) == (StartError, "start failed: 'boom'")


def test_errors_of_users_are_carried_by_the_same_mechanism() -> None:
    error = OutOfStock("tea", 3)
    for again in (copy.copy(error), copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
        assert (type(again), str(again), again.item, again.left) == (OutOfStock, "3 of tea left", "tea", 3)


class OutOfStock(ResproutError):
    def __init__(self, item: str, left: int, /) -> None:
        self.item, self.left = item, left
        super().__init__(f"{left} of {item} left")


def test_notes_and_no_traceback_travel() -> None:
    error = CallTimeout("too late")
    error.__notes__ = ["while ordering"]  # type: ignore[attr-defined]
    assert pickle.loads(pickle.dumps(error)).__notes__ == ["while ordering"]


def test_wrong_options_are_errors_of_the_house_and_value_errors() -> None:
    assert issubclass(SpecError, ResproutError)
    assert issubclass(SpecError, ValueError)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (QueueFull("db", 100), "lock 'db' has 100 waiters already, as many as its max_waiting allows; "),
        (QueueFull("db", 1), "lock 'db' has 1 waiter already, as many as its max_waiting allows; "),
        (QueueFull("db"), "lock 'db' has as many waiters as its max_waiting allows; "),
    ],
)
def test_a_full_queue_tells_its_number(error: QueueFull, text: str) -> None:
    assert str(error).startswith(text)


RAISING = """
import threading
from resprout import Agent, GenServer, Registry, process, throttle


def raise_one(what):
    match what:
        case "NoProcess":
            GenServer.call("nobody", ("ask", process.current()))
        case "UnknownRegistry":
            Registry.lookup("none", 1)
        case "LockNotFound":
            throttle.acquire("nope")
        case "AlreadyStarted":
            Agent.start(dict, name="twin")
            Agent.start(dict, name="twin")
        case "ServerExit":
            pid = Agent.start(dict)
            Agent.get(pid, lambda state: process.exit(pid, threading.Lock()))
"""


def test_errors_leave_a_process_pool_as_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "raising_for_the_pool.py").write_text(RAISING)
    monkeypatch.syspath_prepend(tmp_path)  # spawned processes get this path, too
    raise_one = importlib.import_module("raising_for_the_pool").raise_one
    expected: dict[str, type[BaseException]] = {
        "NoProcess": NoProcess,
        "UnknownRegistry": UnknownRegistry,
        "LockNotFound": LockNotFound,
        "AlreadyStarted": AlreadyStarted,
        "ServerExit": ServerExit,
    }
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        for what, cls in expected.items():
            arrived = pool.submit(raise_one, what).exception(60)
            assert type(arrived) is cls
            if isinstance(arrived, (ProcessExit, AlreadyStarted)):
                assert arrived.pid is None or isinstance(arrived.pid, str)
