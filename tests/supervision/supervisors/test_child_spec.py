from __future__ import annotations

import math
from typing import Any

import attrs
import pytest

from resprout.actors import GenServer
from resprout.supervision import (
    BRUTAL_KILL,
    INFINITY,
    Backoff,
    ChildSpec,
    SpecError,
    Supervisor,
    child_spec,
)


class Server(GenServer):
    pass


def test_the_shutdown_time_depends_on_the_type() -> None:
    assert ChildSpec("a", print).shutdown == 5.0
    assert ChildSpec("a", print, type="supervisor").shutdown is INFINITY
    assert child_spec(ChildSpec("a", print), type="supervisor").shutdown is INFINITY


class Import(GenServer, restart="transient", shutdown=30.0, id="import"):
    """As Elixir's ``use GenServer, restart: :transient, shutdown: 30_000, id: "import"``."""


class Reimport(Import, restart="temporary"):
    pass


class Patient(GenServer, ready_timeout=9.0):
    pass


class Imports(Import):
    @classmethod
    def child_spec(cls, arg: Any = None, **fields: Any) -> ChildSpec:
        return super().child_spec(arg, significant=True, **fields)


def test_keyword_arguments_of_a_class_are_fields_of_its_child_spec() -> None:
    spec = child_spec((Import, "file"))
    assert (spec.id, spec.restart, spec.shutdown) == ("import", "transient", 30.0)
    assert spec.start == (Import.start_link, ("file",), {})
    assert child_spec(Import, restart="permanent").restart == "permanent"


def test_they_hold_for_subclasses_unless_those_say_otherwise_and_ids_are_each_ones_own() -> None:
    assert [
        (spec.id, spec.restart, spec.shutdown, spec.significant)
        for spec in map(child_spec, (Reimport, Imports))
    ] == [
        ("Reimport", "temporary", 30.0, False),
        ("Imports", "transient", 30.0, True),
    ]
    assert child_spec(Server).restart == "permanent"


class Tagged:
    """A base class with a keyword of its own."""

    tag = ""

    def __init_subclass__(cls, tag: str = "", **others: Any) -> None:
        super().__init_subclass__(**others)
        cls.tag = tag


def test_they_come_from_all_base_classes_and_leave_other_keywords_to_others() -> None:
    class Both(Reimport, Patient):
        pass

    class First(GenServer, Tagged, tag="a", restart="transient"):
        pass

    class Last(Tagged, GenServer, tag="b", restart="transient"):
        pass

    assert (child_spec(Both).restart, child_spec(Both).ready_timeout) == ("temporary", 9.0)
    assert [(each.tag, child_spec(each).restart) for each in (First, Last)] == [
        ("a", "transient"),
        ("b", "transient"),
    ]


