"""The pytest plugin: the fixture `resprout`, off until a test uses it. `docs/testing.md` has the guide.

It is found by its entry point and imports nothing of resprout's but the face until then.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .testing import Region

_REGION = pytest.StashKey["Region"]()
FIXTURE = "resprout"
MARKER = "resprout(leaks='error', timeout=5.0): how the fixture of that name ends; see testing.isolated"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what the fixture's defaults are in the ini file."""
    parser.addini(
        "resprout_leaks", "whether leaks fail a test that uses `resprout`: error, ignore", default="error"
    )
    parser.addini("resprout_timeout", "seconds that what a test has left may take to stop", default="5.0")


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", MARKER)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have the region begin before the other fixtures of a test, so that these are in it."""
    for item in items:
        names: list[str] = getattr(item, "fixturenames", [])
        if FIXTURE in names:
            _move_forward(item, names)


def _move_forward(item: pytest.Item, names: list[str]) -> None:
    known: dict[str, Any] = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})
    names.remove(FIXTURE)
    place = 0
    for number, name in enumerate(names, 1):
        definitions = known.get(name)
        if definitions and definitions[-1].scope != "function":
            place = number
    names.insert(place, FIXTURE)


@pytest.fixture
def resprout(request: pytest.FixtureRequest) -> Iterator[Region]:
    """A runtime of the test's own: a `resprout.testing.Region`."""
    from .testing import LeakError, isolated

    marker = request.node.get_closest_marker("resprout")
    options = {
        "leaks": request.config.getini("resprout_leaks"),
        "timeout": float(request.config.getini("resprout_timeout")),
        **({} if marker is None else marker.kwargs),
    }
    region, leak = None, ""
    try:
        with isolated(**options) as region:
            request.node.stash[_REGION] = region
            yield region
    except LeakError as error:
        leak = str(error)
    if region is not None and region.crashes:
        text = "\n".join(str(report).partition("\n")[0] for report in region.crashes)
        request.node.add_report_section("teardown", "resprout crashes", text)
    if leak:
        # Where it was found out is of no interest.
        pytest.fail(leak, pytrace=False)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Stop what was given to `start_supervised` before any fixture of the test ends."""
    __tracebackhide__ = True
    region = item.stash.get(_REGION, None)
    if region is not None:
        del item.stash[_REGION]
        region.stop_children()
    return (yield)
