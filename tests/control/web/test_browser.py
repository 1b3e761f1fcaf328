"""The page as people see and use it, in headless Chromium: every view and every button, with and without a
mouse.

With --screenshots the pictures of docs/observer.md are made anew.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from resprout import throttle
from resprout.actors import GenServer, process
from resprout.control.commands.observing import leading_to
from resprout.control.system import RunningSystem
from resprout.control.web.page_options import HOST, PageOptions
from resprout.control.web.page_server import PageServer
from resprout.registry import Registry
from resprout.supervision import Application
from resprout.supervision.trees.listener import Listener

from ...programs import resprout as command
from ...waiting import until
from .chromium import Chromium, chromium, programs
from .conftest import TOKEN, Page

pytestmark = pytest.mark.browser
DOCS = Path(__file__).resolve().parents[3] / "docs/observer"
BUTTON = "[...document.querySelectorAll('button')].find(each => each.textContent === arguments[0]).click()"
VIEWS = (
    *("tree", "process/services%2Fcrasher", "locks", "lock/kafka", "registries", "registry/users/0"),
    *("crashes", "timeline"),
)


@pytest.fixture(scope="module")
def window() -> Iterator[Chromium]:
    if programs() is None:
        pytest.skip("no Chromium with its driver here")
    with chromium() as made:
        yield made


@pytest.fixture
def seen(window: Chromium) -> Iterator[Chromium]:
    """A window as large as others; what the browser complains of is a failure."""
    window.size(1280, 800)
    window.scheme("light")
    window.driver.get("about:blank")
    window.complaints()
    yield window
    complaints = window.complaints()
    window.driver.get("about:blank")
    assert complaints == []


@pytest.fixture
def acting(opened: Callable[..., Page]) -> Page:
    return opened(allow_actions=True)


def crash() -> None:
    """The child that crashes does so, and is there again."""
    before = process.whereis("crasher")
    process.send("crasher", "write orders.csv")
    until(lambda: process.whereis("crasher") not in (None, before))


def row(path: str) -> str:
    return f'[role=row][data-path="{path}"]'


# The tree


def test_the_tree_has_a_row_for_each_process(seen: Chromium, page: Page) -> None:
    seen.open(page.url)
    seen.one(row("pool"))
    assert seen.texts("[data-path] .cell.name a")[:5] == ["/", "kafka", "users", "services", "echo-0"]
    assert seen.value("document.title") == "Tree · resprout"
    assert seen.texts("#name") == ["shop"]
    seen.shows("8 / 8", "#figures")
    assert "●running" in seen.texts(f"{row('services/echo-1')} .state")


def test_a_file_that_leads_to_the_page_opens_it(seen: Chromium, page: Page) -> None:
    with leading_to(page.url) as file:
        seen.driver.get(file.as_uri())
        seen.one(row("pool"))
    assert seen.value("location.href").startswith(page.url)


def test_a_crash_is_seen_as_it_happens(seen: Chromium, page: Page) -> None:
    seen.open(page.url)
    seen.one(row("services/crasher"))
    crash()
    seen.until(f"document.querySelector('{row('services/crasher')} .loud')?.textContent === '1'")
    seen.shows("1", "#figures")


def test_the_tree_says_what_it_is_to_a_screen_reader(seen: Chromium, page: Page) -> None:
    seen.open(page.url)
    seen.one(row("pool"))
    grid = "document.querySelector('[role=treegrid]')"
    assert seen.value(f"{grid}.getAttribute('aria-rowcount')") == "10"
    assert seen.value(f"{grid}.getAttribute('aria-label')") == "Processes"
    told = "document.querySelector(arguments[0]).getAttribute(arguments[1])"
    assert seen.value(told, row("services"), "aria-expanded") == "true"
    assert seen.value(told, row("services/echo-0"), "aria-level") == "3"
    assert seen.value(told, row("services/echo-0"), "aria-expanded") is None
    assert seen.value(told, row("services/echo-0"), "aria-rowindex") == "6"
    assert seen.texts("[role=columnheader]")[:3] == ["Process", "State", "Restarts"]
    assert seen.value("document.querySelectorAll('[role=status], [role=alert]').length") == 3
    # Names for all that can be used.
    assert (
        seen.value(
            "[...document.querySelectorAll('button, input, select, a')].filter(each => each.checkVisibility()"
            " && !(each.getAttribute('aria-label') || each.textContent.trim())).map(each => each.outerHTML)"
        )
        == []
    )


def test_supervisors_are_folded_and_unfolded(seen: Chromium, page: Page) -> None:
    seen.open(page.url)
    seen.click(f"{row('services')} .fold")
    seen.until(f"!document.querySelector('{row('services/echo-0')}')")
    assert seen.value(f"document.querySelector('{row('services')}').getAttribute('aria-expanded')") == "false"
    seen.click(f"{row('services')} .fold")
    seen.one(row("services/echo-0"))
    seen.js(BUTTON, "Collapse all")
    seen.shows("5 rows", ".total")
    seen.js(
        "[...document.querySelectorAll('button')].find(each => each.textContent === 'Expand all').click()"
    )
    seen.shows("9 rows", ".total")


def test_the_tree_is_sorted_and_filtered(seen: Chromium, page: Page) -> None:
    crash()
    seen.open(page.url)
    seen.click("[data-sort=restarts]")
    seen.until("document.querySelector('[data-path]')?.dataset.path === 'services/crasher'")
    assert (
        seen.value("document.querySelector('[data-column=restarts]').getAttribute('aria-sort')")
        == "descending"
    )
    seen.click("[data-sort=restarts]")
    seen.one("[data-filter]").send_keys("echo")
    seen.shows("3 rows", ".total")
    seen.js(
        "const state = document.querySelector('select'); state.value = 'down';"
        "state.dispatchEvent(new Event('change'))"
    )
    seen.shows("0 rows", ".total")


def test_everything_in_the_tree_works_without_a_mouse(seen: Chromium, page: Page) -> None:
    active = "document.querySelector('.active')?.dataset.path"
    seen.open(page.url)
    seen.one(row("pool"))
    seen.tab_to("[role=treegrid]")
    seen.press("arrow_down", "arrow_down", "arrow_down")
    seen.until(f"{active} === 'services'")
    seen.press("arrow_left")
    seen.shows("5 rows", ".total")
    seen.press("arrow_right")
    seen.shows("9 rows", ".total")
    seen.press("end")
    seen.until(f"{active} === 'pool'")
    seen.press("home", "arrow_down", "arrow_down", "arrow_down", "arrow_right", "arrow_right")
    seen.until(f"{active} === 'services/echo-1'")
    seen.press("arrow_left")
    seen.until(f"{active} === 'services'")
    seen.press("enter")
    seen.shows("services", "h2")
    seen.until("document.activeElement.id === 'main'")
    seen.driver.back()
    seen.one(row("pool"))
    seen.press("/")
    seen.until("document.activeElement.matches('[data-filter]')")
    seen.press("c", "r", "a", "s", "h")
    seen.shows("1 row", ".total")
    seen.go("tree/again")


def test_the_way_into_the_view_skips_the_head(seen: Chromium, page: Page) -> None:
    seen.open(page.url)
    seen.press("tab")
    assert seen.value("document.activeElement.textContent") == "Skip to the view"
    seen.tab_to("nav a[href='#/crashes']")
    seen.press("enter")
    seen.shows("Nothing has crashed.")
    assert seen.value("document.querySelector('nav [aria-current]').textContent") == "Crashes"


# Ten thousand


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A page of a tree of 10,000 children."""
    folder = tmp_path_factory.mktemp("crowd")
    (folder / "resprout_crowd.py").write_text(
        "from resprout.actors import GenServer, Ok\n\n"
        "class Child(GenServer):\n    blocking = False\n    def init(self, arg):\n        return Ok(arg)\n"
    )
    (folder / "tree.yaml").write_text(
        "name: crowd\nchildren:\n  - supervisor: crowd\n    children:\n"
        "      - {worker: child, start: 'resprout_crowd:Child', replicas: 10000}\n"
    )
    application = Application.load(folder / "tree.yaml", socket=False)
    application.start()
    options = PageOptions(Listener(HOST, 0), TOKEN, system=RunningSystem(application))
    pid = PageServer.start(options)
    assert pid is not None
    yield f"http://{HOST}:{PageServer.address(pid)[1]}/{TOKEN}/"
    GenServer.stop(pid)
    options.listener.close()
    application.stop()


