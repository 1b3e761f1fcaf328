"""Pages of a tree and pages that are asked for: when there is one, where, and how long."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
import pytest

from resprout.control.companion import Window, accompany
from resprout.control.errors import Refusal
from resprout.control.system import RunningSystem
from resprout.control.web import page_server
from resprout.supervision import Application, InvalidTree
from resprout.supervision.trees.difference import difference

from ...programs import resprout as command
from ...waiting import await_end, until

TOKEN = "a-token-of-the-file"


def answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])


# Of the tree


def tree(folder: Path, observe: str, name: str = "tree") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(f"name: shop\nchildren:\n  - {{throttle: slots, num_slots: 1}}\n  - {observe}\n")
    return path


@pytest.fixture
def application(tmp_path: Path) -> Iterator[Application]:
    made = Application.load(tree(tmp_path, f"{{observe: page, port: 0, token: {TOKEN}}}"), socket=False)
    made.start()
    yield made
    made.stop()


def address(application: Application) -> str:
    ((url, _),) = system_of(application).addresses.values()
    return url


def system_of(application: Application) -> RunningSystem:
    from resprout.control.noted import system_above

    assert application.root is not None
    found = system_above(application.root)
    assert found is not None
    return found


def test_a_tree_may_have_a_page_though_it_has_no_socket(application: Application) -> None:
    url = address(application)
    assert url.endswith(f"/{TOKEN}/")
    assert answers(url)
    application.stop()
    assert not answers(url)


def test_a_page_that_is_killed_is_there_again_at_the_same_address(application: Application) -> None:
    url = address(application)
    (before,) = system_of(application).addresses
    await_end(before)
    until(lambda: any(pid.alive for pid in system_of(application).addresses))
    assert answers(url)
    assert address_now(application) == url


def address_now(application: Application) -> str:
    told = system_of(application).observe()
    assert (told["page"], told["seconds"], told["allow_actions"]) == (None, None, False)
    return str(told["url"])


@pytest.mark.parametrize(
    ("observe", "wrong"),
    [
        ("{observe: page, port: 70000}", "expected a port from 0 to 65535, got: 70000"),
        (
            "{observe: page, token: short}",
            "a token of 16 to 200 letters, digits, _ or -, got one of 5",
        ),
        ("{observe: page, token: 'with spaces, and long enough'}", "expected a token of 16 to 200 letters"),
        ("{observe: page, allow_actions: maybe}", "allow_actions"),
        ("{observe: page, host: 0.0.0.0}", "unknown key 'host'"),
    ],
)
def test_mistakes_in_a_file_are_told(observe: str, wrong: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidTree) as caught:
        Application.load(tree(tmp_path, observe))
    assert wrong in str(caught.value)
    assert "short" not in wrong or "'short'" not in str(caught.value)


def test_a_reload_leaves_a_page_alone_unless_its_keys_have_changed(tmp_path: Path) -> None:
    def steps(before: str, after: str) -> list[str]:
        trees = [Application.load(tree(tmp_path, each)).tree for each in (before, after)]
        return [step.action for step in difference(*trees).steps]

    assert steps("{observe: page, port: 4007}", "{observe: page, port: 4007}") == []
    assert steps("{observe: page, port: 4007}", "{observe: page, port: 4008}") == ["restart"]
    assert steps("{observe: page}", f"{{observe: page, token: {TOKEN}}}") == ["restart"]
    assert steps("{observe: page}", "{observe: page, allow_actions: true}") == ["restart"]


def test_a_port_that_is_taken_is_told_before_the_start(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        made = Application.load(tree(tmp_path, f"{{observe: page, port: {port}}}"), socket=False)
        (entry,) = (each for each in made.tree.entries if each.kind == "observe")
        assert entry.obstacle is not None
        assert f"cannot listen on 127.0.0.1:{port}" in str(entry.obstacle())


# On request


@pytest.fixture
def window(application: Application) -> Iterator[Window]:
    made = accompany(application)
    yield made
    made.end()
    made.join()


def test_a_page_is_opened_on_request_and_closed_again(window: Window) -> None:
    system = window.system()
    told = system.observe(port=0)
    assert (told["allow_actions"], answers(told["url"])) == (False, True)
    assert system.observe(allow_actions=True)["url"] != told["url"]
    assert system.observe(page=told["page"])["url"] == told["url"]
    system.observe(page=told["page"], close=True)
    until(lambda: not answers(told["url"]))

    def is_forgotten() -> bool:
        try:
            system.observe(page=told["page"])
        except Refusal as refused:
            return refused.kind == "unknown_page"
        return False

    until(is_forgotten)


def test_a_page_that_nobody_asks_for_any_more_ends(window: Window, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_server, "LEASE", 0.05)
    told = window.system().observe(port=0)
    until(lambda: not answers(told["url"]))


def test_pages_end_with_the_application(window: Window) -> None:
    told = window.system().observe(port=0)
    window.end()
    window.join()
    assert not answers(told["url"])


def test_a_port_that_is_taken_is_a_refusal(window: Window) -> None:
    taken = int(window.system().observe(port=0)["url"].split(":")[2].split("/")[0])
    with pytest.raises(Refusal, match=f"the page cannot be opened: cannot listen on 127.0.0.1:{taken}: "):
        window.system().observe(port=taken)


def test_without_starlette_the_reason_is_told(window: Window, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resprout.control.web.page_server", None)
    with pytest.raises(Refusal, match=r"needs starlette and uvicorn: pip install 'resprout\[observe\]'"):
        window.system().observe(port=0)


# The command


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("observed")
    file = tree(folder, f"{{observe: page, port: {free_port()}, token: {TOKEN}}}")
    path = Path(f"/tmp/resprout-observe-{os.getpid()}.sock")
    program = subprocess.Popen(
        command("run", file, "--quiet", "--socket", path),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until(path.exists)
    yield path
    program.send_signal(signal.SIGTERM)
    assert program.wait(60) == 0


def asked(path: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command("observe", "--socket", path, *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def test_observe_tells_of_the_page_of_the_tree(running: Path) -> None:
    def told() -> tuple[str, str]:
        return asked(running).communicate(timeout=60)

    out, err = told()
    assert out.endswith(f"/{TOKEN}/\n")
    assert err == "the tree has this page of its own\n"


def test_no_command_line_has_the_address_of_a_page_that_may_act(running: Path, tmp_path: Path) -> None:
    browser = tmp_path / "browser"
    browser.write_text('#!/bin/sh\necho "$1" > "$0.asked.part"\nmv "$0.asked.part" "$0.asked"\n')
    browser.chmod(0o700)
    program = asked(running, "--allow-actions", "--open", "--json", BROWSER=f"{browser} %s")
    assert program.stdout is not None
    told: dict[str, Any] = json.loads(program.stdout.readline())
    asked_for = tmp_path / "browser.asked"
    until(asked_for.exists)
    url = urlsplit(asked_for.read_text().strip())
    file = Path(unquote(url.path))
    assert (url.scheme, stat.S_IMODE(file.stat().st_mode)) == ("file", 0o600)
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert told["url"] in file.read_text()
    program.send_signal(signal.SIGINT)
    program.communicate(timeout=60)
    assert program.returncode == 0
    assert not file.parent.exists()


def test_observe_has_a_page_open_until_ctrl_c(running: Path) -> None:
    program = asked(running, "--port", "0", "--json")
    assert program.stdout is not None
    told: dict[str, Any] = json.loads(program.stdout.readline())
    assert told["allow_actions"] is False
    assert answers(told["url"])
    program.send_signal(signal.SIGINT)
    assert program.wait(60) == 0
    until(lambda: not answers(told["url"]))
    program.communicate()
