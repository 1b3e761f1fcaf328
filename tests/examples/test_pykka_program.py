"""A program that was written for Pykka, by itself and under a supervisor."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pykka
import pytest

import jukebox
from jukebox import Playlist
from resprout import ChildSpec, Pid, Supervisor, process
from supervised import start_player

from ..programs import PYTHON, resprout
from ..waiting import WATCHDOG, down_of, until

FOLDER = Path(jukebox.__file__).parent


def output(*command: Any) -> str:
    done = subprocess.run([*command], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def songs(text: str) -> list[str]:
    return [line.removeprefix("played ") for line in text.splitlines() if line.startswith("played ")]


def test_by_itself_it_falls_silent_at_the_first_song_that_it_cannot_play():
    assert songs(output(*PYTHON, FOLDER / "jukebox.py")) == ["Aria", "Ballad"]


def test_supervised_it_plays_every_song_that_can_be_played_once_and_ends():
    told = output(*resprout("run", FOLDER / "tree.yaml", "--plain"))
    assert songs(told) == [song for song in jukebox.SONGS if "scratched" not in song]
    assert "restarts  2" in told


def test_the_program_itself_knows_nothing_of_it():
    assert "resprout" not in Path(jukebox.__file__).read_text(encoding="utf-8")


@pytest.fixture
def needle() -> threading.Event:
    """While it is up, no song comes to its end."""
    return threading.Event()


@pytest.fixture
def tree(monkeypatch: pytest.MonkeyPatch, needle: threading.Event) -> Iterator[Pid]:
    monkeypatch.setattr(jukebox, "play", lambda song: needle.wait(WATCHDOG))
    playlist = ChildSpec("playlist", (Playlist.start, (["Aria"],)))
    player = ChildSpec("player", (start_player,), restart="transient")
    pid = Supervisor.start_link([playlist, player], strategy="rest_for_one")
    yield pid
    needle.set()
    Supervisor.stop(pid)


def child_of(tree: Pid, id: str) -> Any:
    return next(child.pid for child in Supervisor.which_children(tree) if child.id == id)


def test_a_playlist_that_is_killed_comes_back_with_a_player_of_its_own(tree, needle):
    playlist, player = child_of(tree, "playlist"), child_of(tree, "player")
    until(lambda: playlist.proxy().songs.get() == [])
    needle.set()
    until(lambda: not player.is_alive())
    needle.clear()
    ref = process.monitor(playlist)
    process.exit(playlist, "kill")
    down_of(ref)
    until(lambda: isinstance(child_of(tree, "player"), Pid))  # while it is started there is none
    second = child_of(tree, "playlist")
    assert second is not playlist
    assert child_of(tree, "player") is not player
    until(lambda: second.proxy().songs.get() == [])
    until(lambda: len(pykka.ActorRegistry.get_by_class(Playlist)) == 1)
