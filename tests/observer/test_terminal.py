"""What a run does to the terminal: that it gives it back, and that a slow stop is no silence."""

from __future__ import annotations

import os
import re
import signal
from typing import Any

import pytest

from .shop import TILL

pytest.importorskip("rich", reason="the live picture is an extra")

STEADY = """
name: shop
children:
  - {worker: front, start: "shop:Steady"}
"""
STUCK = """
name: shop
children:
  - supervisor: back
    children:
      - {worker: stuck, start: "shop:Stuck", shutdown: infinity}
  - {worker: front, start: "shop:Steady"}
"""
MANY = "name: shop\nchildren:\n" + "".join(
    f'  - {{worker: w{n}x, start: "shop:Steady"}}\n' for n in range(60)
)
INSTEAD_OF_RUNNING = """
import os, signal
from resprout import Application


def run(self):
    {does}

Application.run = run
"""
HIDDEN, SHOWN = "\x1b[?25l", "\x1b[?25h"


def assert_given_back(seen: str) -> None:
    """The cursor is there, whoever hid it, and there was never a second screen."""
    assert HIDDEN in seen
    assert seen.rindex(HIDDEN) < seen.rindex(SHOWN)
    assert "\x1b[?1049" not in seen
    assert "\x1b[?47" not in seen


@pytest.mark.parametrize("crash", ["never", "always"])
def test_a_run_that_ends_by_itself_gives_the_terminal_back(crash: str, shop: Any) -> None:
    shop.write(TILL)
    status, seen = shop.on_terminal("--set", f"crash={crash}").finish()
    assert status == (crash == "always")
    assert_given_back(seen)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_and_the_terminal_is_given_back(number: signal.Signals, shop: Any) -> None:
    shop.write(STEADY)
    run = shop.on_terminal()
    run.until("front")
    run.program.send_signal(number)
    status, seen = run.finish()
    assert status == 0
    assert_given_back(seen)
    assert f"stopped by {number.name}" in seen


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_that_takes_its_time_says_for_whom_and_how_to_end_it(
    number: signal.Signals, shop: Any
) -> None:
    shop.write(STUCK)
    os.mkfifo(shop.folder / "go on")
    run = shop.on_terminal()
    run.until("front")
    run.program.send_signal(number)
    again = "Ctrl-C again" if number == signal.SIGINT else "another SIGTERM"
    run.until(f"stopping ({again} stops at once): waits for back/stuck")
    run.program.send_signal(number)
    status, seen = run.finish()
    assert status == 128 + number
    assert_given_back(seen)


def test_plain_lines_say_once_what_a_slow_stop_waits_for(shop: Any) -> None:
    shop.write(STUCK)
    os.mkfifo(shop.folder / "go on")
    program = shop.begin()
    lines = iter(program.stdout.readline, "")
    assert "ready\n" in lines
    program.send_signal(signal.SIGTERM)
    line = next(line for line in lines if "stopping" in line)
    assert line.endswith("stopping (another SIGTERM stops at once): waits for back/stuck\n")
    (shop.folder / "go on").write_text("")
    rest = "".join(lines)
    assert program.wait(60) == 0
    assert "stopping" not in rest
    assert "stopped by SIGTERM" in rest


@pytest.mark.parametrize(
    ("does", "status", "said"),
    [
        ("raise RuntimeError('broken')", 1, "RuntimeError: broken"),
        ("os.kill(os.getpid(), signal.SIGTERM); signal.pause()", 143, "stopped by SIGTERM before"),
        ("os.kill(os.getpid(), signal.SIGHUP); signal.pause()", 129, "stopped by SIGHUP before"),
        ("os.kill(os.getpid(), signal.SIGINT); signal.pause()", 130, "stopped by SIGINT before"),
    ],
)
def test_whatever_ends_the_program_the_terminal_is_given_back(
    does: str, status: int, said: str, shop: Any
) -> None:
    shop.write(STEADY, INSTEAD_OF_RUNNING.format(does=does))
    code, seen = shop.on_terminal().finish()
    assert code == status
    assert_given_back(seen)
    assert said in re.sub(r"\x1b\[[0-9;]*m", "", seen), "tracebacks have colours since Python 3.13"


@pytest.mark.parametrize("size", [(80, 24), (200, 50)])
def test_more_rows_than_the_terminal_has_are_folded_and_nothing_of_them_stays(
    size: tuple[int, int], shop: Any
) -> None:
    shop.write(MANY)
    run = shop.on_terminal(size=size)
    run.until(" more")
    run.program.send_signal(signal.SIGTERM)
    status, seen = run.finish()
    assert status == 0
    # Between two frames the cursor goes up by the height of the first, line by line.
    ups = [
        len(moves) // 4 for moves in re.findall(r"(?:\x1b\[1A(?:\x1b\[2K)?)+", seen.replace("\x1b[2K", ""))
    ]
    assert 0 < max(ups) < size[1]
    assert_given_back(seen)


def test_the_terminal_without_a_picture_is_left_alone(shop: Any) -> None:
    shop.write(TILL)
    status, seen = shop.on_terminal("--plain").finish()
    assert status == 0
    assert "\x1b" not in seen
