"""What accompanies applications, found by entry points of whichever packages are installed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from importlib.metadata import EntryPoint

import pytest

from resprout.supervision import Application
from resprout.supervision.trees import companions


class Noted:
    def __init__(self, application: Application) -> None:
        self.ended = 0

    def end(self) -> None:
        self.ended += 1

    def join(self) -> None: ...


made: list[Noted] = []


def accompany(application: Application) -> Noted:
    made.append(Noted(application))
    return made[-1]


@pytest.fixture(autouse=True)
def _anew() -> Iterator[None]:
    companions._installed.cache_clear()
    made.clear()
    yield
    companions._installed.cache_clear()


def test_one_that_cannot_be_loaded_is_told_and_missing_and_the_application_runs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: object
) -> None:
    points = (
        EntryPoint("half", "half.installed:accompany", "resprout.companions"),
        EntryPoint("whole", f"{__name__}:accompany", "resprout.companions"),
    )
    monkeypatch.setattr(companions, "entry_points", lambda group: points)
    file = tmp_path / "tree.yaml"  # type: ignore[operator]  # a path
    file.write_text("name: shop\nchildren: []\n")
    application = Application.load(file)
    with caplog.at_level(logging.ERROR, "resprout.application"):
        application.start()
    assert "the companion half of applications cannot be loaded" in caplog.text
    application.stop()
    assert [each.ended > 0 for each in made] == [True]
