"""The unit and the Dockerfile of docs/deploy.md: what can be verified of them here, and what they start."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ..programs import PYTHON
from ..waiting import WATCHDOG
from .test_service_manager import Manager

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
FILE = re.compile(r"<!-- file: (?P<name>\S+) -->\n```\w*\n(?P<text>.*?)^```", re.DOTALL | re.MULTILINE)
FILES = {file["name"]: file["text"] for file in FILE.finditer(PAGE)}

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="there are no Unix sockets here")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the page shows, as files."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(str(tmp_path / "notify"))
    yield made
    made.close()


def unit() -> configparser.SectionProxy:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # as it is written
    parser.read_string(FILES["shop.service"])
    return parser["Service"]


def instructions() -> dict[str, str]:
    """The last instruction of each kind in the Dockerfile."""
    lines = FILES["Dockerfile"].replace("\\\n", " ").splitlines()
    return dict(line.split(maxsplit=1) for line in lines if line)


def listed(instruction: str) -> list[str]:
    """A command in the form of a list."""
    command: list[str] = json.loads(instruction[instruction.index("[") :])
    return command


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_has_nothing_to_say_of_the_unit(folder: Path) -> None:
    here = folder / "shop.service"
    # It looks whether the program is there.
    here.write_text(re.sub("(?<=ExecStart=)[^ ]+", sys.executable, FILES["shop.service"]), encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", str(here)],
        capture_output=True,
        text=True,
        timeout=WATCHDOG,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_the_unit_starts_tells_systemd_how_it_is(folder: Path, manager: Manager) -> None:
    program, *arguments = shlex.split(unit()["ExecStart"].replace("/opt/shop/", f"{folder}/"))
    assert program.endswith("/resprout")
    environment = {
        **os.environ,
        **manager.environment,
        "WATCHDOG_USEC": str(int(float(unit()["WatchdogSec"]) * 1e6)),
        "metrics_port": str(free_port()),
    }
    command = [*PYTHON, "-m", "resprout", *arguments]
    with subprocess.Popen(
        command, cwd="/", env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as running:
        try:
            assert "WATCHDOG=1" in manager.hears_until("READY=1")
            running.send_signal(signal.SIGTERM)
            manager.hears_until("STOPPING=1")
            _, log = running.communicate(timeout=WATCHDOG)
        finally:
            running.kill()
    assert running.returncode == 0
    told = [json.loads(line) for line in log.splitlines()]
    assert [(each["child"], each["message"]) for each in told] == [("consumer", "consuming")]


def test_what_the_image_starts_is_healthy_by_its_own_check(folder: Path, manager: Manager) -> None:
    made, port = instructions(), free_port()
    assert made["EXPOSE"] == "9464"
    copied = made["COPY"].split()[:-1]
    assert set(copied) == set(FILES) - {"shop.service", "Dockerfile"}
    program, *arguments = [*listed(made["ENTRYPOINT"]), *listed(made["CMD"])]
    assert program == "resprout"
    # On this machine's own interface, and not on the container's.
    arguments = [each.replace("0.0.0.0", "127.0.0.1") for each in arguments]
    python, *check = listed(made["HEALTHCHECK"])
    assert python == "python"
    check = [sys.executable, *(each.replace("9464", str(port)) for each in check)]
    environment = {**os.environ, **manager.environment, "metrics_port": str(port)}
    quiet: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(
        [*PYTHON, "-m", "resprout", *arguments], cwd=folder, env=environment, **quiet
    ) as running:
        try:
            manager.hears_until("READY=1")
            assert subprocess.run(check, timeout=WATCHDOG, check=False, **quiet).returncode == 0
            running.send_signal(signal.SIGTERM)
            assert running.wait(WATCHDOG) == 0
        finally:
            running.kill()
    assert subprocess.run(check, timeout=WATCHDOG, check=False, **quiet).returncode == 1


def test_the_probes_of_kubernetes_ask_for_paths_and_a_port_that_there_are() -> None:
    (text,) = (
        each for each in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE) if "Probe" in each
    )
    (container,) = yaml.safe_load(text)["containers"]
    (port,) = container["ports"]
    probes = {name: each["httpGet"] for name, each in container.items() if name.endswith("Probe")}
    assert {name: each["path"] for name, each in probes.items()} == {
        "startupProbe": "/ready",
        "livenessProbe": "/health",
        "readinessProbe": "/ready",
    }
    assert {each["port"] for each in probes.values()} == {port["name"]}
    assert str(port["containerPort"]) in FILES["tree.yaml"]
