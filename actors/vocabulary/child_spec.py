"""Child specs: what a supervisor has to know about a child before it starts one.

A spec says how a child is started, when it is started again and how it is stopped. It is a value: making one
starts nothing, and a wrong one is refused where it is made, with an error that names the spec and the field.

Semantics: OTP supervisor(3), "Child specification".
"""

from __future__ import annotations

import difflib
import enum
import math
from collections.abc import Callable, Collection, Mapping
from functools import partial
from operator import attrgetter
from types import FunctionType, MethodType
from typing import Any, Final, Literal, TypeAlias, TypeVar, cast

import attrs

from .errors import ResproutError

RestartType: TypeAlias = Literal["permanent", "transient", "temporary"]
ChildType: TypeAlias = Literal["worker", "supervisor"]
OnExhausted: TypeAlias = Literal["escalate", "give_up"]
Placement: TypeAlias = Literal["local", "process"]
_Start = TypeVar("_Start", bound=Callable[..., Any])
Start: TypeAlias = "tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]"


class Infinity(enum.Enum):
    """The shutdown time of a child that may take as long as it likes."""

    INFINITY = "infinity"

    def __repr__(self) -> str:
        return "INFINITY"


class BrutalKill(enum.Enum):
    """The shutdown time of a child that is killed without being asked."""

    BRUTAL_KILL = "brutal_kill"

    def __repr__(self) -> str:
        return "BRUTAL_KILL"


INFINITY: Final = Infinity.INFINITY
BRUTAL_KILL: Final = BrutalKill.BRUTAL_KILL

ShutdownTime: TypeAlias = "float | Infinity | BrutalKill"


class Undefined(tuple[Any, ...]):
    """What stands in a spec for the start arguments of a temporary child that has started.

    It is never started again, so they are not kept. A spec with it starts nothing.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "UNDEFINED"

    def __reduce__(self) -> str:
        return "UNDEFINED"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Refuses to start anything, where it stands for a start function that held arguments."""
        raise SpecError("UNDEFINED", "start", _NOT_KEPT)


UNDEFINED: Final = Undefined()

_NOT_KEPT: Final = (
    "expected the arguments of a start, got: UNDEFINED; those of a temporary child are not kept once it has "
    "started: start it from the spec that it was first started from"
)


class SpecError(ResproutError, ValueError):
    """A child spec, or an option of a supervisor, is wrong; nothing was started.

    Attributes:
        spec: The id of the spec, or whatever it was that could not be read as one.
        field: The name of the wrong field, or `None` if the whole is wrong.
    """

    def __init__(self, spec: object, field: str | None, problem: str) -> None:
        super().__init__(spec, field, problem)
        self.spec = spec
        self.field = field
        self.problem = problem

    def __str__(self) -> str:
        where = f"{self.spec!r}" if self.field is None else f"{self.spec!r}, field {self.field!r}"
        return f"child spec {where}: {self.problem}"


class DuplicateChild(SpecError):
    """Two children of one supervisor have the same id.

    Semantics: OTP's `{duplicate_child_name, Id}`.
    """

    def __init__(self, spec: object) -> None:
        super().__init__(spec, "id", f"expected ids to be unique among siblings, got {spec!r} twice")


class BadCombination(SpecError):
    """Two options, each fine alone, contradict each other.

    Attributes:
        combination: The two options with their values.

    Semantics: OTP's `{bad_combination, [...]}`.
    """

    def __init__(self, spec: object, combination: tuple[tuple[str, object], ...], advice: str) -> None:
        said = " with ".join(f"{name}={value!r}" for name, value in combination)
        super().__init__(spec, combination[-1][0], f"{said} contradict each other; {advice}")
        self.combination = combination


