"""What a page is served: its files, its views as they change, and what it may do."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resprout import throttle
from resprout.actors import GenServer, process, telemetry
from resprout.control.errors import Refusal
from resprout.control.system import RunningSystem
from resprout.control.web.guard import HEADER
from resprout.control.web.lock_history import LockHistory
from resprout.control.web.site import ACTIONS
from resprout.control.web.streams import MOST, Streams
from resprout.control.web.timeline import Timeline
from resprout.control.web.views import Look, Watcher, read_look
from resprout.registry import Registry

from ...waiting import WATCHDOG, until
from .conftest import TOKEN, Page

STATIC = Path(__file__).resolve().parents[3] / "control/web/static"
TREE = {"view": "tree", "offset": 0, "limit": 50}


def listened_to(*event: str) -> bool:
    return telemetry.heard(("resprout", *event))


# Files


def test_the_page_asks_nobody_but_its_own_server(page: Page) -> None:
    answer = page.get("")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    named = re.findall(r'(?:src|href)="([^"#]+)"', answer.text)
    assert "static/app.js" in named
    for name in named:
        assert page.get(name).status_code == 200, name
    everything = "".join(path.read_text() for path in STATIC.iterdir())
    assert set(re.findall(r"https?://[^\"'\s)]+", everything)) == {"http://www.w3.org/2000/svg"}


def test_every_module_that_a_module_imports_is_served(page: Page) -> None:
    for path in STATIC.glob("*.js"):
        for name in re.findall(r'(?:from|import\()\s*"\./([^"]+)"', path.read_text()):
            answer = page.get(f"static/{name}")
            assert (answer.status_code, answer.headers["content-type"]) == (
                200,
                "text/javascript; charset=utf-8",
            )


def test_what_is_not_there_is_not_found(page: Page) -> None:
    for path in ("static/none.js", "static/%2e%2e%2fsite.py", "static/..%2fsite.py", "nothing", "act"):
        assert page.get(path).status_code == 404
    assert page.get("look/x").status_code == 405


def test_no_script_writes_markup() -> None:
    everything = "".join(path.read_text() for path in STATIC.glob("*.js"))
    assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", everything) == []


# Streams


def test_the_tree_comes_whole_and_then_as_it_changes(page: Page) -> None:
    stream = page.stream(TREE)
    seen = stream.next("whole")
    assert seen["system"]["name"] == "shop"
    assert seen["view"]["total"] == 9
    assert seen["view"]["order"][:4] == ["/", "kafka", "users", "services"]
    row = seen["view"]["rows"]["services/crasher"]
    assert (row["state"], row["restarts"], row["depth"], row["id"]) == ("running", 0, 2, "crasher")
    process.send("crasher", "now")
    seen = stream.until(lambda seen: seen["view"]["rows"]["services/crasher"]["restarts"], seen)
    assert seen["system"]["crashes"] == 1


def test_a_change_has_only_what_has_changed(page: Page) -> None:
    stream = page.stream(TREE)
    stream.next("whole")
    change = stream.next("change")
    rows = change.get("in", {}).get("view", {}).get("in", {}).get("rows", {}).get("in", {})
    assert {key for each in rows.values() for key in each["set"]} <= {"rate"}
    assert "view" not in change.get("set", {})


def test_only_the_rows_that_are_looked_at_are_sent(page: Page) -> None:
    stream = page.stream({**TREE, "limit": 2})
    seen = stream.next("whole")
    assert list(seen["view"]["rows"]) == ["/", "kafka"]
    assert stream.look(view="tree", offset=1, limit=2, number=1).status_code == 204
    change = stream.next("change")
    assert change["in"]["view"]["set"]["order"] == ["kafka", "users"]
    assert list(change["in"]["view"]["in"]["rows"]["set"]) == ["users"]
    assert change["in"]["view"]["in"]["rows"]["gone"] == ["/"]


def test_closed_supervisors_hide_their_children(page: Page) -> None:
    view = page.seen(**TREE, closed=["services"])["view"]
    assert view["order"] == ["/", "kafka", "users", "services", "pool"]
    assert view["rows"]["services"]["closed"] is True
    assert page.seen(**TREE, closed=["/"])["view"]["order"] == ["/"]
    all_folded = page.seen(**TREE, closed=[], all_but=True)["view"]
    assert (all_folded["total"], all_folded["order"]) == (5, ["/", "kafka", "users", "services", "pool"])
    assert page.seen(**TREE, closed=["services"], all_but=True)["view"]["total"] == 9


def test_the_tree_may_be_sorted_and_filtered(page: Page) -> None:
    assert page.seen(**TREE, match="echo")["view"]["order"] == [f"services/echo-{each}" for each in range(3)]
    assert page.seen(**TREE, state="down")["view"]["total"] == 0
    assert page.seen(**TREE, sort="restarts")["view"]["total"] == 9


def test_rates_are_of_messages_a_second(page: Page) -> None:
    stream = page.stream(TREE)
    seen = stream.next("whole")
    assert seen["view"]["rows"]["services/echo-0"]["rate"] is None
    for _ in range(10):
        GenServer.call("echo-0", "hello")
    seen = stream.until(lambda seen: seen["view"]["rows"]["services/echo-0"]["rate"], seen)
    assert seen["view"]["rows"]["services/echo-0"]["rate"] > 0
    assert seen["view"]["rows"]["services/echo-1"]["rate"] == 0


def test_a_process_is_told_of_with_its_state_and_its_last_crash(page: Page) -> None:
    stream = page.stream({"view": "process", "process": "services/crasher"})
    seen = stream.next("whole")
    assert seen["view"]["last_crash"] is None
    process.send("crasher", "now")
    seen = stream.until(lambda seen: seen["view"]["last_crash"] and seen["view"].get("server_state"), seen)
    view = seen["view"]
    assert view["server_state"] == "'a state'"
    assert view["last_crash"]["reason"] == "ValueError: the disk is on fire"
    assert (view["in_tree"], view["process"], view["restarts"]) == (True, "server", 1)


def test_what_is_not_there_is_told_of_with_what_may_be_meant(page: Page) -> None:
    seen = page.seen(view="process", process="services/eho-1")
    assert seen["refused"]["message"].startswith("there is no process 'services/eho-1'")
    assert seen["refused"]["meant"][0] == "services/echo-1"
    assert "there is no lock" in page.seen(view="lock", lock="kafak")["refused"]["message"]
    assert "there is no registry" in page.seen(view="registry", registry="user", page=0)["refused"]["message"]


def test_a_lock_is_told_of_with_who_holds_it_and_how_it_went(page: Page) -> None:
    with throttle.slot("kafka"):
        assert page.seen(view="locks")["view"]["locks"]["kafka"]["used"] == 1
        stream = page.stream({"view": "lock", "lock": "kafka"})
        seen = stream.next("whole")
        assert (seen["view"]["running"], len(seen["view"]["holders"])) == (1, 1)
    process.spawn(lambda: throttle.run("kafka", lambda: None))
    seen = stream.until(lambda seen: any(point[6] for point in seen["view"]["points"].values()), seen)
    point = next(point for point in seen["view"]["points"].values() if point[6])
    moment, running, waiting, _, _, _, _, mean, longest = point
    assert moment <= seen["now"] + 1
    assert (running, waiting) == (0, 0)
    assert 0 <= mean <= longest


def test_locks_tell_nobody_unless_one_is_looked_at(page: Page) -> None:
    stream = page.stream(TREE)
    stream.next("whole")
    assert not listened_to("throttle", "hold")
    stream.look(view="lock", lock="kafka", number=1)
    stream.next("whole")
    assert listened_to("throttle", "hold")
    stream.look(view="locks", number=2)
    stream.next("whole")
    assert not listened_to("throttle", "hold")


def test_registries_are_told_of_by_page(page: Page) -> None:
    for number in range(150):
        Registry.register("users", f"user-{number:03}", number)
    assert page.seen(view="registries")["view"]["registries"]["users"]["entries"] == 150
    first = page.seen(view="registry", registry="users", page=0)["view"]
    second = page.seen(view="registry", registry="users", page=1)["view"]
    assert (len(first["rows"]), len(second["rows"]), second["next"]) == (100, 50, None)
    found = page.seen(view="registry", registry="users", page=0, key="user-007")["view"]["rows"]
    assert [row["value"] for row in found] == ["7"]


def test_crashes_of_a_kind_are_one(page: Page, system: RunningSystem) -> None:
    for _ in range(2):
        before = process.whereis("crasher")
        process.send("crasher", "now")
        until(lambda before=before: process.whereis("crasher") not in (None, before))
    (crash,) = page.seen(view="crashes")["view"]["crashes"].values()
    assert (crash["count"], crash["path"]) == (2, "services/crasher")
    assert crash["trace"][-1] == "ValueError: the disk is on fire"


def test_the_timeline_has_what_was_before_and_what_comes(page: Page) -> None:
    stream = page.stream({"view": "timeline"})
    seen = stream.next("whole")
    assert sum(starts for starts, _ in seen["view"]["seconds"].values()) == 8
    assert {each["what"] for each in seen["view"]["events"].values()} == {"started"}
    process.send("crasher", "now")

    def restarted(seen: dict[str, Any]) -> bool:
        return "restarted" in [each["what"] for each in seen["view"]["events"].values()]

    seen = stream.until(restarted, seen)
    last = list(seen["view"]["events"].values())[-2:]
    assert [(each["what"], each["path"], each["why"]) for each in last] == [
        ("crashed", "services/crasher", "ValueError: the disk is on fire"),
        ("restarted", "services/crasher", ""),
    ]
    assert sum(crashes for _, crashes in seen["view"]["seconds"].values()) == 1


def test_nothing_listens_while_no_page_is_open(page: Page) -> None:
    before = listened_to("supervisor", "gave_up")
    page.seen(view="lock", lock="kafka")
    until(lambda: not listened_to("throttle", "hold") and not listened_to("throttle", "wait"))
    assert listened_to("supervisor", "gave_up") == before


class SlowWatcher(Watcher):
    """Looks at a lock when the gate is open, which its page may not live to see."""

    begun: threading.Event
    gate: threading.Event
    over: threading.Event

    def seen(self, look: Look) -> dict[str, Any]:
        self.begun.set()
        assert self.gate.wait(WATCHDOG)
        try:
            return super().seen(look)
        finally:
            self.over.set()


def test_a_page_that_is_closed_during_a_look_watches_nothing_afterwards(system: RunningSystem) -> None:
    locks, timeline = LockHistory(), Timeline(system)
    watcher = SlowWatcher(system, locks, timeline, False)
    watcher.begun, watcher.gate, watcher.over = (threading.Event() for _ in range(3))
    before = listened_to("supervisor", "gave_up")

    async def open_and_close() -> None:
        streams = Streams(lambda: watcher, 0.05)

        async def read() -> None:
            async for _ in streams.events(Look("lock", {"lock": "kafka"}, 1)):
                pass

        reading = asyncio.ensure_future(read())
        assert await asyncio.to_thread(watcher.begun.wait, WATCHDOG)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert len(streams) == 0

    asyncio.run(open_and_close())
    watcher.gate.set()
    assert watcher.over.wait(WATCHDOG)
    until(lambda: not listened_to("throttle", "hold") and not listened_to("throttle", "wait"))
    assert listened_to("supervisor", "gave_up") == before


def test_a_page_that_has_left_watches_nothing_whatever_it_sees(system: RunningSystem) -> None:
    watcher = Watcher(system, LockHistory(), Timeline(system), False)
    before = listened_to("supervisor", "gave_up")
    watcher.leave()
    watcher.seen(Look("lock", {"lock": "kafka"}, 1))
    assert not listened_to("throttle", "hold")
    assert listened_to("supervisor", "gave_up") == before


def test_a_look_at_something_else_comes_whole_on_the_same_stream(page: Page) -> None:
    stream = page.stream()
    stream.look(**TREE, number=1)
    assert stream.next("whole")["look"] == 1
    stream.look(view="process", process="/", number=2)
    seen = stream.next("whole")
    assert (seen["look"], seen["view"]["path"]) == (2, "/")
    # One that was overtaken.
    assert stream.look(view="crashes", number=1).status_code == 204
    assert "view" not in stream.next("change").get("set", {})


@pytest.mark.parametrize(
    ("look", "wrong"),
    [
        ({"view": "three"}, "expected view to be one of tree, process, "),
        ({"view": ["tree"]}, "expected view to be one of"),
        ({}, "expected view to be one of"),
        ([], "expected an object"),
        ({"view": "tree", "offset": 0}, "expected the view tree to have the argument limit"),
        (
            {**TREE, "limit": 201},
            "expected limit of the view tree to be a whole number from 1 to 200, got",
        ),
        ({**TREE, "limit": True}, "expected limit"),
        ({**TREE, "offset": -1}, "expected offset"),
        ({**TREE, "closed": "services"}, "expected closed"),
        ({**TREE, "closed": [1]}, "expected closed"),
        ({**TREE, "sort": "name"}, "expected sort"),
        ({**TREE, "colour": "red"}, "the view tree has no argument 'colour'"),
        ({**TREE, "number": "1"}, "expected number to be a whole number"),
        ({"view": "process"}, "expected the view process to have the argument process"),
        ({"view": "lock", "lock": 7}, "expected lock"),
        ({"view": "registry", "registry": "users", "page": -1}, "expected page"),
    ],
)
def test_a_look_that_is_none_is_refused(look: Any, wrong: str) -> None:
    with pytest.raises(Refusal) as caught:
        read_look(look)
    assert wrong in caught.value.message


def test_a_look_of_no_stream_or_no_json_is_refused_with_the_reason(page: Page) -> None:
    stream = page.stream()
    answer = page.post(f"look/{stream.id}", {"view": "three"})
    assert (answer.status_code, answer.json()["kind"]) == (400, "bad_request")
    assert page.post("look/none", TREE).status_code == 404
    assert page.get("stream?look=%7B").status_code == 400
    assert page.get("stream?look=[]").status_code == 400


def test_there_are_so_many_pages_at_once_and_no_more(page: Page) -> None:
    streams = [page.stream() for _ in range(MOST)]
    answer = page.get("stream")
    assert answer.status_code == 503
    assert "close one" in answer.json()["message"]
    streams[0].close()
    until(lambda: is_free(page))


def is_free(page: Page) -> bool:
    request = page.client.build_request("GET", "stream")
    answer = page.client.send(request, stream=True)
    answer.close()
    return answer.status_code == 200


def test_an_open_page_hears_that_the_server_ends_in_order(page: Page) -> None:
    stream = page.stream(TREE)
    stream.next("whole")
    GenServer.stop(page.pid)
    while (name := event_name(stream)) == "change":
        continue
    assert name == "end"


def event_name(stream: Any) -> str:
    for line in stream.lines:
        if line.startswith("event: "):
            return str(line.removeprefix("event: "))
    return ""


# Actions


def test_a_page_that_only_looks_does_nothing(page: Page) -> None:
    before = process.whereis("echo-0")
    for do in ACTIONS:
        answer = page.post(f"act/{do}", {"process": "services/echo-0"})
        assert (answer.status_code, answer.json()["kind"]) == (403, "actions_off")
    assert process.whereis("echo-0") is before
    assert page.seen(**TREE)["system"]["actions"] is False


@pytest.fixture
def acting(opened: Callable[..., Page]) -> Page:
    return opened(allow_actions=True)


def test_a_page_that_may_does_what_the_commands_do(acting: Page) -> None:
    def act(do: str, **args: Any) -> Any:
        answer = acting.post(f"act/{do}", args)
        assert answer.status_code == 200, answer.text
        return answer.json()

    before = process.whereis("echo-0")
    assert act("restart", process="services/echo-0")["state"] == "running"
    assert process.whereis("echo-0") is not before
    assert act("terminate", process="services/echo-0")["state"] == "down"
    assert act("start", process="services/echo-0")["state"] == "running"
    assert act("suspend", process="services/echo-0")["status"] == "suspended"
    assert acting.seen(view="process", process="services/echo-0")["view"]["status"] == "suspended"
    assert act("resume", process="services/echo-0")["status"] == "running"
    assert act("pause", lock="kafka")["paused"] is True
    assert act("pause", lock="kafka", off=True)["paused"] is False
    assert act("resize", lock="kafka", num_slots=7)["num_slots"] == 7


def test_the_whole_system_may_be_stopped(acting: Page, system: RunningSystem) -> None:
    assert acting.post("act/stop", {}).json() == {"name": "shop", "stopping": True}
    assert system.application.wait(20.0) == "shutdown"
    assert acting.seen(**TREE)["system"]["state"] == "ended"


WRONG: list[tuple[str, Any, int, str]] = [
    ("restart", {"process": "nobody"}, 409, "there is no process 'nobody'"),
    ("restart", {}, 400, "expected restart to have the argument process"),
    ("restart", [], 400, "expected an object"),
    ("restart", {"process": "services", "force": True}, 400, "restart has no argument 'force'"),
    ("resize", {"lock": "kafka", "num_slots": 0}, 400, "expected num_slots of resize"),
    ("call", {"process": "echo-0", "message": 1}, 404, "expected one of restart,"),
    ("status", {}, 404, "expected one of restart,"),
]


def test_what_is_no_json_is_refused(acting: Page) -> None:
    for content in (b"", b"{", b"[" * 60_000, b"\xff"):
        headers = {HEADER: TOKEN}
        answer = acting.client.post("act/restart", content=content, headers=headers)
        assert (answer.status_code, answer.json()["kind"]) == (400, "bad_request")


def test_an_action_that_cannot_be_is_refused(acting: Page) -> None:
    for do, args, status, wrong in WRONG:
        answer = acting.post(f"act/{do}", args)
        assert answer.status_code == status
        assert wrong in answer.json()["message"]


def test_another_page_cannot_act(acting: Page) -> None:
    before = process.whereis("echo-0")
    args = {"process": "services/echo-0"}
    for headers in (
        {"x_resprout_token": "x"},
        {"origin": "http://evil.example"},
        {"sec_fetch_site": "cross-site"},
    ):
        assert acting.post("act/restart", args, **headers).status_code == 403
    assert acting.get("act/restart").status_code == 405
    assert process.whereis("echo-0") is before
