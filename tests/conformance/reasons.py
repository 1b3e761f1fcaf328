"""Exit reasons and errors as the JSON of the corpora, and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from resprout.actors import (
    AlreadyPresent,
    AlreadyStarted,
    Crash,
    MaxChildren,
    NotFound,
    Pid,
    Running,
    Shutdown,
    StartError,
)
from resprout.supervision import BadCombination, DuplicateChild, FailedToStartChild, SpecError


def term(reason: Any) -> Any:
    """A reason of a scenario as the value that processes use."""
    return Shutdown(term(reason["shutdown"])) if isinstance(reason, dict) else reason


def reason_json(reason: object) -> Any:
    """An exit reason as JSON."""
    match reason:
        case str():
            return reason
        case Shutdown(detail):
            return {"shutdown": reason_json(detail)}
        case FailedToStartChild(id, why):
            return {"failed_to_start_child": [id, reason_json(why)]}
        case Crash(SpecError() as error):
            return {"start_spec": spec_json(error)}
        case Crash(error):
            return {"error": str(error)}
    return {"odd": repr(reason)}


def spec_json(error: SpecError) -> Any:
    """A wrong spec as JSON."""
    match error:
        case DuplicateChild():
            return {"duplicate_child_name": error.spec}
        case BadCombination():
            return {"bad_combination": [{name: value} for name, value in error.combination]}
    return {"odd": str(error)}


def error_json(error: Exception, ref: Callable[[Pid], str]) -> Any:
    """What a request was refused with, as JSON."""
    match error:
        case AlreadyStarted():
            return {"already_started": ref(error.pid)}
        case StartError():
            return reason_json(error.reason)
        case SpecError():
            return spec_json(error)
        case AlreadyPresent():
            return "already_present"
        case NotFound():
            return "not_found"
        case Running():
            return "running"
        case MaxChildren():
            return "max_children"
    raise error