def test_ten_thousand_processes_are_as_many_rows_as_are_seen(seen: Chromium, crowd: str) -> None:
    rows = "document.querySelectorAll('[data-path]').length"
    seen.open(crowd)
    seen.one(row("crowd/child-5"))
    seen.shows("10,002 rows", ".total")
    assert 10 < seen.value(rows) < 60
    seen.js("document.querySelector('[data-body]').scrollTop = 5000 * 28")
    seen.one(row("crowd/child-5000"))
    assert seen.value(rows) < 60
    seen.tab_to("[role=treegrid]")
    seen.press("end")
    seen.one(f"{row('crowd/child-9999')}.active")
    seen.one("[data-filter]").send_keys("child-777")
    seen.shows("11 rows", ".total")


def test_the_first_paint_with_ten_thousand_processes_is_measured(
    seen: Chromium, crowd: str, record_property: Callable[[str, object], None]
) -> None:
    """The figure is for whoever reads it: tests assert no times, the benchmark shows them."""
    seen.open(crowd)
    seen.until("performance.getEntriesByName('rows').length")
    for name in ("first-contentful-paint", "rows"):
        milliseconds = seen.value("performance.getEntriesByName(arguments[0])[0]?.startTime", name)
        assert milliseconds > 0
        record_property(f"{name} (ms)", round(milliseconds))


