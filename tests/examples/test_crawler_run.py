"""The crawler as users run it, through the command line, and what its frontier makes of failures."""

from __future__ import annotations

import asyncio
import doctest
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from threading import Event

import httpx
import pytest

from crawler import frontier, job
from crawler.fetch import Page, fetch
from crawler.hosts import SUPERVISOR
from crawler.job import NotExact, Result, result_of, too_fast
from crawler.site import BROKEN, PAGES, Visit
from resprout import Down, DynamicSupervisor, Shutdown, TaskSupervisor, process
from resprout.throttle import Rate

from .stopping import stopped

TREE = Path(__file__).resolve().parents[2] / "examples" / "crawler" / "tree.yaml"
WATCHDOG = 60.0


@pytest.mark.slow
def test_no_host_is_asked_for_more_at_once_or_faster_than_it_bears_though_the_locks_crash(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-m", "resprout", "run", str(TREE), "--plain", "--report", "report.json"]
    chaos = ["--chaos", "20", "--seed", "3", "--chaos-spare", "north", "--chaos-spare", "south"]
    done = subprocess.run(
        [*command, *chaos], cwd=tmp_path, capture_output=True, text=True, timeout=WATCHDOG, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert {crash["kind"] for crash in report["crashes"]} == {"lock"}
    north, south = report["hosts"]
    for host in (north, south):
        assert (host["pages"], host["twice"], host["missing"], host["too_fast"]) == (PAGES - 1, 0, 0, 0)
        # Each page once, those that fail at first once more, and the one that always does three times.
        assert host["failures"] == host["requests"] - host["pages"] == 4 + 3
        assert host["most_at_once"] <= 2
    assert north["most_at_once"] == 2
    assert "given up after 3 attempts" in done.stderr
    assert f"pages/{BROKEN}: Shutdown(detail='status 500')" in done.stderr


def test_a_crawl_that_is_stopped_says_how_far_it_came_and_is_no_failed_proof(tmp_path: Path) -> None:
    report, output = stopped(TREE, tmp_path)
    assert report["finished"] is False
    assert sum(host["pages"] for host in report["hosts"]) < 2 * (PAGES - 1)
    assert "job_error" not in report
    assert "Traceback" not in output
    north = report["hosts"][0]["pages"]
    assert f"north: {north} of {PAGES - 1} pages, each once, by " in output


def test_what_fails_or_crashes_is_tried_again_and_what_goes_on_failing_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: Counter[str] = Counter()

    async def fetch(client: object, url: str) -> list[str]:
        asked[url] += 1
        match url:
            case "begin":
                return ["begin", "refuses at first", "crashes at first", "dead", "refuses at first"]
            case "refuses at first" if asked[url] == 1:
                process.exit(Shutdown("status 503"))
            case "crashes at first" if asked[url] == 1:
                raise RuntimeError("a page that nobody has thought of")
            case "dead":
                process.exit(process.current(), "kill")
                await asyncio.Event().wait()
        return ["begin"]

    monkeypatch.setattr(frontier, "fetch", fetch)
    monkeypatch.setattr(frontier, "url_of", lambda host, number: "begin")
    monkeypatch.setattr(frontier, "PAUSE", 0.0)
    monkeypatch.setattr(frontier, "finished", Event())
    supervisor = TaskSupervisor.start_link(frontier.FETCHES)
    crawl = frontier.Frontier.start({"begin_at": "north"})
    ref = process.monitor(crawl)
    down = process.receive(lambda message: getattr(message, "ref", None) is ref, timeout=WATCHDOG)
    assert down.reason == "normal"
    assert frontier.finished.is_set()
    assert asked == {"begin": 1, "refuses at first": 2, "crashes at first": 2, "dead": 3}
    TaskSupervisor.stop(supervisor)


def test_the_links_of_a_page_are_whole_urls_without_fragments() -> None:
    page = Page("http://host:1/pages/7")
    page.feed(
        '<a href="/pages/0#top">a</a><a href="8">b</a><a name="c">c</a><link href="x"><a href="http://d/">'
    )
    assert page.links == ["http://host:1/pages/0", "http://host:1/pages/8", "http://d/"]


def test_the_examples_of_the_proof_are_true() -> None:
    assert doctest.testmod(job) == (0, 2)


@pytest.mark.parametrize(
    ("began", "expected"),
    [
        ([], 0),
        ([0.0] * 7, 0),
        ([0.0] * 8, 1),
        ([n / 32 for n in range(100)], 0),
        ([n / 64 for n in range(100)], sum(100 - apart for apart in range(13, 100))),
    ],
)
def test_more_requests_than_the_rate_allows_in_any_time_are_found(began: list[float], expected: int) -> None:
    assert too_fast(began, Rate(per_second=32, burst=5), num_slots=2) == expected


def good_visits() -> list[Visit]:
    return [Visit(page, 200, page * 1.0, page + 0.5) for page in range(PAGES) if page != BROKEN]


def test_a_good_log_is_proof_enough() -> None:
    result_of("north", good_visits()).check()


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ([Visit(3, 200, 99.0, 99.5)], "0 pages were never fetched, 1 twice"),
        ([Visit(BROKEN, 500, 0.1, 0.5), Visit(BROKEN, 500, 0.2, 0.5)], "asked for 3 pages at once"),
        ([Visit(BROKEN, 500, 1.0, 1.0)] * 8, "asked too fast"),
    ],
)
def test_each_promise_is_checked(more: list[Visit], reason: str) -> None:
    with pytest.raises(NotExact, match=reason):
        result_of("north", good_visits() + more).check()
    with pytest.raises(NotExact, match=reason):
        result_of("north", good_visits() + more).check(finished=False)


def test_a_page_that_nobody_fetched_is_told() -> None:
    result: Result = result_of("north", good_visits()[1:])
    with pytest.raises(NotExact, match="1 pages were never fetched"):
        result.check()


def test_of_a_crawl_that_was_stopped_pages_may_be_left() -> None:
    result_of("north", good_visits()[1:]).check(finished=False)


@pytest.mark.parametrize("link", ["http://[bad", "http://[::1"])
def test_a_link_that_is_no_url_costs_no_other(link: str) -> None:
    page = Page("http://host:1/pages/7")
    page.feed(f'<a href="{link}">a</a><a href="8">b</a>')
    assert page.links == ["http://host:1/pages/8"]


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:99999999/", "http://[bad", "http://host:x/", "http://\0/", "http://xn--a/"]
)
def test_a_url_that_nobody_can_ask_for_ends_its_task_without_a_crash(url: str) -> None:
    async def reason() -> object:
        hosts = await DynamicSupervisor.astart_link(name=SUPERVISOR)
        fetches = await TaskSupervisor.astart_link()
        async with httpx.AsyncClient() as client:
            task = await TaskSupervisor.aasync_nolink(fetches, fetch, client, url)
            down = await process.areceive(lambda message: isinstance(message, Down), timeout=WATCHDOG)
            assert down.ref is task.ref
        for supervisor in (fetches, hosts):
            await DynamicSupervisor.astop(supervisor)
        return down.reason

    assert isinstance(asyncio.run(reason()), Shutdown)
