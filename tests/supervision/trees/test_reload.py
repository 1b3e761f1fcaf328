"""A tree file is read again, and only what has changed in it changes in the tree that runs."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from resprout import throttle
from resprout.actors import GenServer, Ok, Pid, Stop, process
from resprout.supervision import Application, ChildSpec, InvalidTree, Supervisor, tree
from resprout.supervision.trees.reloading import Reloaded


class Plain(GenServer):
    def init(self, arg: object) -> object:
        return Stop("no disk") if arg == {"x": "fail"} else Ok(arg)


class Other(Plain):
    pass


BASE = """
name: shop
children:
  - {throttle: lock, num_slots: 2}
  - {worker: first, start: "tests_of_reload:Plain", name: first}
  - supervisor: inner
    children:
      - {worker: a, start: "tests_of_reload:Plain", name: "a-{index}", replicas: 2}
      - {worker: b, start: "tests_of_reload:Plain", name: b}
  - {worker: last, start: "tests_of_reload:Plain", name: last, restart: temporary}
"""

Reloading = Callable[..., Reloaded]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(sys.modules, "tests_of_reload", sys.modules[__name__])
    path = tmp_path / "tree.yaml"
    path.write_text(BASE)
    return path


@pytest.fixture
def application(file: Path) -> Iterator[Application]:
    made = Application.load(file, socket=False)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def reloaded(application: Application, file: Path) -> Reloading:
    """Replaces parts of the file and reloads it."""

    def reload(*changes: tuple[str, str], dry_run: bool = False) -> Reloaded:
        text = file.read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        file.write_text(text)
        return application.reload(dry_run=dry_run)

    return reload


def pids(application: Application) -> dict[str, Pid | None]:
    """The processes of all children, by their paths."""
    found: dict[str, Pid | None] = {}

    def walk(node: object, path: str) -> None:
        for child in node.children:  # type: ignore[attr-defined]
            found[f"{path}{child.id}"] = child.pid
            walk(child, f"{path}{child.id}/")

    walk(tree(application.root), "")
    return found


def changed(before: dict[str, Pid | None], after: dict[str, Pid | None]) -> set[str]:
    return {path for path in before.keys() | after.keys() if before.get(path) is not after.get(path)}


def test_a_file_that_has_not_changed_changes_nothing(application: Application, reloaded: Reloading) -> None:
    before = pids(application)
    assert reloaded() == Reloaded()
    assert pids(application) == before


def test_what_is_gone_stops_what_is_new_starts_and_what_has_changed_restarts(
    application: Application, reloaded: Reloading
) -> None:
    before = pids(application)
    done = reloaded(
        ("  - {worker: first,", "  - {worker: newcomer,"),
        ("name: first", "name: newcomer"),
        ('start: "tests_of_reload:Plain", name: b', 'start: "tests_of_reload:Other", name: b'),
    )
    assert done == Reloaded(stopped=("first",), restarted=("inner/b",), started=("newcomer",))
    after = pids(application)
    assert changed(before, after) == {"first", "newcomer", "inner/b"}
    assert process.whereis("newcomer") is after["newcomer"]
    assert list(after) == ["lock", "inner", "inner/a-0", "inner/a-1", "inner/b", "last", "newcomer"]


def test_a_dry_run_says_the_same_and_does_nothing(application: Application, reloaded: Reloading) -> None:
    before = pids(application)
    change = ("replicas: 2", "replicas: 3")
    expected = Reloaded(started=("inner/a-2",))
    assert reloaded(change, dry_run=True) == expected
    assert pids(application) == before
    assert reloaded() == expected
    assert "inner/a-2" in pids(application)
    assert reloaded() == Reloaded()


def test_a_supervisor_that_crashes_afterwards_starts_its_new_children(
    application: Application, reloaded: Reloading, end: Callable[..., object]
) -> None:
    reloaded(("replicas: 2", "replicas: 1"), ("worker: b,", "worker: c,"), ("name: b", "name: c"))
    inner = pids(application)["inner"]
    assert isinstance(inner, Pid)
    end(inner)
    Supervisor.count_children(application.root)  # It has taken the exit when it answers.
    found = pids(application)
    assert found["inner"] is not inner
    assert {path for path in found if path.startswith("inner/")} == {"inner/a-0", "inner/c"}


def test_a_supervisor_with_other_options_restarts_with_all_below_it(
    application: Application, reloaded: Reloading
) -> None:
    before = pids(application)
    done = reloaded(("supervisor: inner\n", "supervisor: inner\n    strategy: one_for_all\n"))
    assert done == Reloaded(restarted=("inner",))
    assert changed(before, pids(application)) == {"inner", "inner/a-0", "inner/a-1", "inner/b"}
    assert Supervisor.count_children(pids(application)["inner"]).active == 3


def test_a_temporary_child_that_has_changed_is_started_again(
    application: Application, reloaded: Reloading
) -> None:
    old = process.whereis("last")
    assert reloaded(("name: last", "name: last, args: {x: 1}")) == Reloaded(restarted=("last",))
    assert process.whereis("last") not in (None, old)


def test_a_lock_gets_its_new_slots(reloaded: Reloading) -> None:
    assert reloaded(("num_slots: 2", "num_slots: 5")) == Reloaded(restarted=("lock",))
    assert throttle.lock_info("lock").num_slots == 5
    assert reloaded(("  - {throttle: lock, num_slots: 5}\n", "")) == Reloaded(stopped=("lock",))
    assert "lock" not in throttle.locks()


def test_a_child_that_somebody_has_terminated_stays_down_unless_it_has_changed(
    application: Application, reloaded: Reloading
) -> None:
    Supervisor.terminate_child(application.root, "first")
    assert reloaded() == Reloaded()
    assert process.whereis("first") is None
    assert reloaded(("name: first", "name: first, args: {x: 1}")) == Reloaded(restarted=("first",))
    assert process.whereis("first") is not None


def test_what_the_program_has_started_or_deleted_itself_is_no_concern_of_the_file(
    application: Application, reloaded: Reloading
) -> None:
    own = ChildSpec("own", (lambda: process.spawn_link(process.receive),))
    pid = Supervisor.start_child(application.root, own)
    Supervisor.terminate_child(application.root, "first")
    Supervisor.delete_child(application.root, "first")
    done = reloaded(('  - {worker: first, start: "tests_of_reload:Plain", name: first}\n', ""))
    assert done == Reloaded(stopped=("first",))
    assert pids(application)["own"] is pid


def test_a_child_that_does_not_start_is_told_and_the_others_are_dealt_with(
    application: Application, reloaded: Reloading
) -> None:
    done = reloaded(
        ("name: first", "name: first, args: {x: fail}"),
        ("replicas: 2", "replicas: 3"),
    )
    assert done.started == ("inner/a-2",)
    ((path, reason),) = done.failed
    assert path == "first"
    assert "no disk" in reason
    assert pids(application)["first"] is None
    assert reloaded((", args: {x: fail}", "")) == Reloaded(restarted=("first",))
    assert process.whereis("first") is not None


def test_a_new_child_that_does_not_start_is_down_and_can_be_started_later(
    application: Application, reloaded: Reloading, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = '  - {worker: new, start: "tests_of_reload:Plain", name: new, args: {x: fail}}\n'
    done = reloaded(("  - supervisor: inner", f"{new}  - supervisor: inner"))
    assert [path for path, _ in done.failed] == ["new"]
    assert pids(application)["new"] is None
    assert reloaded() == Reloaded()
    monkeypatch.setattr(Plain, "init", lambda self, arg: Ok(arg))
    assert Supervisor.restart_child(application.root, "new") is process.whereis("new")


def test_what_is_gone_from_a_supervisor_that_does_not_run_is_given_back(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    web = f'      - {{asgi: web, app: "tests_of_reload:app", port: {port}}}\n'
    file.write_text(BASE.replace("      - {worker: b,", f"{web}      - {{worker: b,"))
    application = Application.load(file, socket=False)
    application.start()
    Supervisor.terminate_child(application.root, "inner")
    socket.create_connection(("127.0.0.1", port), 5.0).close()
    file.write_text(BASE)
    assert application.reload().failed == ()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 5.0)
    Supervisor.restart_child(application.root, "inner")
    assert {path for path in pids(application) if path.startswith("inner/")} == {
        "inner/a-0",
        "inner/a-1",
        "inner/b",
    }
    application.stop()


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("name: shop", "name: ship", "name"),
        ("name: shop", "name: shop\nstrategy: one_for_all", "strategy"),
        ("name: shop", "name: shop\nmax_restarts: 9", "max_restarts"),
    ],
)
def test_a_change_of_the_root_is_refused_and_nothing_is_done(
    old: str, new: str, key: str, application: Application, reloaded: Reloading
) -> None:
    before = pids(application)
    with pytest.raises(ValueError, match=f"and {key} changed; stop it and start it again"):
        reloaded((old, new), ("replicas: 2", "replicas: 3"))
    assert pids(application) == before


def test_a_file_with_mistakes_is_refused_and_nothing_is_done(
    application: Application, reloaded: Reloading
) -> None:
    before = pids(application)
    with pytest.raises(InvalidTree, match="num_slots"):
        reloaded(("num_slots: 2", "num_slots: 0"), ("replicas: 2", "replicas: 3"))
    assert pids(application) == before


def test_an_application_that_does_not_run_is_not_reloaded(file: Path) -> None:
    application = Application.load(file, socket=False)
    with pytest.raises(RuntimeError, match="application shop does not run"):
        application.reload()


def test_the_file_is_found_from_another_folder(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    application = Application.load("tree.yaml", socket=False)
    application.start()
    monkeypatch.chdir("/")
    assert application.reload() == Reloaded()
    application.stop()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


async def app(scope: object, receive: object, send: object) -> None:
    raise NotImplementedError


def test_a_web_application_goes_on_listening_until_it_has_changed(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = free_port(), free_port()
    web = f'  - {{asgi: web, app: "tests_of_reload:app", port: {first}}}\n'
    file.write_text(BASE + web)
    application = Application.load(file, socket=False)
    application.start()
    pid = process.whereis("web")
    assert application.reload() == Reloaded()
    assert process.whereis("web") is pid
    socket.create_connection(("127.0.0.1", first), 5.0).close()
    file.write_text(BASE + web.replace(str(first), str(second)))
    assert application.reload() == Reloaded(restarted=("web",))
    socket.create_connection(("127.0.0.1", second), 5.0).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", first), 5.0)
    application.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", second), 5.0)