# A process


def test_a_process_has_a_page_of_its_own(seen: Chromium, page: Page) -> None:
    crash()
    seen.open(page.url, "process/services%2Fcrasher")
    seen.shows("'a state'", "[aria-label=State]")
    assert "crasher" in seen.texts("[data-fact=name]")
    seen.shows("ValueError: the disk is on fire", ".crash")
    assert seen.texts(".actions button") == []
    seen.click(".links a")
    seen.shows("Supervisor", "[data-fact=class]")
    seen.shows("services", "h2")


def test_a_crash_comes_into_the_page_of_its_process(seen: Chromium, page: Page) -> None:
    seen.open(page.url, "process/crasher")
    seen.shows("'a state'", "[aria-label=State]")
    assert not seen.one("main").text.count("Last crash")
    crash()
    seen.shows("ValueError: the disk is on fire", ".crash")
    seen.shows("1", "[data-fact=restarts]")


def test_what_is_not_there_is_told_of_with_a_way_to_what_is(seen: Chromium, page: Page) -> None:
    seen.open(page.url, "process/services%2Fecho-11")
    seen.shows("there is no process 'services/echo-11'; did you mean", ".refused")
    seen.click(".refused a")
    seen.shows("services", "h2")
    seen.shows("{'number': 1}", "[aria-label=State]")


# Locks, registries, crashes, the timeline


def test_a_lock_is_seen_with_its_holders_its_waiters_and_its_plots(seen: Chromium, page: Page) -> None:
    over = False

    def work() -> None:
        while not over:
            throttle.run("kafka", time.sleep, 0.002)

    workers = [process.spawn(work) for _ in range(4)]
    seen.open(page.url, "locks")
    seen.shows("2 / 2", "tbody")
    seen.click("tbody a")
    seen.shows("kafka", "h2")
    seen.until("document.querySelectorAll('path.line').length === 4")
    seen.until(
        "[...document.querySelectorAll('.line')].every(each => each.getAttribute('d').split('L').length > 3)"
    )
    seen.until("document.querySelectorAll('section tbody a').length === 4")
    seen.shows("ms", ".legend [data-kind=one]")
    assert "2 of 2 slots run" in seen.value("document.querySelector('.plot').getAttribute('aria-label')")
    seen.click("summary")
    seen.until("document.querySelectorAll('details tbody tr').length > 3")
    over = True
    until(lambda: not any(worker.alive for worker in workers))
    seen.shows("No holders.")


