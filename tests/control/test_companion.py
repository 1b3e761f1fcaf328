"""Which applications have a control socket, where it is, and what becomes of it."""

from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from resprout.control.client import Client, NoSystem, find_system
from resprout.control.sockets import Socket, bound, connected, folders, here, is_dead, listed, usable_folder
from resprout.supervision import Application

from ..programs import PYTHON


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A runtime directory of the test's own; the names that pytest gives are too long for sockets."""
    short = Path(f"/tmp/resprout-{os.getpid()}-{threading.get_native_id()}")
    short.mkdir(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short))
    monkeypatch.setenv("TMPDIR", str(short / "shared"))
    monkeypatch.delenv("RESPROUT_SOCKET", raising=False)
    yield short
    subprocess.run(["rm", "-r", str(short)], check=True)


def load(folder: Path, **options: object) -> Application:
    return Application.load(folder / "tree.yaml", **options)  # type: ignore[arg-type]


def test_a_running_application_has_a_socket_of_its_user_alone_until_it_stops(
    folder: Path, runtime: Path
) -> None:
    application = load(folder)
    assert listed() == []
    application.start()
    path = runtime / "resprout" / f"shop-{os.getpid()}.sock"
    assert [each.path for each in listed()] == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    with Client(find_system("shop")) as client:
        assert client.ask("status")["os_pid"] == os.getpid()
    application.stop()
    assert list(path.parent.iterdir()) == []
    assert "resprout-control" not in [thread.name for thread in threading.enumerate()]


def test_it_may_be_started_again(folder: Path) -> None:
    application = load(folder)
    for _ in range(3):
        application.start()
        with Client(find_system("shop")) as client:
            assert client.ask("status")["state"] == "running"
        application.stop()
    with pytest.raises(NoSystem, match="no system runs of this user"):
        find_system("shop")


def test_a_tree_that_does_not_start_leaves_no_socket(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "tree.yaml").write_text('children: [{worker: a, start: "builtins:open", args: {file: /no}}]')
    with pytest.raises(Exception, match="No such file"):
        Application.load(tmp_path / "tree.yaml").start()
    assert listed() == []


