"""An application in a forked child: it runs in the parent only, until the child starts it, too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Forking = Callable[[str], list[str]]
STALE = (
    "StalePid: application shop was started before this process was forked: it runs in the parent only; "
    "start what you need in the child, after the fork (resprout.after_fork(fn) has that done on first use)"
)


@pytest.fixture
def shop(forking: Forking, tmp_path: Path) -> Forking:
    """Run a program that has an application, of one server and one lock, which forks."""
    (tmp_path / "servers.py").write_text(
        "from resprout import *\n"
        "class Till(GenServer):\n"
        "    def init(self, arg): return Ok(0)\n"
        "    def handle_call(self, message, from_, state): return Reply(state + 1, state + 1)\n"
    )
    (tmp_path / "tree.yaml").write_text(
        "name: shop\n"
        "strategy: one_for_one\n"
        "children:\n"
        "  - {worker: till, name: till, start: 'servers:Till'}\n"
        "  - {throttle: counter, num_slots: 2}\n"
        "  - {registry: customers, keys: unique}\n"
    )
    return lambda source: forking(f"app = Application.load({str(tmp_path / 'tree.yaml')!r})\n" + source)


def test_wait_says_that_it_runs_in_the_parent_and_stop_leaves_it_alone(shop: Forking) -> None:
    assert shop(
        "app.start()\n"
        "def child():\n"
        "    print(said(app.wait), said(app.wait, 0), app.stop(), app.stop('normal', 1), sep='\\n')\n"
        "forked(child)\n"
        "print(GenServer.call('till', 1), app.root.alive)\n"
        "app.stop()\n"
        "print(app.wait())\n"
    ) == [STALE, STALE, "None", "None", "1 True", "shutdown"]


def test_what_it_had_says_that_it_was_there_before_the_fork(shop: Forking) -> None:
    lines = shop(
        "app.start()\n"
        "def child():\n"
        "    print(said(GenServer.call, 'till', 1), said(throttle.run, 'counter', int), sep='\\n')\n"
        "    print(said(Registry.lookup, 'customers', 1))\n"
        "    print(said(Supervisor.which_children, app.root))\n"
        "forked(child)\n"
        "app.stop()\n"
    )
    assert len(lines) == 4
    for line in lines:
        assert "started before this process was forked" in line
        assert "the parent only" in line
        assert "resprout.after_fork(fn)" in line


@pytest.mark.parametrize("way", ["by hand", "after_fork"])
def test_it_can_be_started_in_the_child_and_both_go_on(shop: Forking, way: str) -> None:
    assert shop(
        f"if {way!r} == 'after_fork': after_fork(app.start)\n"
        "app.start()\n"
        "GenServer.call('till', 1)\n"
        "def child():\n"
        f"    if {way!r} == 'by hand': app.start()\n"
        "    print(GenServer.call('till', 1), throttle.run('counter', int), Registry.count('customers'))\n"
        "    print(said(app.start)[:14], app.root.alive)\n"
        "    app.stop()\n"
        "    print(app.wait(), app.root.alive)\n"
        "forked(child)\n"
        "print(GenServer.call('till', 1), app.root.alive)\n"
        "app.stop()\n"
    ) == ["1 0 0", "AlreadyStarted True", "shutdown False", "2 True"]


def test_one_that_was_never_started_is_started_in_each_child_only(shop: Forking) -> None:
    assert shop(
        "after_fork(app.start)\n"
        "forked(lambda: print(GenServer.call('till', 1)))\n"
        "forked(lambda: print(GenServer.call('till', 1)))\n"
        "print(said(app.wait), app.root)\n"
    ) == ["1", "1", "RuntimeError: application shop was not started None"]


def test_run_serves_in_the_child_until_a_signal_whichever_thread_gets_that(shop: Forking) -> None:
    assert shop(
        "import logging, signal\n"
        "app.start()\n"
        "def child():\n"
        "    runs = threading.Event()\n"
        "    logger = logging.getLogger('resprout.application')\n"
        "    logger.setLevel(logging.INFO)\n"
        "    logger.addFilter(lambda record: runs.set())\n"
        "    def end():\n"
        "        runs.wait()\n"
        "        print(GenServer.call('till', 1))\n"
        "        # Nothing tells that the main thread waits.\n"
        "        while where() not in ('_serve', '_next'): time.sleep(0)\n"
        "        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)\n"
        "    main = threading.get_ident()\n"
        "    where = lambda: sys._current_frames()[main].f_code.co_name\n"
        "    ending = threading.Thread(target=end)\n"
        "    ending.start()\n"
        "    print(app.run())\n"
        "    ending.join()\n"
        "forked(child)\n"
        "print(GenServer.call('till', 1), app.root.alive)\n"
        "app.stop()\n"
    ) == ["1", "0", "1 True"]


def test_a_fork_while_another_thread_starts_it_leaves_the_child_able_to(shop: Forking) -> None:
    assert shop(
        "import servers\n"
        "begun, go_on = threading.Event(), threading.Event()\n"
        "def init(self, arg):\n"
        "    if os.getpid() == parent: begun.set(); go_on.wait()\n"
        "    return Ok(0)\n"
        "servers.Till.init = init\n"
        "parent = os.getpid()\n"
        "starting = threading.Thread(target=app.start)\n"
        "starting.start()\n"
        "begun.wait()\n"
        "def child():\n"
        "    print(said(app.wait)[:8], app.stop(), app.start().alive, GenServer.call('till', 1))\n"
        "forked(child)\n"
        "go_on.set()\n"
        "starting.join()\n"
        "print(GenServer.call('till', 1))\n"
        "app.stop()\n"
    ) == ["StalePid None True 1", "1"]


def test_the_handlers_of_the_parents_applications_do_not_stay_those_of_users_do(shop: Forking) -> None:
    assert shop(
        "from resprout.actors import telemetry as handlers\n"
        "telemetry.attach('mine', ('app',), print)\n"
        "app.start()\n"
        "ids = lambda: [each.id if each.id == 'mine' else 'app' for each in handlers._attached]\n"
        "def child():\n"
        "    print(ids())\n"
        "    app.start()\n"
        "    print(ids())\n"
        "forked(child)\n"
        "print(ids())\n"
        "app.stop()\n"
    ) == ["['mine']", "['mine', 'app', 'app']", "['mine', 'app', 'app']"]