def test_a_class_that_attrs_makes_anew_keeps_them() -> None:
    made = attrs.define(Import)
    assert (child_spec(made).id, child_spec(made).restart) == ("import", "transient")


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"restart": "sometimes"}, "field 'restart': expected one of 'permanent', 'transient', 'temporary'"),
        ({"restrat": "transient"}, "did you mean 'restart'"),
        ({"shutdown": -1}, "field 'shutdown': expected seconds >= 0"),
    ],
)
def test_a_wrong_one_is_refused_where_the_class_is_made(fields: Any, problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        type("Wrong", (GenServer,), {}, **fields)


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (0, 0.0),
        (2, 2.0),
        (INFINITY, INFINITY),
        ("infinity", INFINITY),
        (math.inf, INFINITY),
        (BRUTAL_KILL, BRUTAL_KILL),
        ("brutal_kill", BRUTAL_KILL),
    ],
)
def test_a_shutdown_time_may_be_written_in_several_ways(given: Any, read: Any) -> None:
    assert ChildSpec("a", print, shutdown=given).shutdown == read


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (print, (print, (), {})),
        ((print,), (print, (), {})),
        ((print, (1,)), (print, (1,), {})),
        ([print, [1], {"sep": ""}], (print, (1,), {"sep": ""})),
    ],
)
def test_what_is_left_out_of_a_start_is_empty(given: Any, read: Any) -> None:
    assert ChildSpec("a", given).start == read


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"id": []}, "id"),
        ({"start": 3}, "start"),
        ({"start": (print, 3)}, "start"),
        ({"start": (print, (), {1: 2})}, "start"),
        ({"start": ()}, "start"),
        ({"restart": "always"}, "restart"),
        ({"shutdown": -1}, "shutdown"),
        ({"shutdown": True}, "shutdown"),
        ({"shutdown": math.nan}, "shutdown"),
        ({"type": "boss"}, "type"),
        ({"significant": "yes"}, "significant"),
        ({"backoff": 3}, "backoff"),
        ({"max_restarts": -1}, "max_restarts"),
        ({"max_seconds": 5.0}, "max_seconds"),
        ({"max_restarts": 1, "max_seconds": 0}, "max_seconds"),
        ({"on_exhausted": "panic"}, "on_exhausted"),
        ({"ready_timeout": 0}, "ready_timeout"),
    ],
)
def test_a_wrong_field_is_named_with_the_spec(fields: dict[str, Any], named: str) -> None:
    given: dict[str, Any] = {"id": "a", "start": print, **fields}
    with pytest.raises(SpecError) as error:
        child_spec(given)
    assert (error.value.spec, error.value.field) == (given["id"], named)
    assert repr(given["id"]) in str(error.value)
    assert repr(named) in str(error.value)


def test_what_is_allowed_is_listed_and_the_nearest_suggested() -> None:
    with pytest.raises(SpecError, match=r"'permanent', 'transient', 'temporary'.*did you mean 'transient'"):
        ChildSpec("a", print, restart="transiant")  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="did you mean 'restart'"):
        child_spec({"id": "a", "start": print, "restrat": "permanent"})
    with pytest.raises(SpecError, match="'start': it is missing"):
        child_spec({"id": "a"})
    with pytest.raises(SpecError, match=r"as in \(Counter.start_link, \(0,\)\), got: 'start_link'"):
        child_spec({"id": "a", "start": (Server, "start_link", [])})


@pytest.mark.parametrize(
    "form", [Server, (Server, 1), Server.child_spec(1), {"id": "Server", "start": print}]
)
def test_every_form_is_read(form: Any) -> None:
    assert child_spec(form).id == "Server"


@pytest.mark.parametrize("form", [None, 7, "Server", (Server, 1, 2), object(), int])
def test_anything_else_is_refused(form: Any) -> None:
    with pytest.raises(SpecError, match="expected a ChildSpec"):
        child_spec(form)


def test_overrides_replace_fields() -> None:
    spec = child_spec((Server, 1), id="other", restart="temporary")
    assert (spec.id, spec.restart, spec.start[1]) == ("other", "temporary", (1,))
    with pytest.raises(SpecError, match="'restrat'"):
        child_spec(Server, restrat="temporary")


def test_a_supervisor_is_a_child_of_type_supervisor() -> None:
    spec = Supervisor.child_spec([Server], name="top", id="s")
    assert (spec.id, spec.type, spec.shutdown) == ("s", "supervisor", INFINITY)
    assert spec.start[2] == {"name": "top"}


@pytest.mark.parametrize(
    "fields", [{"initial": -1}, {"factor": 0.5}, {"jitter": 2}, {"maximum": math.nan}, {"reset_after": -1}]
)
def test_a_wrong_backoff_is_named(fields: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match=next(iter(fields))):
        Backoff(**fields)


def test_a_backoff_grows_up_to_its_maximum_however_often_it_is_asked() -> None:
    backoff = Backoff(initial=0.1, factor=2.0, maximum=1.0)
    delays = [backoff.delay(attempt, 0.0) for attempt in (0, 1, 2, 3, 4, 10**6)]
    assert delays == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert Backoff(initial=0.0).delay(3, 0.0) == 0.0
