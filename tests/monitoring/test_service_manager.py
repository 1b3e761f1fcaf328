"""What systemd hears of a tree: real datagrams, as sd_notify(3) has them."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from resprout import Application, ConfigError, monitoring
from resprout.monitoring import conditions, service_manager
from resprout.supervision import Supervisor

from ..waiting import WATCHDOG

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="there are no Unix sockets here")


class Manager:
    """The receiving side."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.settimeout(WATCHDOG)
        self.environment = {"NOTIFY_SOCKET": address}

    def hears(self) -> list[str]:
        """The lines of the next datagram."""
        return self._socket.recv(65536).decode().splitlines()

    def hears_until(self, line: str) -> list[str]:
        """All lines up to this one."""
        found: list[str] = []
        while line not in found:
            found += self.hears()
        return found

    def hears_all(self, count: int) -> bool:
        """Takes so many datagrams, all of `fill`."""
        return all(self.hears() == [FILLER] for _ in range(count))

    def close(self) -> None:
        self._socket.close()


FILLER = "STATUS=" + "x" * 1000


def fill(manager: Manager) -> int:
    """Sends until the socket takes nothing more; how many that were."""
    count = 0
    while monitoring.notify(FILLER, environment=manager.environment):
        count += 1
    return count


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(str(tmp_path / "notify"))
    yield made
    made.close()


@pytest.fixture
def application(tmp_path: Path) -> Iterator[Application]:
    path = tmp_path / "tree.yaml"
    path.write_text("name: shop\nchildren:\n  - {registry: guests}\n", encoding="utf-8")
    made = Application.load(path)
    yield made
    made.stop()


def test_lines_are_sent_together(manager: Manager) -> None:
    assert monitoring.notify("STATUS=hello", "MAINPID=1", environment=manager.environment)
    assert manager.hears() == ["STATUS=hello", "MAINPID=1"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has abstract sockets")
def test_a_socket_may_be_abstract() -> None:
    manager = Manager(f"@resprout test {os.getpid()}")
    try:
        assert monitoring.notify("READY=1", environment=manager.environment)
        assert manager.hears() == ["READY=1"]
    finally:
        manager.close()


@pytest.mark.parametrize("named", ["", "/nowhere/at/all", "vsock:1:2", "relative"])
def test_where_nobody_listens_nothing_is_sent_and_nobody_waits(named: str, application: Application) -> None:
    environment = {"NOTIFY_SOCKET": named}
    assert not monitoring.notify("READY=1", environment=environment)
    with monitoring.service_told_of(application, environment):
        application.start()
        application.stop()


def test_a_manager_that_takes_nothing_holds_nobody_up(manager: Manager) -> None:
    assert manager.hears_all(fill(manager))


@pytest.mark.parametrize("line", ["READY", "STATUS=a\nMAINPID=1"])
def test_what_is_no_assignment_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="expected one line NAME=VALUE, got"):
        monitoring.notify(line)


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "3000000"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_interval_of_the_watchdog_is_read_if_it_is_meant_for_this_process(
    environment: dict[str, str], seconds: float | None
) -> None:
    assert monitoring.watchdog_seconds(environment) == seconds


def test_a_tree_is_told_of_from_its_start_to_its_end(manager: Manager, application: Application) -> None:
    with monitoring.service_told_of(application, manager.environment):
        assert manager.hears() == ["STATUS=not at work: shop (starting)"]
        application.start()
        assert "STATUS=all children are at work" in manager.hears_until("READY=1")
        application.stop()
        assert manager.hears() == ["STOPPING=1", "STATUS=stopping"]
    assert monitoring.notify("STATUS=last", environment=manager.environment)
    assert manager.hears() == ["STATUS=last"]


def test_a_tree_that_never_started_is_told_to_stop_all_the_same(
    manager: Manager, application: Application
) -> None:
    with monitoring.service_told_of(application, manager.environment):
        pass
    manager.hears_until("STOPPING=1")


def test_who_is_not_at_work_is_in_the_status(
    manager: Manager, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_manager, "_LATER", 0.01)
    with monitoring.service_told_of(application, manager.environment):
        root = application.start()
        manager.hears_until("READY=1")
        Supervisor.terminate_child(root, "guests")
        manager.hears_until("STATUS=not at work: guests (down)")
        Supervisor.restart_child(root, "guests")
        manager.hears_until("STATUS=all children are at work")


