"""The kind of child that a tree file calls `metrics`: the endpoints, served beside the tree."""

from __future__ import annotations

import importlib.util

import attrs

from ..actors import ChildSpec, SpecError
from ..supervision.tree_kinds import AsgiChild, Common, Reference
from .web import MISSING, Endpoints


@attrs.frozen
class MetricsChild:
    """`- {metrics: monitoring, port: 9464}`: `/metrics`, `/health` and `/ready` on a loop of their own.

    It is registered under its id; `AsgiServer.address(id)` tells its host and port.

    Args:
        metrics: Its id, unless the file says another.
        port: The port; 0 lets the system choose.
        host: The address to listen at. What is told there is told to everybody who can reach it.
    """

    metrics: str
    port: int = attrs.field(default=9464)
    host: str = "127.0.0.1"
    endpoints: Endpoints = attrs.field(init=False, eq=False, factory=Endpoints)
    served: AsgiChild = attrs.field(
        init=False,
        eq=False,
        default=attrs.Factory(
            lambda self: AsgiChild(
                self.metrics,
                Reference("resprout.monitoring:endpoints", self.endpoints),
                host=self.host,
                port=self.port,
                loop="own",
            ),
            takes_self=True,
        ),
    )

    @port.validator
    def _check_port(self, attribute: attrs.Attribute[int], value: int) -> None:
        if not 0 <= value <= 65535:
            raise ValueError(f"expected a port from 0 to 65535, got: {value}")

    @property
    def registers(self) -> tuple[object, ...]:
        """The name that it takes."""
        return self.served.registers

    def child_specs(self, common: Common) -> list[ChildSpec]:
        """One spec for the server."""
        if importlib.util.find_spec("prometheus_client") is None:
            raise SpecError(self.metrics, "metrics", MISSING)
        return self.served.child_specs(common)

    def obstacle(self) -> str | None:
        """Why nobody could listen there now."""
        return self.served.obstacle()

    def close(self) -> None:
        """Stops listening and counting, when the tree has ended for good."""
        self.served.close()
        self.endpoints.close()