def test_registries_are_leafed_through(seen: Chromium, page: Page) -> None:
    for number in range(150):
        Registry.register("users", f"user-{number:03}", {"plan": number})
    seen.open(page.url, "registries")
    seen.shows("150", "tbody")
    seen.click("tbody a")
    seen.until("document.querySelectorAll('tbody tr').length === 100")
    seen.click("[rel=next]")
    seen.shows("101\u2013150", ".total")
    assert len(seen.texts("tbody tr")) == 50
    seen.click("[rel=prev]")
    seen.shows("1\u2013100", ".total")
    seen.one("[data-filter]").send_keys("user-142\n")
    seen.shows("{'plan': 142}", "tbody")
    assert len(seen.texts("tbody tr")) == 1


def test_crashes_are_folded_and_so_are_the_frames_of_libraries(seen: Chromium, page: Page) -> None:
    crash()
    crash()
    seen.open(page.url, "crashes")
    seen.shows("2\xd7ValueError: the disk is on fire", "summary")
    seen.tab_to(".kinds summary")
    seen.press("enter")
    seen.shows("in handle_info", ".trace pre.own")
    assert seen.texts(".trace summary") == ["2 frames of libraries"]
    assert len(seen.texts(".trace pre.own")) == 1
    crash()
    seen.shows("3\xd7", "summary")
    assert seen.value("document.querySelector('.kinds details').open")


def test_the_timeline_has_starts_and_crashes(seen: Chromium, page: Page) -> None:
    seen.open(page.url, "timeline")
    seen.shows("8", "[data-fact=starts]")
    crash()
    seen.shows("1", "[data-fact=crashes]")
    seen.shows("↻restarted", "tbody")
    assert seen.value("document.querySelectorAll('.bar.bad').length") == 1
    seen.tab_to("[type=radio]")
    seen.press("arrow_right")
    seen.until("document.querySelector('.plot').textContent.includes('15 min')")


# Actions


def say_yes(seen: Chromium) -> None:
    seen.one("dialog[open]")
    assert seen.value("document.activeElement.textContent") == "Cancel"
    seen.press("tab", "enter")


def act(name: str) -> str:
    return f"[data-act={name}]"


def test_every_button_of_a_process_does_what_it_says(seen: Chromium, acting: Page) -> None:
    seen.open(acting.url, "process/services%2Fecho-0")
    before = process.whereis("echo-0")
    seen.click(act("restart"))
    seen.one("dialog[open]")
    seen.press("escape")
    seen.until("!document.querySelector('dialog').open")
    assert process.whereis("echo-0") is before
    seen.click(act("restart"))
    say_yes(seen)
    seen.shows("services/echo-0 restarted as", "#said")
    assert process.whereis("echo-0") is not before
    seen.click(act("suspend"))
    seen.shows("suspended", ".title .state")
    seen.click(act("resume"))
    seen.shows("running", ".title .state")
    seen.click(act("terminate"))
    say_yes(seen)
    seen.shows("services/echo-0 terminated", "#said")
    seen.shows("down", ".title .state")
    assert process.whereis("echo-0") is None
    seen.click(act("start"))
    seen.shows("running", ".title .state")
    assert process.whereis("echo-0") is not None


def test_every_button_of_a_lock_does_what_it_says(seen: Chromium, acting: Page) -> None:
    seen.open(acting.url, "lock/kafka")
    seen.click(act("pause"))
    seen.shows("paused", ".title .state")
    assert throttle.lock_info("kafka").paused
    seen.shows("Resume", act("pause"))
    seen.click(act("pause"))
    until(lambda: not throttle.lock_info("kafka").paused)
    seen.js("document.querySelector('[aria-label=Slots]').value = '0'")
    seen.click(act("resize"))
    seen.shows("expected a whole number of slots from 1 on, got: 0", "#said.wrong")
    seen.js("document.querySelector('[aria-label=Slots]').value = '5'")
    seen.click(act("resize"))
    seen.shows("kafka has 5 slots", "#said")
    seen.shows("5", "[data-fact=slots]")


