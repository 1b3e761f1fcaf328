from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from resprout.actors import GenServer, Pid
from resprout.control.system import RunningSystem
from resprout.control.web.guard import HEADER
from resprout.control.web.page_options import HOST, PageOptions
from resprout.control.web.page_server import PageServer
from resprout.supervision.trees.listener import Listener

TOKEN = "a-token-that-nobody-guesses"


class Page:
    """A client of a page, as a browser would be one."""

    def __init__(self, pid: Pid) -> None:
        self.pid = pid
        _, self.port = PageServer.address(pid)
        self.url = f"http://{HOST}:{self.port}/{TOKEN}/"
        self.client = httpx.Client(base_url=self.url, timeout=20.0, trust_env=False)
        self.streams: list[Stream] = []

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.client.get(path, headers=dashed(headers))

    def post(self, path: str, told: Any, **headers: str) -> httpx.Response:
        return self.client.post(path, json=told, headers={HEADER: TOKEN, **dashed(headers)})

    def stream(self, look: dict[str, Any] | None = None) -> Stream:
        made = Stream(self, look)
        self.streams.append(made)
        return made

    def seen(self, **look: Any) -> dict[str, Any]:
        """What is seen at once with a look."""
        stream = self.stream(look)
        seen = stream.next("whole")
        stream.close()
        return seen

    def close(self) -> None:
        for each in self.streams:
            each.close()
        self.client.close()


def dashed(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


class Stream:
    """The events of a page that is open."""

    def __init__(self, page: Page, look: dict[str, Any] | None) -> None:
        params = {} if look is None else {"look": json.dumps(look)}
        request = page.client.build_request("GET", "stream", params=params)
        self.page = page
        self.response = page.client.send(request, stream=True)
        assert self.response.status_code == 200, self.response.read()
        self.lines = self.response.iter_lines()
        self.id = self.next("open")["stream"]

    def next(self, wanted: str | None = None) -> Any:
        """What the next event tells; with `wanted`, of that name."""
        name = ""
        for line in self.lines:
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                told = json.loads(line.removeprefix("data: "))
                assert wanted in (None, name), (name, told)
                return told
        raise AssertionError("the stream has ended")

    def until(self, good: Callable[[dict[str, Any]], object], seen: dict[str, Any]) -> dict[str, Any]:
        """What is seen when that is good, by the changes that come until then."""
        while not good(seen):
            seen = applied(seen, self.next("change"))
        return seen

    def look(self, **look: Any) -> httpx.Response:
        return self.page.post(f"look/{self.id}", look)

    def close(self) -> None:
        self.response.close()


def applied(before: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """What `stream.js` makes of a change."""
    after = {**before, **change.get("set", {})}
    for key, inside in change.get("in", {}).items():
        after[key] = applied(before[key], inside)
    for key in change.get("gone", ()):
        del after[key]
    return after


@pytest.fixture
def opened(system: RunningSystem) -> Iterator[Callable[..., Page]]:
    """Opens a page of a running system."""
    pages: list[Page] = []

    def open_(allow_actions: bool = False) -> Page:
        options = PageOptions(Listener(HOST, 0), TOKEN, allow_actions, system, pause=0.05)
        pid = PageServer.start(options)
        options.listener.close()
        assert pid is not None
        pages.append(Page(pid))
        return pages[-1]

    yield open_
    for each in pages:
        each.close()
        if each.pid.alive:
            GenServer.stop(each.pid)


@pytest.fixture
def page(opened: Callable[..., Page]) -> Page:
    return opened()
