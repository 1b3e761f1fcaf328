"""A jukebox that was written for Pykka and knows nothing of supervisors:  python jukebox.py"""

from __future__ import annotations

import time
from typing import Any

import pykka

SONGS = ["Aria", "Ballad", "Chorale (scratched)", "Dirge", "Etude (scratched)", "Fugue"]


class Playlist(pykka.ThreadingActor):
    """The songs that are still to be played."""

    def __init__(self, songs: list[str]) -> None:
        super().__init__()
        self.songs = list(songs)

    def take(self) -> str | None:
        """The next song."""
        return self.songs.pop(0) if self.songs else None


class Player(pykka.ThreadingActor):
    """Plays one song after another, and stops after the last."""

    def __init__(self, playlist: pykka.ActorRef[Playlist]) -> None:
        super().__init__()
        self.playlist: Any = playlist.proxy()

    def on_start(self) -> None:
        self.actor_ref.tell("next")

    def on_receive(self, message: str) -> None:
        song = self.playlist.take().get()
        if song is None:
            self.stop()
            return
        play(song)
        self.actor_ref.tell("next")


def play(song: str) -> None:
    """Play a song, or raise."""
    if "scratched" in song:
        raise ValueError(f"{song} cannot be read")
    time.sleep(0.02)
    print(f"played {song}", flush=True)


if __name__ == "__main__":
    player = Player.start(Playlist.start(SONGS))
    player.actor_stopped.wait()  # also when it has crashed, and nobody plays the rest
    pykka.ActorRegistry.stop_all()