def test_what_cannot_be_done_is_told(seen: Chromium, acting: Page) -> None:
    seen.open(acting.url, "lock/kafka")
    seen.one(act("resize"))
    seen.until("document.querySelector('[aria-label=Slots]').value === '2'")
    seen.js("document.querySelector('[aria-label=Slots]').value = '99999999999'")
    seen.click(act("resize"))
    seen.shows("expected num_slots of resize to be a whole number from 1 on", "#said.wrong")
    # The browser notes what was refused, too.
    assert ["400 (Bad Request)" in each for each in seen.complaints()] == [True]


def test_the_whole_system_is_stopped(seen: Chromium, acting: Page, system: RunningSystem) -> None:
    seen.open(acting.url)
    seen.click(act("stop"))
    say_yes(seen)
    seen.shows("ended", "#state")
    assert system.application.wait(20.0) == "shutdown"


ACTS = "[...document.querySelectorAll('[data-act]')].some(each => each.checkVisibility())"


def test_a_page_that_only_looks_has_no_buttons_that_act(seen: Chromium, page: Page) -> None:
    for view in VIEWS:
        seen.open(page.url, view)
        assert (
            seen.value("[...document.querySelectorAll('[data-act]')].some(each => each.checkVisibility())")
            is False
        )


# A system that dies


