"""The page for browsers: what it costs whoever is observed, and how soon it is seen."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from resprout.actors import GenServer, Ok, Reply
from resprout.control import RunningSystem
from resprout.control.web.page_options import HOST, PageOptions, new_token
from resprout.control.web.page_server import PageServer
from resprout.supervision import Application
from resprout.supervision.tree_kinds import Listener

from ..rows import Bar, Effort, Measure, Room, Row, Section
from ..timing import stopwatch, timed

BUSY = 1_000
MANY = 10_000
LOOK = {"view": "tree", "offset": 0, "limit": 70}
READER = """
import sys, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
with opener.open(sys.argv[1]) as events:
    for line in events:
        if line.startswith(b"event: whole"):
            print("seen", flush=True)
"""


class Busy(GenServer):
    """One of many, whose callbacks run in the thread of who calls."""

    blocking = False

    def init(self, arg: Any) -> Any:
        return Ok(arg)

    def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        return Reply(message, state)


@contextmanager
def running(children: int) -> Iterator[Application]:
    """A tree of so many children that runs."""
    with tempfile.TemporaryDirectory() as folder:
        worker = f'{{worker: child, start: "{__name__}:Busy", replicas: {children}, name: "child-{{index}}"}}'
        file = Path(folder, "tree.yaml")
        file.write_text(f"name: crowd\nchildren:\n  - supervisor: crowd\n    children: [{worker}]\n")
        application = Application.load(file, socket=False)
        application.start()
        try:
            yield application
        finally:
            application.stop()


@contextmanager
def served(application: Application) -> Iterator[str]:
    """The address of a page of a tree, while it is served."""
    options = PageOptions(Listener(HOST, 0), new_token(), system=RunningSystem(application))
    pid = PageServer.start(options)
    assert pid is not None
    try:
        yield f"http://{HOST}:{PageServer.address(pid)[1]}/{options.token}/"
    finally:
        GenServer.stop(pid)
        options.listener.close()


@contextmanager
def opened(url: str) -> Iterator[None]:
    """A page that is open at the tree, in a program of its own."""
    look = urllib.parse.quote(json.dumps(LOOK))
    command = [sys.executable, "-c", READER, f"{url}stream?look={look}"]
    reader = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert reader.stdout is not None
    try:
        assert reader.stdout.readline() == "seen\n"
        yield
    finally:
        reader.kill()
        reader.wait()
        reader.stdout.close()


@contextmanager
def observed(effort: Effort) -> Iterator[Mapping[str, Measure]]:
    """Calls that go through all children in turn, as fast as they can."""
    children, times = effort(BUSY, 10), effort(300_000, 50)

    def calls() -> Mapping[str, float]:
        number = 0

        def call() -> None:
            nonlocal number
            number += 1
            GenServer.call(f"child-{number % children}", number)

        timed(call, times // 20 + 1)
        elapsed, here, all_ = stopwatch("s"), time.thread_time(), time.process_time()
        each = timed(call, times)
        besides = (time.process_time() - all_) - (time.thread_time() - here)
        return {"calls": each, "besides": 1e3 * besides / elapsed()}

    with running(children) as application:

        def with_page(open_: bool) -> Mapping[str, float]:
            with ExitStack() as stack:
                url = stack.enter_context(served(application))
                if open_:
                    stack.enter_context(opened(url))
                return calls()

        yield {
            "page open": lambda: with_page(True),
            "page closed": lambda: with_page(False),
            "no page": calls,
        }


def has_chromium() -> bool:
    """Whether there is a browser, and what drives it."""
    return bool(
        importlib.util.find_spec("selenium") and shutil.which("chromium") and shutil.which("chromedriver")
    )


@contextmanager
def painted(effort: Effort) -> Iterator[Mapping[str, Measure]]:
    """A browser that opens the page of a large tree anew each time."""
    if not has_chromium():
        yield {"painted": lambda: {"first": float("nan"), "rows": float("nan")}}
        return
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for flag in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--no-proxy-server",
    ):
        options.add_argument(flag)
    service = webdriver.ChromeService(str(shutil.which("chromedriver")))
    first = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
    rows = "performance.getEntriesByName('rows')[0]?.startTime"
    with running(effort(MANY, 100)) as application, served(application) as url:
        driver = webdriver.Chrome(options, service)

        def measure() -> Mapping[str, float]:
            driver.get("about:blank")
            driver.get(url)
            while True:
                found = driver.execute_script(f"return [{first}, {rows}]")
                if None not in found:
                    return {"first": float(found[0]), "rows": float(found[1])}

        try:
            yield {"painted": measure}
        finally:
            driver.quit()


ROOM = Room(
    "observer",
    "docs/observer.md",
    [
        Section(
            "observed",
            f"Calls that go through {BUSY:,} children in turn, while their page is open in another program.",
            observed,
            [
                Row("call and reply, page open", "page open: calls", "no page: calls", Bar(ratio=1.02)),
                Row("call and reply, page closed", "page closed: calls", "no page: calls", Bar(ratio=1.02)),
                Row(
                    "processor time besides the calls in a second, page open",
                    "page open: besides",
                    bar=Bar(figure=20.0),
                    unit="ms",
                ),
                Row(
                    "processor time besides the calls in a second, page closed",
                    "page closed: besides",
                    unit="ms",
                ),
            ],
            repeats=15,
            warm_up=1,
        ),
        Section(
            "painted",
            f"Headless Chromium opens the page of {MANY:,} processes, from the request on.",
            painted,
            [
                Row("first paint", "painted: first", None, Bar(figure=300.0), "ms", needs=has_chromium),
                Row("rows are there", "painted: rows", None, unit="ms", needs=has_chromium),
            ],
            repeats=9,
            warm_up=2,
        ),
    ],
)
