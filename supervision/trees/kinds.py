"""The kinds of children that a tree file may have.

A kind is an attrs class. Its attributes are the keys that such a child has in a file, the first one being
the key that names the kind (`worker: consumer`); their types and validators say what is allowed. Rooms and
programs add kinds of their own through the entry point group `resprout.kinds`, whose names are those keys.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Container, Generator, Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any, Final, Literal, Protocol

import attrs
from cattrs.errors import ClassValidationError

from ...actors import Backoff, ChildSpec, NotPicklable, Placement, SpecError, child_spec
from ..placement.crossing import pack
from ..supervisors.dynamic_supervisor import DynamicSupervisor
from ..supervisors.options import AutoShutdown, DynamicSpec, Strategy
from ..supervisors.supervisor import Supervisor
from .arguments import typed_arguments
from .durations import Seconds, Shutdown
from .functions import start_function
from .mistakes import NOWHERE, Path, Position, did_you_mean, show
from .positions import nested
from .references import (
    Reference,
    check_keywords,
    init_of,
    is_async,
    is_generator,
    parameters_of,
    refused,
    resolve,
)
from .schedules import Schedule, start_schedule
from .secrets import Secret
from .structuring import Arguments, at_attribute, options_of, plain

INDEX: Final = "{index}"
_GIVEN: Final = {"option": False}
_FIELDS: Final = tuple(field.name for field in attrs.fields(ChildSpec))


class NameTable(Protocol):
    """A kind whose processes give names to others, so that `via: [name, key]` may speak of them.

    An instance whose `names_processes` is false gives none.
    """

    @staticmethod
    def via_name(registry: str, key: object) -> Any:
        """What stands for `key` in `registry` wherever a name is wanted."""


@attrs.frozen
class Common:
    """The keys that every child may have, whatever its kind; each is `None` where the file does not say it.

    `variables` has the names of the `${name}` in the value of each key of the child.

    All but `id` are laid over the child specs that the kind makes, so a kind need not look at them.

    Args:
        id: Tells it from its siblings; by default the value of the key of its kind.
        restart: Whether it is started again: always, after a crash, or never.
        shutdown: The time to end after it was told to, before it is killed.
        significant: Its end may end its supervisor, see auto_shutdown there.
        backoff: Waits before it is started again.
        max_restarts: A restart budget of its own: so many restarts are fine ...
        max_seconds: ... within this time.
        on_exhausted: What a spent budget means: its supervisor gives up, or it stays down.
        ready_timeout: Its start is over when it has called ready(), and failed after this time.
        path, tables, variables: Given by who reads the file.
    """

    id: str | None = None
    restart: Literal["permanent", "transient", "temporary"] | None = None
    shutdown: Shutdown | None = None
    significant: bool | None = None
    backoff: Backoff | None = None
    max_restarts: int | None = None
    max_seconds: Seconds | None = None
    on_exhausted: Literal["escalate", "give_up"] | None = None
    ready_timeout: Seconds | None = None
    path: Path = attrs.field(default=(), metadata=_GIVEN)
    variables: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict, metadata=_GIVEN)
    tables: Mapping[str, tuple[Path, NameTable]] = attrs.field(factory=dict, metadata=_GIVEN)

    def resolve(self, reference: str) -> object:
        """Imports what `module:name` names.

        Raises:
            ValueError: It cannot be imported; the message says why.
        """
        return resolve(reference)

    def via(self, registry: str, key: object) -> Any:
        """What stands for `key` in a registry of this tree, for a process that starts now.

        Raises:
            ValueError: The tree has no such registry, or starts it later than this child.
        """
        if registry not in self.tables:
            there = f"; it has: {', '.join(self.tables)}" if self.tables else ""
            near = did_you_mean(registry, self.tables)
            raise ValueError(f"the tree has no registry named {registry!r}{there}{near}")
        path, table = self.tables[registry]
        if steps(path) > steps(self.path):
            raise ValueError(f"the registry {registry!r} starts after this child; put it in front of it")
        if not getattr(table, "names_processes", True):
            wanted = "expected a registry with unique keys, as a name is somebody's own"
            raise ValueError(f"{wanted}; {registry!r} has others")
        return table.via_name(registry, key)

    def laid_over(self, spec: ChildSpec, own: Container[str]) -> ChildSpec:
        """A child spec with what the file says about it.

        Args:
            spec: What a kind made.
            own: The options of the kind; a common key of that name means the kind's option instead.

        Raises:
            SpecError: Two options contradict each other.
        """
        given = {
            name: value
            for name in _LAID_OVER
            if (value := getattr(self, name)) is not None and name not in own
        }
        # As attrs.evolve does it, which takes several times as long.
        return ChildSpec(**{**{name: getattr(spec, name) for name in _FIELDS}, **given}) if given else spec


_LAID_OVER: Final = tuple(name for name in options_of(Common) if name != "id")


def steps(path: Path) -> tuple[int, ...]:
    """The position of a child in the order of starting."""
    return tuple(step for step in path if isinstance(step, int))


class Kind(Protocol):
    """What a class must offer to be a kind; see the module for the rest.

    It may also have `registers`, the names that its processes take (by default its own key); `close()`, which
    is called when the tree has ended for good, once or more; and `obstacle()`, what would keep it from
    starting here and now, such as a port that is taken, in a sentence, or `None`; and `needs`, the names of
    processes that must have been started before it, each with where its entry says so, as `(name, *keys)`.
    """

    def child_specs(self, common: Common) -> Sequence[ChildSpec]:
        """The child specs that this entry of a file stands for, in start order.

        Raises:
            ValueError: Something is wrong; a `SpecError` also tells with which key.
        """


@attrs.frozen
class Child:
    """An entry of `children:`, read.

    Args:
        path: Where it is in the file.
        kind: The name of its kind, or an empty text if that is not known.
        ids: The ids that it takes among its siblings.
        names: The process names that it takes.
        needs: The process names that it needs, each with the keys that lead to where it says so.
        specs: Its child specs; none if it has mistakes.
        close: What to call when the tree has ended for good, if its kind has such a method.
        obstacle: What tells why it could not start here and now, if its kind has such a method.
        children: The entries of its own `children:`.
        default_named: Whether the name that it takes is not said.
        position: Where its entry begins.
        variables: The names of the `${name}` anywhere in its own entry.
    """

    path: Path
    kind: str = ""
    ids: tuple[str, ...] = ()
    names: tuple[object, ...] = ()
    needs: tuple[tuple[Any, ...], ...] = ()
    specs: tuple[ChildSpec, ...] = ()
    close: Callable[[], object] | None = None
    obstacle: Callable[[], str | None] | None = None
    children: tuple[Child, ...] = ()
    default_named: bool = False
    position: Position = NOWHERE
    variables: tuple[str, ...] = ()


def installed_kinds() -> dict[str, Callable[[], type]]:
    """The kinds that are installed, by name; each is loaded when a file uses it."""
    return {point.name: point.load for point in entry_points(group="resprout.kinds")}


def specs_of(children: Sequence[Child]) -> list[ChildSpec]:
    """The child specs of entries in start order."""
    return [spec for child in children for spec in child.specs]


def closers_of(children: Sequence[Child]) -> Iterator[Callable[[], object]]:
    """What to call when a tree has ended for good."""
    return (child.close for child in every_child(children) if child.close is not None)


def every_child(children: Sequence[Child]) -> Iterator[Child]:
    """Entries with all below them, parents first."""
    waiting = [*reversed(children)]
    while waiting:
        child = waiting.pop()
        yield child
        waiting += reversed(child.children)


def not_negative(instance: object, attribute: attrs.Attribute[Any], value: int | None) -> None:
    """A validator for counts."""
    if value is not None and value < 0:
        raise ValueError(f"expected a whole number >= 0, got: {value}")


def above_zero(instance: object, attribute: attrs.Attribute[Any], value: float | None) -> None:
    """A validator for times that must not be zero."""
    if value is not None and value <= 0:
        raise ValueError(f"expected a time > 0, got: {value}")


@attrs.frozen
class SupervisorChild:
    """`supervisor: id`: a supervisor with children of its own.

    `max_restarts` and `max_seconds` are its restart intensity.
    """

    supervisor: str
    children: tuple[Child, ...]
    strategy: Strategy = "one_for_one"
    max_restarts: int = attrs.field(default=3, validator=not_negative)
    max_seconds: Seconds = attrs.field(default=Seconds(5.0), validator=above_zero)
    auto_shutdown: AutoShutdown = "never"
    name: str | None = None

    @property
    def registers(self) -> tuple[object, ...]:
        """The names that it takes."""
        return () if self.name is None else (self.name,)

    def child_specs(self, common: Common) -> list[ChildSpec]:
        """One spec for the supervisor."""
        options = attrs.asdict(self, recurse=False, filter=attrs.filters.exclude("supervisor", "children"))
        start = (Supervisor.start_link, (specs_of(self.children),), options)
        return [ChildSpec(common.id or self.supervisor, start, type="supervisor")]


class OwnName:
    """A kind that is registered under `name`, by default its id, since somebody has to find it."""

    __slots__ = ()
    name: str | None

    @property
    def own_name(self) -> str:
        """What it is registered under; its id is its first field, which is called as the kind is."""
        kind: type[attrs.AttrsInstance] = type(self)  # type: ignore[assignment]  # all kinds are
        name: str = self.name or getattr(self, attrs.fields(kind)[0].name)
        return name

    @property
    def registers(self) -> tuple[object, ...]:
        """The names that it takes."""
        return (self.own_name,)

    @property
    def default_named(self) -> bool:
        """Whether the file does not say its name."""
        return self.name is None


@attrs.frozen
class DynamicSupervisorChild(OwnName):
    """`dynamic_supervisor: id`: a supervisor whose children are started by the program while it runs.

    Those under `children` are there from each of its starts on, and forgotten like others when they end. It
    is registered under `name`, by default its id, since somebody has to find it.
    """

    dynamic_supervisor: str
    children: tuple[Child, ...] = ()
    strategy: Literal["one_for_one"] = "one_for_one"
    max_children: int | None = attrs.field(default=None, validator=not_negative)
    max_restarts: int = attrs.field(default=3, validator=not_negative)
    max_seconds: Seconds = attrs.field(default=Seconds(5.0), validator=above_zero)
    name: str | None = None

    def child_specs(self, common: Common) -> list[ChildSpec]:
        """One spec for the supervisor."""
        own = attrs.filters.exclude("dynamic_supervisor", "children", "name")
        options = attrs.asdict(self, recurse=False, filter=own)
        name = self.own_name
        start: Any = (DynamicSupervisor.start_link, (), {**options, "name": name})
        if self.children:
            spec = self._with_children(options)
            start = (DynamicSupervisor.start_link, (spec,), {"name": name})
        return [ChildSpec(common.id or self.dynamic_supervisor, start, type="supervisor")]

    def _with_children(self, options: Mapping[str, Any]) -> DynamicSpec:
        try:
            return DynamicSpec(**options, children=tuple(specs_of(self.children)))
        except SpecError as error:
            raise SpecError(self.dynamic_supervisor, error.field, error.problem) from None


def _can_be_key(instance: object, attribute: attrs.Attribute[Any], value: tuple[str, object] | None) -> None:
    """A validator for `[registry, key]`."""
    if value is not None and isinstance(value[1], (list, dict)):
        wanted = "expected [registry, key] with a key that is a word or a number"
        raise ValueError(f"{wanted}, got: {show(value[1])}")


@attrs.frozen
class WorkerChild:
    """`worker: id`: a process of the program.

    Args:
        worker: Its id, unless the file says another.
        start: A class with `child_spec` or `start_link`, which gets `args` as its one argument;
            or a function that starts a process and returns its Pid, and gets `args` as keywords
            (`Class.start` of a Pykka actor is one).
        run: Instead of `start`: a function or coroutine function that does the work itself.
            It is called with `args` as keywords, in a process of its own, whose end is its end.
        args: The arguments.
        name: The name to register the process under.
        via: `[registry, key]` to register it under instead.
        replicas: How many of it; `{index}` in args, id, name and via is the number of each, from 0.
        placement: `process` runs it in an OS process of its own.
        env: With that: environment variables of the OS process, over those of this one.
        every: With `run`: it is called again and again, each time so long after the last time that was due.
        first: How long after its start it is called first; by default as `every`.
        jitter: Each call is up to so much later.
    """

    worker: str
    start: Reference | None = None
    run: Reference | None = None
    args: Arguments | None = None
    name: str | None = None
    via: tuple[str, object] | None = attrs.field(default=None, validator=_can_be_key)
    replicas: int | None = attrs.field(default=None, validator=not_negative)
    placement: Placement = "local"
    env: Mapping[str, str] | None = None
    every: Seconds | None = attrs.field(default=None, validator=above_zero)
    first: Seconds | None = None
    jitter: Seconds | None = None

    @property
    def registers(self) -> tuple[object, ...]:
        """The names that it takes; those in a registry together with the registry."""
        names = [name for name in (self.name, self.via) if name is not None]
        return tuple(numbered(name, index) for index in self._indices() for name in names)

    def child_specs(self, common: Common) -> list[ChildSpec]:
        """A spec for each replica."""
        errors: list[Exception] = list(self._mistakes(common))
        specs: list[ChildSpec] = []
        args: Any = None
        try:
            args = None if errors or self.args is None else self._arguments(self.args)
        except ClassValidationError as error:
            errors.append(at_attribute(error, "args"))
        for index in [] if errors else self._indices():
            try:
                name = self._name(common, index)
                spec = self._spec(self._id(common, index), numbered(args, index), name)
                # The other replicas differ in their number only, so they would say the same.
                if not specs:
                    self._check_call(spec, name)
                    spec = self._placed(spec)
                elif self.placement != "local":
                    spec = attrs.evolve(spec, placement=self.placement)
                if self.env is not None:
                    spec = attrs.evolve(spec, env=numbered(dict(self.env), index))
            except SpecError as error:
                errors.append(error)
                break
            specs.append(spec)
        if errors:
            raise ClassValidationError(f"worker {self.worker}", errors, WorkerChild)
        return specs

    def _placed(self, spec: ChildSpec) -> ChildSpec:
        """The spec with its placement, where that can be."""
        if self.placement == "local":
            return spec
        if spec.type == "supervisor":
            problem = "expected a worker, as a tree is of one OS process: place its workers"
            raise SpecError(self.worker, "placement", f"{problem}; {self._text} is a supervisor")
        call, positional, keywords = spec.start
        try:
            pack("start", (call, positional, {**keywords, "name": None}))
        except NotPicklable as error:
            raise SpecError(self.worker, "args" if self.args else "placement", str(error)) from None
        return attrs.evolve(spec, placement=self.placement)

    def _mistakes(self, common: Common) -> list[SpecError]:
        wrong = []
        if (self.start is None) == (self.run is None):
            got = "neither" if self.start is None else "both"
            wrong.append(("start", f"expected either start: or run:, got {got}"))
        if self.name is not None and self.via is not None:
            wrong.append(("via", "expected either name: or via:, got both"))
        if self.every is None:
            unused = (key for key in ("first", "jitter") if getattr(self, key) is not None)
            wrong += [(key, "expected it only together with every:") for key in unused]
        elif self.run is None and self.start is not None:
            wrong.append(
                ("every", "expected it only together with run:, as what has a start: runs by itself")
            )
        elif self.jitter is not None and self.jitter >= self.every:
            wrong.append(("jitter", f"expected less than every, {self.every:g} s, got: {self.jitter:g} s"))
        elif common.ready_timeout is not None:
            wrong.append(
                ("ready_timeout", "expected none beside every:, as it is ready before its first run")
            )
        return [SpecError(self.worker, field, problem) for field, problem in wrong]

    def _arguments(self, args: Arguments) -> Any:
        """The arguments as what they are for takes them: as one value, or each as its parameter says."""
        called = self.start if self.run is None else self.run
        if called is None or (self.run is None and _takes_one(called.target)):
            return plain(args)
        return typed_arguments(args, called.target)

    def _indices(self) -> Sequence[int | None]:
        return [None] if self.replicas is None else range(self.replicas)

    def _id(self, common: Common, index: int | None) -> str:
        name = common.id or self.worker
        if index is None:
            return name
        return str(numbered(name, index)) if INDEX in name else f"{name}-{index}"

    def _name(self, common: Common, index: int | None) -> Any:
        if self.via is None:
            return numbered(self.name, index)
        try:
            return common.via(self.via[0], numbered(self.via[1], index))
        except ValueError as error:
            raise SpecError(self.worker, "via", str(error)) from None

    def _spec(self, id: str, args: Any, name: Any) -> ChildSpec:
        if self.start is None:
            return ChildSpec(id, self._start_of_run(args or {}, name))
        target: Any = self.start.target
        named = {} if name is None else {"name": name}
        if callable(getattr(target, "child_spec", None)):
            spec = child_spec(target if args is None else (target, args))
            call, positional, keywords = spec.start
            return attrs.evolve(spec, id=id, start=(call, positional, {**keywords, **named}))
        if callable(getattr(target, "start_link", None)):
            return ChildSpec(id, (target.start_link, () if args is None else (args,), named))
        self._check_start(id, target)
        self._check_keys(self.start, args)
        return ChildSpec(id, (target, (), {**(args or {}), **named}))

    def _start_of_run(self, args: Mapping[str, Any], name: Any) -> Any:
        if self.every is None:
            return start_function, (self._work(), args), {"name": name}
        first = self.every if self.first is None else self.first
        schedule = Schedule(self.every, first, self.jitter or 0.0)
        return start_schedule, (self._work(), args, schedule), {"name": name}

    def _work(self) -> Any:
        """What `run` names, if it is a function that does the work."""
        assert self.run is not None
        text, target = self.run.text, self.run.target
        what = ""
        if isinstance(target, type):
            what = f"{text} is a class; one that starts a process goes under start:"
        elif is_generator(target):
            what = f"{text} is a generator function, which does nothing until somebody iterates over it"
        if what:
            raise SpecError(self.worker, "run", f"expected a function that does the work; {what}")
        self._check_keys(self.run, self.args)
        return target

    def _check_start(self, id: str, target: Any) -> None:
        """Refuses what is no function that starts a process."""
        assert self.start is not None
        text = self.start.text
        wanted = "expected a class with start_link or child_spec, or a function that returns a Pid"
        if isinstance(target, type):
            # Such as an actor of Pykka's, that knows nothing of supervisors.
            hint = f"; did you mean '{text}.start'?" if callable(getattr(target, "start", None)) else ""
            raise SpecError(id, "start", f"{wanted}; {text} is a class without either{hint}")
        if is_async(target):
            raise SpecError(id, "start", f"{wanted}; {text} is a coroutine function, as run: takes")
        if is_generator(target):
            raise SpecError(id, "start", f"{wanted}; {text} is a generator function")

    def _check_keys(self, reference: Reference, args: Mapping[Any, object] | None) -> None:
        try:
            check_keywords(reference, args or {})
        except ValueError as error:
            raise SpecError(self.worker, "args", str(error)) from None

    def _check_call(self, spec: ChildSpec, name: Any) -> None:
        """Refuses arguments, or a name, that what starts the process would not take."""
        call, positional, keywords = spec.start
        if self.run is not None:
            call, positional, keywords = self.run.target, (), dict(spec.start[1][1])
        problem = refused(call, positional, keywords)
        init = init_of(call)
        if problem is None and init is not None:
            call = init
            arg = positional[0] if positional else keywords.get("arg")
            problem = refused(call, (arg,), {})
        elif problem is not None and name is not None and self.run is None:
            without = {key: value for key, value in keywords.items() if key != "name"}
            if refused(call, positional, without) is None:
                field = "name" if self.via is None else "via"
                what = f"expected no {field}:, as {self._text} starts without a parameter 'name'"
                raise SpecError(self.worker, field, f"{what}; it takes: {parameters_of(call)}")
        if problem is not None:
            field = "args" if self.args else "start" if self.run is None else "run"
            raise SpecError(self.worker, field, f"{problem}; {self._text} takes: {parameters_of(call)}")

    @property
    def _text(self) -> str:
        called = self.start if self.run is None else self.run
        return "" if called is None else called.text


def _takes_one(target: Any) -> bool:
    """Whether a start gets `args` as one argument."""
    return callable(getattr(target, "child_spec", None)) or callable(getattr(target, "start_link", None))


def numbered(value: Any, index: int | None) -> Any:
    """A value with the number of a replica, or partition, in all its texts."""
    if index is None or isinstance(value, str):
        return value if index is None else _put(value, str(index))
    return nested(_with_number(value, str(index)))


def _put(text: str, number: str) -> str:
    numbered = text.replace(INDEX, number)
    return Secret(numbered) if isinstance(text, Secret) else numbered


def _with_number(value: Any, number: str) -> Generator[Any, Any, Any]:
    if isinstance(value, str):
        return _put(value, number)
    if isinstance(value, (list, tuple)):
        items = []
        for item in value:
            numbered = yield _with_number(item, number)
            items.append(numbered)
        return type(value)(items)
    if isinstance(value, dict):
        entries = {}
        for key, item in value.items():
            entries[key] = yield _with_number(item, number)
        return entries
    if isinstance(value, functools.partial):
        args = yield _with_number(value.args, number)
        keywords = yield _with_number(value.keywords, number)
        return type(value)(value.func, *args, **keywords)
    return value