def test_a_system_that_dies_while_it_is_watched(window: Chromium, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "tree.yaml"
    file.write_text(f"name: mortal\nchildren:\n  - {{observe: page, port: 0, token: {TOKEN}}}\n")
    first = started(file, tmp_path, 0)
    url = address(first, tmp_path)
    port = int(url.split(":")[2].split("/")[0])
    file.write_text(f"name: mortal\nchildren:\n  - {{observe: page, port: {port}, token: {TOKEN}}}\n")
    try:
        window.open(url)
        window.one(row("page"))
        assert window.value("document.getElementById('lost').hidden")
        first.kill()
        first.wait(60)
        window.shows("does not answer", "#lost")
        assert window.texts("[data-path]") != []
        second = started(file, tmp_path, 1)
        try:
            address(second, tmp_path)
            window.until("document.getElementById('lost').hidden")
            second.send_signal(signal.SIGTERM)
            window.shows("The system has ended", "#lost")
            assert second.wait(60) == 0
        finally:
            second.kill()
            second.wait(60)
    finally:
        first.kill()
        first.wait(60)
        for left in (0, 1):  # what the killed have left
            socket_of(left).unlink(missing_ok=True)
        window.driver.get("about:blank")
        window.complaints()


def socket_of(number: int) -> Path:
    return Path(f"/tmp/resprout-mortal-{os.getpid()}-{number}.sock")


def started(file: Path, folder: Path, number: int) -> subprocess.Popen[bytes]:
    path = socket_of(number)
    program = subprocess.Popen(
        command("run", file, "--quiet", "--socket", path),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until(path.exists)
    (folder / "socket").write_text(str(path))
    return program


def address(program: subprocess.Popen[bytes], folder: Path) -> str:
    from resprout.control.client import Client

    path = Path((folder / "socket").read_text())

    def told() -> dict[str, Any] | None:
        with Client(path) as client:
            if client.ask("status")["state"] != "running":
                return None
            found: dict[str, Any] = client.ask("observe")
            return found

    until(told)
    found = told()
    assert found is not None
    return str(found["url"])


# How it looks


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_view_fits_a_phone_and_is_read_in_light_and_dark(
    scheme: str, seen: Chromium, acting: Page
) -> None:
    crash()
    Registry.register("users", "ann", "a value of some length " * 20)
    seen.size(390, 844)
    seen.scheme(scheme)
    for view in VIEWS:
        seen.open(acting.url, view)
        assert seen.value("document.documentElement.scrollWidth") <= 390, view
    for name in COLOURS:
        assert min(seen.value(CONTRAST, name, behind) for behind in ("--raised", "--back")) >= 4.5, name


COLOURS = ["--ink", "--quiet", "--link", "--good", "--warn", "--bad", "--rest"]
CONTRAST = """(() => {
  const light = (name) => {
    const hex = getComputedStyle(document.documentElement).getPropertyValue(name).trim().slice(1);
    const [r, g, b] = [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255)
      .map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const [one, other] = [light(arguments[0]), light(arguments[1])];
  return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
})()"""


def test_nothing_is_asked_of_another_host(seen: Chromium, page: Page) -> None:
    for view in VIEWS:
        seen.open(page.url, view)
        asked = seen.value("performance.getEntriesByType('resource').map(each => each.name)")
        assert asked
        assert [each for each in asked if not each.startswith(page.url)] == []


def test_what_is_read_aloud_does_not_chatter(seen: Chromium, page: Page) -> None:
    seen.open(page.url)
    seen.one(row("pool"))
    seen.js(
        "window.heard = 0; const all = new MutationObserver((found) => { window.heard += found.length; });"
        "for (const each of document.querySelectorAll('[role=status], [role=alert]'))"
        " all.observe(each, { childList: true, characterData: true, subtree: true });"
    )
    for _ in range(10):
        crash()
    seen.until(f"document.querySelector('{row('services/crasher')} .loud')?.textContent === '10'")
    assert seen.value("window.heard") <= 1


# The pictures of the docs


DEMO = '''
"""Work for the pictures: clients of a few servers, and one that crashes now and then."""

import random
import time

from resprout import throttle
from resprout.actors import GenServer, Ok, Reply, process
from resprout.registry import Registry


class Orders(GenServer):
    def init(self, arg):
        Registry.register("users", f"user-{random.randrange(1000)}")
        return Ok({"open": 3, "paid": 41})

    def handle_call(self, message, from_, state):
        return Reply(message, state)


class Printer(GenServer):
    def init(self, arg):
        return Ok({"printer": "hall", "paper": 0})

    def handle_info(self, message, state):
        self.print_label(message)

    def print_label(self, label):
        raise OSError(f"out of paper at label {label}")


def buy():
    while True:
        with throttle.slot("database"):
            GenServer.call(f"orders-{random.randrange(6)}", "buy")
            time.sleep(random.random() * 0.02)


def pack():
    for number in range(10**9):
        time.sleep(1.5)
        process.send("printer", number)
'''
DEMO_TREE = f"""
name: shop
max_restarts: 100000
children:
  - {{throttle: database, num_slots: 4}}
  - {{registry: users}}
  - supervisor: orders
    children:
      - {{worker: orders, start: "resprout_shop:Orders", replicas: 6, name: "orders-{{index}}"}}
  - supervisor: parcels
    max_restarts: 100000
    children:
      - {{worker: printer, start: "resprout_shop:Printer", name: printer}}
      - {{worker: pack, run: "resprout_shop:pack"}}
  - supervisor: clients
    children:
      - {{worker: buy, run: "resprout_shop:buy", replicas: 7}}
  - {{observe: page, port: 0, allow_actions: true, token: {TOKEN}}}
"""


def test_the_pictures_of_the_docs_are_made(
    window: Chromium, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if not request.config.getoption("--screenshots"):
        pytest.skip("they are there (--screenshots)")
    (tmp_path / "resprout_shop.py").write_text(DEMO)
    (tmp_path / "tree.yaml").write_text(DEMO_TREE)
    program = started(tmp_path / "tree.yaml", tmp_path, 2)
    try:
        url = address(program, tmp_path)
        DOCS.mkdir(exist_ok=True)
        window.scheme("light")
        window.size(1040, 600)
        window.open(url, "lock/database")
        wait_for(window, 45)
        window.picture(DOCS / "lock.png")
        window.go("tree")
        wait_for(window, 3)
        window.picture(DOCS / "tree.png")
        window.go("timeline")
        wait_for(window, 2)
        window.picture(DOCS / "timeline.png")
        window.scheme("dark")
        window.size(390, 720)
        window.go("process/parcels%2Fprinter")
        wait_for(window, 2)
        window.picture(DOCS / "phone.png")
    finally:
        program.send_signal(signal.SIGTERM)
        assert program.wait(60) == 0


def wait_for(window: Chromium, seconds: float) -> None:
    """Lets a picture fill: what it shows is what has happened meanwhile."""
    time.sleep(seconds)
    window.one("main")