@pytest.mark.parametrize("word", ["off", "OFF"])
def test_the_environment_may_say_nowhere(word: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESPROUT_SOCKET", word)
    application = load(folder)
    application.start()
    assert listed() == []
    application.stop()


def test_the_environment_or_the_program_may_say_where(
    folder: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESPROUT_SOCKET", str(runtime / "a"))
    for path, application in (
        (runtime / "a", load(folder)),
        (runtime / "b", load(folder, socket=runtime / "b")),
    ):
        application.start()
        with Client(find_system(path=path)) as client:
            assert client.ask("status")["name"] == "shop"
        application.stop()
        assert not path.exists()


def test_a_second_system_of_the_same_name_has_a_socket_of_its_own(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "tree.yaml").write_text("name: shop\nchildren: []\n")
    first, second = load(folder), Application.load(tmp_path / "tree.yaml")
    first.start()
    second.start()
    assert [each.label for each in listed()] == [f"shop-{os.getpid()}", f"shop.2-{os.getpid()}"]
    with pytest.raises(
        NoSystem, match=f"several systems run; choose one with --name: shop-{os.getpid()}, shop.2-"
    ):
        find_system()
    with Client(find_system(f"shop.2-{os.getpid()}")) as client:
        assert client.ask("status")["counts"]["children"] == 0
    second.stop()
    first.stop()


def test_systems_of_one_name_that_start_at_once_have_sockets_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "tree.yaml").write_text("name: shop\nchildren: []\n")
    applications = [load(tmp_path) for _ in range(4)]
    for _ in range(5):
        with ThreadPoolExecutor(len(applications)) as pool:
            for starting in [pool.submit(each.start) for each in applications]:
                starting.result()
        assert len(listed()) == len(applications)
        for there in listed():
            with Client(there.path) as client:
                assert client.ask("status")["state"] == "running"
        for each in applications:
            each.stop()
        assert list(usable_folder().iterdir()) == []


def test_a_system_that_is_not_there_is_refused_with_the_nearest(folder: Path) -> None:
    application = load(folder)
    application.start()
    with pytest.raises(NoSystem, match=r"no system 'shpo' runs, only shop-\d+; did you mean 'shop'"):
        find_system("shpo")
    application.stop()


def test_a_socket_that_a_dead_process_has_left_is_removed(runtime: Path, folder: Path) -> None:
    path = usable_folder() / "gone-1.sock"
    bound(path).close()
    assert path.exists()
    assert is_dead(path)
    assert listed() == []
    assert not path.exists()
    bound(path).close()
    application = load(folder, socket=path)  # and by who wants to be there
    application.start()
    with Client(path) as client:
        assert client.ask("status")["name"] == "shop"
    application.stop()


def at_once(paths: list[Path]) -> list[socket.socket | FileExistsError]:
    """Binds to all of them in threads that begin at one moment; what comes of each."""
    together = threading.Barrier(len(paths))

    def bind(path: Path) -> socket.socket | FileExistsError:
        together.wait()
        try:
            return bound(path)
        except FileExistsError as error:
            return error

    with ThreadPoolExecutor(len(paths)) as pool:
        return list(pool.map(bind, paths))


def leads_to(path: Path, listening: socket.socket) -> bool:
    with connected(path, 5.0):
        try:
            listening.accept()[0].close()
        except BlockingIOError:
            return False
    return True


def test_those_that_are_made_at_once_in_one_program_do_not_take_each_others_place(runtime: Path) -> None:
    for number in range(30):
        paths = [runtime / f"{name}-{number}" for name in "abcd"]
        for path, made in zip(paths, at_once(paths), strict=True):
            assert isinstance(made, socket.socket)
            with made:
                assert leads_to(path, made)
    assert len(list(runtime.iterdir())) == 30 * 4


def test_of_those_that_want_the_place_of_a_dead_one_at_once_one_gets_it_and_keeps_it(runtime: Path) -> None:
    path = runtime / "s"
    for _ in range(60):
        bound(path).close()
        made = [each for each in at_once([path] * 4) if isinstance(each, socket.socket)]
        (winner,) = made
        with winner:
            assert leads_to(path, winner)
    assert [each.name for each in runtime.iterdir()] == ["s"]


def test_what_took_the_place_of_a_socket_stays_when_that_ends(folder: Path, runtime: Path) -> None:
    application = load(folder, socket=runtime / "s")
    application.start()
    (runtime / "s").unlink()
    with bound(runtime / "s") as other:
        application.stop()
        assert leads_to(runtime / "s", other)


def test_what_was_left_by_programs_that_were_killed_while_they_made_a_socket_is_removed() -> None:
    folder = usable_folder()
    for name in (".old", ".new"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as made:
            made.bind(str(folder / name))
    os.utime(folder / ".old", (0, 0))
    assert listed() == []
    assert [each.name for each in folder.iterdir()] == [".new"]


def test_what_is_no_dead_socket_is_left_alone_and_the_tree_runs_without(
    folder: Path, runtime: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = runtime / "file"
    path.write_text("mine")
    application = load(folder, socket=path)
    root = application.start()
    assert root.alive
    assert f"application shop has no control socket: at {path}: somebody listens there" in caplog.text
    application.stop()
    assert path.read_text() == "mine"
    with bound(runtime / "theirs"), pytest.raises(FileExistsError):
        bound(runtime / "theirs")


def test_a_folder_that_others_may_write_to_or_a_link_is_not_used(runtime: Path) -> None:
    first, second = folders()
    first.mkdir()
    first.chmod(0o777)
    second.parent.mkdir()
    assert usable_folder() == second
    second.rmdir()
    second.symlink_to(runtime)
    with pytest.raises(PermissionError):
        usable_folder()


def test_a_path_that_is_too_long_is_refused_with_the_limit(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="the path of a socket has at most 100 bytes") as refused:
        bound(tmp_path / ("x" * 120))
    assert refused.value.errno == errno.ENAMETOOLONG


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("shop", "shop"),
        ("a/b c", "a_b_c"),
        ("../x", "_x"),
        ("", "application"),
        ("é" * 3, "_"),
        ("x" * 99, "x" * 40),
    ],
)
def test_the_name_of_a_system_is_a_name_of_a_file(name: str, file: str) -> None:
    folder = Path("/tmp/a")
    assert next(here(name, folder)) == folder / f"{file}-{os.getpid()}.sock"


def test_a_name_is_cut_where_the_folder_leaves_no_more_and_found_by_the_whole_one(folder: Path) -> None:
    path = next(here("a-very-long-name-of-a-system", Path("/" + "x" * 69)))
    assert path.name == f"a_very_lon-{os.getpid()}.sock"
    assert Socket(path, "a_very_lon", 1).is_called("a-very-long-name-of-a-system")
    assert not Socket(path, "shop", 1).is_called("shops")


def test_a_forked_child_does_not_answer_for_its_parent(
    folder: Path, runtime: Path, forking: Callable[[str], list[str]]
) -> None:
    assert forking(f"""
        import socket
        from resprout.control.client import Client, find_system
        app = Application.load({str(folder / "tree.yaml")!r})
        app.start()
        path = find_system("shop")
        asking = Client(path)
        assert asking.ask("status")["state"] == "running"
        def child():
            # Nothing of the parent's is open here, so that its end is the end of its socket.
            mine = [os.readlink(f"/proc/self/fd/{{fd}}") for fd in os.listdir("/proc/self/fd")
                    if os.path.exists(f"/proc/self/fd/{{fd}}") or os.path.islink(f"/proc/self/fd/{{fd}}")]
            print(sum(each.startswith("socket:") for each in mine))
            app.stop()
            print(path.exists(), [each.name for each in threading.enumerate() if "control" in each.name])
            app.start()
            print(len([each for each in path.parent.iterdir()]))
            app.stop()
        forked(child)
        print(asking.ask("status")["state"])
        asking.close()
        app.stop()
        print(path.exists())
    """) == ["1", "True []", "2", "running", "False"]


def test_a_program_that_ends_or_is_killed_leaves_nothing_that_is_taken_for_a_system(
    folder: Path, runtime: Path
) -> None:
    program = f"from resprout import Application; Application.load({str(folder / 'tree.yaml')!r}).start()\n"
    for rest, left in (("", 0), ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 1)):
        subprocess.run([*PYTHON, "-c", program + rest], check=False, timeout=30)
        assert len(list((runtime / "resprout").iterdir())) == left
        assert listed() == []
        assert list((runtime / "resprout").iterdir()) == []


def test_who_connects_and_says_nothing_keeps_no_tree_from_stopping(folder: Path) -> None:
    application = load(folder)
    application.start()
    silent = socket.socket(socket.AF_UNIX)
    silent.connect(str(find_system("shop")))
    application.stop()
    assert silent.recv(1) == b""
    silent.close()
