"""The servers of the library itself: a message that one does not know harms nobody.

A server of a user's own that gets a call it has no answer for has a bug, and crashes, as under OTP. Ours are
known by name to the whole program and carry what others depend on, so that a slip of somebody's must not take
them along: a lock, a supervisor with all its children.
"""

from __future__ import annotations

import logging
import reprlib
import weakref
from typing import Any, ClassVar

from ..vocabulary.errors import UnknownMessage
from ..vocabulary.messages import NoReply
from .genserver import GenServer

logger = logging.getLogger("resprout")

_texts = reprlib.Repr()
_texts.maxstring = _texts.maxother = 80
"""Texts of messages, which may be of any size: only the beginning of one is looked at."""


class LibraryServer(GenServer):
    """Answers an unknown call with `UnknownMessage`, logs an unknown cast or message once for each type, and
    lives.

    Subclasses handle what they know and leave the rest to this class. Pykka's proxies are unknown, too: what
    they reach are a server's insides.

    Differs from OTP: a supervisor or an Agent that gets an unknown call crashes there.
    """

    _what: ClassVar[str] = "a server of resprout"
    """What it is, with an article."""
    _use: ClassVar[str] = "the functions of its module"
    """What to use in the place of messages."""
    _proxied = False
    _stops_children = True
    _one_per_tree = False
    """Whether a child in another OS process must have none of the same name."""
    _strays: weakref.WeakSet[type] | None = None

    def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        """Tell the caller that nobody answers that."""
        text = _texts.repr(message)
        from_.answer_error(
            UnknownMessage(f"{self.pid} is {self._what}, which answers no such call: {text}; use {self._use}")
        )
        return NoReply(state)

    def handle_cast(self, message: Any, state: Any) -> Any:
        """Drop it."""
        self._drop_stray("cast", message)
        return NoReply(state)

    def handle_info(self, message: Any, state: Any) -> Any:
        """Drop it."""
        self._drop_stray("message", message)
        return NoReply(state)

    def _drop_stray(self, way: str, message: Any) -> None:
        known = self._strays
        if known is None:
            known = self._strays = weakref.WeakSet()
        kind = type(message)
        if kind in known:
            return
        known.add(kind)
        logger.warning(
            "%s is %s and got a %s that it does not know: %s; use %s (more of type %s are not logged)",
            self.pid,
            self._what,
            way,
            _texts.repr(message),
            self._use,
            kind.__name__,
        )
