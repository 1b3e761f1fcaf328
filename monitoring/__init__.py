"""What a program shows to those who watch it: metrics, traces, health, service managers, and log records."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .catalogue import METRICS, Metric
    from .conditions import Health, Readiness, UnreadyChild, health, readiness
    from .log_records import ChildPath, JsonFormat
    from .opentelemetry_metrics import opentelemetry
    from .opentelemetry_traces import tracing
    from .prometheus_metrics import prometheus
    from .service_manager import notify, service_told_of, watchdog_seconds
    from .web import endpoints

__all__ = [
    "METRICS",
    "ChildPath",
    "Health",
    "JsonFormat",
    "Metric",
    "Readiness",
    "UnreadyChild",
    "endpoints",
    "health",
    "notify",
    "opentelemetry",
    "prometheus",
    "readiness",
    "service_told_of",
    "tracing",
    "watchdog_seconds",
]

# Each of these is loaded when it is first used, with what it needs: some need an extra.
_HOMES = {
    "catalogue": "METRICS Metric",
    "conditions": "Health Readiness UnreadyChild health readiness",
    "log_records": "ChildPath JsonFormat",
    "opentelemetry_metrics": "opentelemetry",
    "opentelemetry_traces": "tracing",
    "prometheus_metrics": "prometheus",
    "service_manager": "notify service_told_of watchdog_seconds",
    "web": "endpoints",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

if not TYPE_CHECKING:  # a type checker would take any name at all for one of ours

    def __getattr__(name: str) -> object:
        """Load the module that a name comes from; the next use of the name finds it here."""
        home = _HOME_OF.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = getattr(import_module(f"{__name__}.{home}"), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])
