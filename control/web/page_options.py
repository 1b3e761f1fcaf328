"""What the server of a page serves, and where."""

from __future__ import annotations

import secrets

import attrs

from ...supervision.tree_kinds import Listener
from ..system import RunningSystem

__all__ = ["HOST", "PageOptions", "new_token"]

HOST = "127.0.0.1"


def new_token() -> str:
    """What nobody can guess."""
    return secrets.token_urlsafe(24)


@attrs.frozen
class PageOptions:
    """What a server serves, and where.

    Args:
        listener: Where it listens.
        token: What its addresses begin with.
        allow_actions: Whether the page may act.
        system: What it shows; None for that of which it is a part.
        pause: Seconds from one look of a page to the next.
        said: The token that the file says, if it says one: another one is another page.
        lease: Seconds after which it ends unless it is asked to go on; None for as long as it lives.
    """

    listener: Listener
    token: str = attrs.field(repr=False, eq=False)
    allow_actions: bool = False
    system: RunningSystem | None = attrs.field(default=None, repr=False)
    pause: float = 1.0
    said: str | None = attrs.field(default=None, repr=False)
    lease: float | None = None