def one_of(spec: object, field: str, value: object, allowed: tuple[str, ...]) -> None:
    """Raises a `SpecError` that lists what is allowed, unless `value` is.

    Raises:
        SpecError: `value` is not one of `allowed`.
    """
    if isinstance(value, str) and value in allowed:
        return
    near = difflib.get_close_matches(value, allowed, 1) if isinstance(value, str) else []
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise SpecError(spec, field, f"expected one of {', '.join(map(repr, allowed))}, got: {value!r}{hint}")


def whole_number(spec: object, field: str, value: object, least: int = 0) -> None:
    """Raises a `SpecError` unless `value` is an int that is not below `least`.

    Raises:
        SpecError: It is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise SpecError(spec, field, f"expected an integer >= {least}, got: {value!r}")


def seconds(spec: object, field: str, value: object, *, above_zero: bool = False) -> None:
    """Raises a `SpecError` unless `value` is a finite number of seconds.

    Raises:
        SpecError: It is not, or it is negative, or (with `above_zero`) it is zero.
    """
    wanted = "> 0" if above_zero else ">= 0"
    number = value if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
    if not math.isfinite(number) or number < 0 or (above_zero and number == 0):
        raise SpecError(spec, field, f"expected a number of seconds {wanted}, got: {value!r}")


@attrs.frozen
class Backoff:
    """How long a supervisor waits before it starts a crashed child again (beyond OTP).

    The first restart comes after `initial` seconds, each further one after `factor` times as long, up to
    `maximum`. A child that has lived for `reset_after` seconds begins anew. Not for children that callers
    wait for: those are better off with an immediate restart and a restart intensity.

    Args:
        initial: Seconds before the first restart.
        factor: What each further wait is multiplied with.
        maximum: The longest wait in seconds.
        jitter: The part (0 to 1) of each wait that is left to chance, so that children do not come back
            all at once.
        reset_after: Seconds of life after which the waits begin anew; by default `maximum`.
    """

    initial: float = 0.1
    factor: float = 2.0
    maximum: float = 30.0
    jitter: float = 0.0
    reset_after: float | None = None

    def __attrs_post_init__(self) -> None:
        seconds("backoff", "initial", self.initial)
        seconds("backoff", "maximum", self.maximum)
        if self.reset_after is not None:
            seconds("backoff", "reset_after", self.reset_after)
        seconds("backoff", "factor", self.factor)
        if self.factor < 1:
            raise SpecError("backoff", "factor", f"expected a number >= 1, got: {self.factor!r}")
        seconds("backoff", "jitter", self.jitter)
        if self.jitter > 1:
            raise SpecError("backoff", "jitter", f"expected a number from 0 to 1, got: {self.jitter!r}")

    def delay(self, attempt: int, chance: float) -> float:
        """The wait before a restart.

        Args:
            attempt: 0 for the first restart in a row.
            chance: A number from 0 to 1, used for the jitter.

        Returns:
            Seconds, at most `maximum`.
        """
        # Beyond 1023 doublings a float overflows; long before that the cap holds.
        grown = self.initial * self.factor ** min(attempt, 64) if self.initial else 0.0
        return min(grown, self.maximum) * (1.0 - self.jitter * chance)

    @property
    def forgiven_after(self) -> float:
        """Seconds of life after which the waits begin anew."""
        return self.maximum if self.reset_after is None else self.reset_after


def _shape_start(start: object) -> Start:
    """Fills in what was left out of a start; what is odd stays as it is and is refused by `_check_start`."""
    parts = tuple(start) if isinstance(start, (tuple, list)) else (start,)
    if not 1 <= len(parts) <= 3:
        return cast("Start", start)
    args = parts[1] if len(parts) > 1 else ()
    kwargs = parts[2] if len(parts) > 2 else {}
    args = tuple(args) if isinstance(args, list) else args
    kwargs = dict(kwargs) if isinstance(kwargs, Mapping) else kwargs
    return cast("Start", (parts[0], args, kwargs))


def _check_start(spec: object, start: Any) -> None:
    if not (isinstance(start, tuple) and len(start) == 3):
        raise SpecError(spec, "start", f"expected (callable, args, kwargs), got: {start!r}")
    call, args, kwargs = start
    if args is UNDEFINED:
        raise SpecError(spec, "start", _NOT_KEPT)
    if not callable(call):
        raise SpecError(spec, "start", f"expected a callable or (callable, args, kwargs), got: {call!r}")
    if not isinstance(args, tuple):
        problem = f"expected the arguments to be a tuple, as in (Counter.start_link, (0,)), got: {args!r}"
        raise SpecError(spec, "start", problem)
    if not isinstance(kwargs, dict) or not all(isinstance(key, str) for key in kwargs):
        problem = f"expected the keyword arguments to be a dict with str keys, got: {kwargs!r}"
        raise SpecError(spec, "start", problem)


def stays_here(what: str) -> Callable[[_Start], _Start]:
    """Decorate a start function so that no child spec with it has a placement.

    Args:
        what: What it starts, as in "a lock"; a class with start functions says so as `_stays_here`.
    """

    def mark(start: Any) -> Any:
        start._stays_here = what
        return start

    return mark


def _shutdown(spec: object, value: object, default: ShutdownTime) -> ShutdownTime:
    if value is None:
        return default
    if value in (INFINITY, "infinity", math.inf):
        return INFINITY
    if value in (BRUTAL_KILL, "brutal_kill"):
        return BRUTAL_KILL
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf:
        return float(value)
    raise SpecError(spec, "shutdown", f"expected seconds >= 0, INFINITY or BRUTAL_KILL, got: {value!r}")


def _as_given(shutdown: object) -> ShutdownTime:
    # Lets the field take every way of writing the time; the instance is made to hold one of them after that.
    return cast("ShutdownTime", shutdown)


@attrs.frozen
class ChildSpec:
    """How a child is started, when it is started again and how it is stopped.

    Args:
        id: Tells the child from its siblings; anything hashable.
        start: `(callable, args, kwargs)`, or `(callable, args)`, or the callable alone. It is called
            in the supervisor's process and returns the Pid of a process, which it has linked to it if it can
            (`start_link` does), or `None`, which says that there is no process and that this is fine. If it
            has an attribute `given_up`, that is called with the same arguments when the child has ended and
            the supervisor, which goes on, will not start it again.
        restart: `"permanent"`: always started again; `"transient"`: unless it ended with `"normal"`,
            `"shutdown"` or `Shutdown(...)`; `"temporary"`: never.
        shutdown: Seconds that it has to end after it was told to, before it is killed; `INFINITY`; or
            `BRUTAL_KILL`. By default 5.0 for a worker and `INFINITY` for a supervisor.
        type: `"worker"` or `"supervisor"`.
        significant: Its end may end the supervisor; see `auto_shutdown` there.
        backoff: Beyond OTP: wait before starting it again. Off by default.
        max_restarts: Beyond OTP: a restart budget of its own, so that its crashes do not count against the
            supervisor's. Off by default.
        max_seconds: The window of that budget, by default 5.0.
        on_exhausted: What its spent budget means: `"escalate"`: the supervisor gives up; `"give_up"`: the
            child stays down, its siblings live on.
        ready_timeout: Beyond OTP: its start is over only when it has called `ready()`, and has failed if that
            takes longer than this many seconds. Off by default.
        placement: Beyond OTP: `"process"` runs it in an OS process of its own, and its Pid stands for it
            here; see docs/placement.md. Not for a supervisor, lock, registry, engine or stage. By default
            `"local"`.
        env: With `placement="process"`: environment variables of that OS process, over those of this one.

    Raises:
        SpecError: A field is wrong; the message names the spec and the field.

    Semantics: OTP supervisor(3), "Child specification".
    Differs from OTP: times are seconds; no `modules` (there is no code upgrade).
    """

    id: Any
    start: Start = attrs.field(converter=_shape_start)
    restart: RestartType = "permanent"
    shutdown: ShutdownTime = attrs.field(default=None, converter=_as_given)
    type: ChildType = "worker"
    significant: bool = False
    backoff: Backoff | None = None
    max_restarts: int | None = None
    max_seconds: float | None = None
    on_exhausted: OnExhausted = "escalate"
    ready_timeout: float | None = None
    placement: Placement = "local"
    env: Mapping[str, str] | None = None

    def __attrs_post_init__(self) -> None:
        try:
            hash(self.id)
        except TypeError:
            raise SpecError(self.id, "id", "expected something hashable") from None
        one_of(self.id, "type", self.type, ("worker", "supervisor"))
        one_of(self.id, "restart", self.restart, ("permanent", "transient", "temporary"))
        one_of(self.id, "on_exhausted", self.on_exhausted, ("escalate", "give_up"))
        _check_start(self.id, self.start)
        default = INFINITY if self.type == "supervisor" else 5.0
        object.__setattr__(self, "shutdown", _shutdown(self.id, self.shutdown, default))
        if self.significant not in (True, False):
            raise SpecError(self.id, "significant", f"expected True or False, got: {self.significant!r}")
        self._check_extras()

    def _check_extras(self) -> None:
        if not isinstance(self.backoff, (Backoff, type(None))):
            raise SpecError(self.id, "backoff", f"expected a Backoff, got: {self.backoff!r}")
        if self.max_restarts is not None:
            whole_number(self.id, "max_restarts", self.max_restarts)
        if self.max_seconds is not None:
            seconds(self.id, "max_seconds", self.max_seconds, above_zero=True)
            if self.max_restarts is None:
                raise SpecError(self.id, "max_seconds", "expected it only together with max_restarts")
        if self.ready_timeout is not None:
            seconds(self.id, "ready_timeout", self.ready_timeout, above_zero=True)
        if self.env is not None:
            self._check_env(self.env)
        if self.placement != "local":
            self._check_placement()

    def _check_placement(self) -> None:
        one_of(self.id, "placement", self.placement, ("local", "process"))
        if self.type == "supervisor":
            raise BadCombination(
                self.id,
                (("type", self.type), ("placement", self.placement)),
                "a tree is of one OS process: place its workers",
            )
        start = self.start[0]
        while isinstance(start, partial):
            start = start.func
        what = getattr(start, "_stays_here", None) or getattr(
            getattr(start, "__self__", None), "_stays_here", None
        )
        if what is not None:
            problem = f"{what} is of this OS process: place the workers that use it"
            raise SpecError(self.id, "placement", f"only a worker has a placement; {problem}")

    def _check_env(self, env: object) -> None:
        if self.placement == "local":
            problem = 'expected it only together with placement="process": others share that of this program'
            raise SpecError(self.id, "env", problem)
        if not isinstance(env, Mapping):
            raise SpecError(self.id, "env", f"expected names with their texts, got: {env!r}")
        for name, text in env.items():
            if not isinstance(name, str) or not name or "=" in name or "\0" in name:
                raise SpecError(
                    self.id, "env", f"expected the name of an environment variable, got: {name!r}"
                )
            if not isinstance(text, str) or "\0" in text:
                raise SpecError(self.id, "env", f"expected {name} to be a text, got: {text!r}")


FIELDS: Final = tuple(field.name for field in attrs.fields(ChildSpec))


def split_fields(given: Mapping[Any, Any], options: Collection[str]) -> tuple[dict[Any, Any], dict[str, Any]]:
    """Tells the options of a start from the fields of its child spec, where both are given side by side.

    Args:
        given: Both, by name.
        options: What the start takes; a name that means something there and in a spec is the start's.

    Returns:
        What is for the start, with what nobody knows, and the fields of the spec.
    """
    fields = {name: value for name, value in given.items() if name in FIELDS and name not in options}
    return {name: value for name, value in given.items() if name not in fields}, fields


def without_arguments(spec: ChildSpec) -> ChildSpec:
    """The spec of a child that will not be started again, without what only a start needs.

    Arguments may also be held by the start function itself (a closure, a partial, a bound method), so that
    goes with them, unless it has a `drain`, which is called when the child stops. A start function with an
    attribute `given_up` is called with the same arguments at the end, and keeps all.
    """
    start, args, kwargs = spec.start
    if hasattr(start, "given_up"):
        return spec
    bare = _holds_nothing(start)
    if bare and not args and not kwargs:
        return spec
    made: ChildSpec = object.__new__(ChildSpec)
    for set_field, value in zip(_SETTERS, _all_fields(spec), strict=True):
        set_field(made, value)
    start = start if bare or hasattr(start, "drain") else UNDEFINED
    object.__setattr__(made, "start", (start, UNDEFINED, {}))
    return made


# What `attrs.evolve` and `copy.copy` do takes two and three times as long, at each start of such a child.
_all_fields: Final = attrgetter(*FIELDS)
_SETTERS: Final = [ChildSpec.__dict__[name].__set__ for name in FIELDS]


def _holds_nothing(start: Any) -> bool:
    """Whether a start function is one that the program has anyway, and not made for one child."""
    if isinstance(start, MethodType):
        return isinstance(start.__self__, type)
    return isinstance(start, type) or (isinstance(start, FunctionType) and start.__closure__ is None)


def child_spec(spec: object, **overrides: Any) -> ChildSpec:
    """Reads whatever may stand where a child spec is wanted.

    Args:
        spec: A `ChildSpec`; a class with `child_spec`; `(class, arg)`; or a dict with the fields of a
            `ChildSpec`.
        overrides: Fields to replace.

    Returns:
        The child spec.

    Raises:
        SpecError: It cannot be read, or a field is wrong.

    Semantics: Elixir's `Supervisor.child_spec/2`.
    """
    return _read(_replaced(spec, overrides) if overrides else spec)


def _replaced(spec: object, overrides: dict[str, Any]) -> object:
    read = _read(spec)
    unknown = [name for name in overrides if name not in FIELDS]
    if unknown:
        one_of(read.id, unknown[0], unknown[0], FIELDS)
    # The default of the shutdown time follows the type.
    if overrides.get("type", read.type) != read.type and "shutdown" not in overrides:
        overrides = {**overrides, "shutdown": None}
    return attrs.evolve(read, **overrides)


def _read(spec: object) -> ChildSpec:
    if isinstance(spec, ChildSpec):
        if spec.start[1] is UNDEFINED:
            raise SpecError(spec.id, "start", _NOT_KEPT)
        return spec
    if isinstance(spec, Mapping):
        return _from_mapping(spec)
    maker, args = (spec[0], spec[1:]) if isinstance(spec, tuple) and len(spec) == 2 else (spec, ())
    make = getattr(maker, "child_spec", None)
    if callable(make):
        return _made(spec, make(*args))
    wanted = "expected a ChildSpec, a class with child_spec, (class, arg) or a dict with id and start"
    if isinstance(maker, type) and callable(getattr(maker, "start", None)):
        # Such as an actor of Pykka's, that knows nothing of supervisors.
        name, given = maker.__name__, f", ({args[0]!r},)" if args else ","
        wanted += f"; did you mean ChildSpec({name!r}, ({name}.start{given}))?"
    raise SpecError(spec, None, wanted)


def _made(spec: object, made: object) -> ChildSpec:
    if isinstance(made, ChildSpec):
        return made
    if isinstance(made, Mapping):
        return _from_mapping(made)
    raise SpecError(spec, None, f"its child_spec returned something odd: {made!r}")


def _from_mapping(spec: Mapping[Any, Any]) -> ChildSpec:
    name = spec.get("id", spec)
    for key in spec:
        if key not in FIELDS:
            one_of(name, str(key), key, FIELDS)
    for wanted in ("id", "start"):
        if wanted not in spec:
            raise SpecError(name, wanted, "it is missing")
    return ChildSpec(**spec)