def test_a_reload_is_told_of_before_and_after_also_when_it_is_refused(
    manager: Manager, application: Application, tmp_path: Path
) -> None:
    with monitoring.service_told_of(application, manager.environment):
        application.start()
        manager.hears_until("READY=1")
        application.reload(dry_run=True)
        for text in ("children:\n  - {registry: gests}\n", "children: 7\n"):
            (tmp_path / "tree.yaml").write_text(f"name: shop\n{text}", encoding="utf-8")
            before = time.monotonic_ns()
            with suppress(ConfigError):
                application.reload()
            told = manager.hears()
            assert told[0] == "RELOADING=1"
            assert before <= int(told[1].removeprefix("MONOTONIC_USEC=")) * 1_000 + 999
            assert int(told[1].removeprefix("MONOTONIC_USEC=")) * 1_000 <= time.monotonic_ns()
            assert manager.hears() == ["READY=1"]


def test_another_application_that_is_reloaded_is_none_of_its_business(
    manager: Manager, application: Application, tmp_path: Path
) -> None:
    (tmp_path / "other.yaml").write_text("name: other\nchildren: []\n", encoding="utf-8")
    other = Application.load(tmp_path / "other.yaml")
    with monitoring.service_told_of(application, manager.environment):
        application.start()
        manager.hears_until("READY=1")
        other.start()
        other.reload()
        other.stop()
        assert monitoring.notify("STATUS=here", environment=manager.environment)
        assert manager.hears_until("STATUS=here") == ["STATUS=here"]


def test_what_a_manager_does_not_take_at_the_moment_is_told_again_in_order(
    manager: Manager, application: Application, tmp_path: Path
) -> None:
    with monitoring.service_told_of(application, manager.environment):
        manager.hears_until("STATUS=not at work: shop (starting)")
        full = fill(manager)
        application.start()
        assert manager.hears_all(full)
        manager.hears_until("READY=1")
        full = fill(manager)
        application.reload()
        application.stop()
        assert manager.hears_all(full)
        told = [manager.hears() for _ in range(3)]
        assert [lines[0] for lines in told] == ["RELOADING=1", "READY=1", "STOPPING=1"]


def test_a_look_that_fails_is_logged_and_not_the_last_one(
    manager: Manager,
    application: Application,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(service_manager, "_LATER", 0.01)
    looks: list[None] = []

    def fail(application: object) -> conditions.Readiness:
        looks.append(None)
        if len(looks) < 4:
            raise ValueError("as told")
        return conditions.readiness(application)  # type: ignore[arg-type]  # it is one

    monkeypatch.setattr(service_manager, "readiness", fail)
    with monitoring.service_told_of(application, manager.environment):
        application.start()
        manager.hears_until("READY=1")
    assert [record.getMessage() for record in caplog.records if record.name == "resprout.monitoring"] == [
        "the service manager is not told of application shop"
    ]


def test_a_name_that_utf_8_cannot_write_is_told_as_well_as_it_can_be(
    manager: Manager, application: Application
) -> None:
    with monitoring.service_told_of(application, manager.environment):
        root = application.start()
        manager.hears_until("READY=1")
        assert monitoring.notify("STATUS=\udc80", environment=manager.environment)
        assert manager.hears_until("STATUS=?")
        assert root.alive


def test_a_sign_of_life_comes_at_half_the_interval_while_the_tree_is_healthy(
    manager: Manager, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = threading.Event()
    environment = {**manager.environment, "WATCHDOG_USEC": "40000"}
    with monitoring.service_told_of(application, environment):
        application.start()
        manager.hears_until("READY=1")
        for _ in range(3):
            manager.hears_until("WATCHDOG=1")

        def ill(_: object) -> conditions.Health:
            asked.set()
            return conditions.Health(False, ("as told",))

        monkeypatch.setattr(service_manager, "health", ill)
        assert asked.wait(WATCHDOG)
        asked.clear()
        assert asked.wait(WATCHDOG)
        # Two looks later: what was sent before is read, and nothing came since.
        monitoring.notify("STATUS=here", environment=environment)
        asked.clear()
        assert asked.wait(WATCHDOG)
        monitoring.notify("STATUS=there", environment=environment)
        manager.hears_until("STATUS=here")
        assert manager.hears_until("STATUS=there") == ["STATUS=there"]
