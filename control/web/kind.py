"""The kind of child that a tree file calls `observe`."""

from __future__ import annotations

import importlib.util
import re
from typing import Any

import attrs

from ...actors import ChildSpec, SpecError
from ...supervision.tree_kinds import Common, Listener
from ..errors import NO_OBSERVER
from .page_options import HOST, PageOptions, new_token

__all__ = ["ObserveChild"]

_SHORTEST = 16


@attrs.frozen
class ObserveChild:
    """`observe: id`: a page for browsers, of the tree that it is a child of.

    It listens on 127.0.0.1 only. `resprout observe` tells its address.

    Args:
        observe: Its id, unless the file says another.
        port: The port; 0 lets the system choose.
        allow_actions: Whether the page has buttons that act.
        token: What its address begins with; by default a new one at each start of the program.
    """

    observe: str
    port: int = attrs.field(default=4000)
    allow_actions: bool = False
    token: str | None = attrs.field(default=None, repr=False)
    listener: Listener = attrs.field(
        init=False, eq=False, default=attrs.Factory(lambda self: Listener(HOST, self.port), takes_self=True)
    )

    @port.validator
    def _check_port(self, attribute: attrs.Attribute[int], value: int) -> None:
        if not 0 <= value <= 65535:
            raise ValueError(f"expected a port from 0 to 65535, got: {value}")

    @token.validator
    def _check_token(self, attribute: attrs.Attribute[str | None], value: str | None) -> None:
        if value is not None and re.fullmatch(rf"[A-Za-z0-9_-]{{{_SHORTEST},200}}", value) is None:
            wanted = f"{_SHORTEST} to 200 letters, digits, _ or -"
            raise ValueError(f"expected a token of {wanted}, got one of {len(value)} characters")

    @property
    def registers(self) -> tuple[object, ...]:
        """It takes no name."""
        return ()

    def child_specs(self, common: Common) -> list[ChildSpec]:
        """One spec for the server."""
        if any(importlib.util.find_spec(name) is None for name in ("starlette", "uvicorn")):
            raise SpecError(self.observe, "observe", NO_OBSERVER)
        names = common.variables.get("port", ())
        self.listener.advice = (
            f"with --set {names[0]}=..." if names else f"in the tree file, port: of {self.observe!r}"
        )
        options = PageOptions(self.listener, self.token or new_token(), self.allow_actions, said=self.token)
        return [ChildSpec(common.id or self.observe, (_start, (options,), {}))]

    def obstacle(self) -> str | None:
        """Why nobody could listen there now."""
        return self.listener.obstacle()

    def close(self) -> None:
        """Stops listening, when the tree has ended for good."""
        self.listener.close()


def _start(options: PageOptions) -> Any:
    """Starts the server; what that needs is an extra, and is loaded with it."""
    from .page_server import PageServer

    return PageServer.start_link(options)
