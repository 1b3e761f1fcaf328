"""Kinds of children: what a file says about every child, and what one has to know to write a kind."""

from __future__ import annotations

from importlib.metadata import entry_points

import attrs
import pytest

from resprout.actors import ChildSpec, SpecError
from resprout.supervision.trees.kinds import Child, Common, closers_of, installed_kinds, specs_of
from resprout.supervision.trees.structuring import options_of


class Table:
    @staticmethod
    def via_name(registry: str, key: object) -> object:
        return (registry, key)


def common(path: tuple[object, ...], **said: object) -> Common:
    tables = {"early": (("children", 0), Table), "inner": (("children", 1, "children", 0), Table)}
    return Common(path=path, tables=tables, **said)  # type: ignore[arg-type]


SPEC = ChildSpec("x", (print, (), {}), restart="transient", shutdown=1.0)


class TestCommon:
    def test_only_what_the_file_says_is_laid_over_a_spec(self) -> None:
        assert common((), id="other").laid_over(SPEC, ()) == SPEC
        said = common((), restart="temporary", significant=False, max_restarts=1)
        assert said.laid_over(SPEC, ()) == attrs.evolve(SPEC, restart="temporary", max_restarts=1)

    def test_an_option_of_the_kind_hides_the_common_one(self) -> None:
        assert common((), max_restarts=1).laid_over(SPEC, {"max_restarts"}) == SPEC

    def test_a_contradiction_names_the_field(self) -> None:
        with pytest.raises(SpecError) as raised:
            common((), max_seconds=1.0).laid_over(SPEC, ())
        assert raised.value.field == "max_seconds"

    def test_via_finds_registries_that_start_before(self) -> None:
        child = common(("children", 1, "children", 1))
        assert child.via("early", 1) == ("early", 1)
        assert child.via("inner", 1) == ("inner", 1)

    @pytest.mark.parametrize(
        ("registry", "reason"),
        [
            ("inner", "the registry 'inner' starts after this child; put it in front of it"),
            ("erly", "no registry named 'erly'; it has: early, inner; did you mean 'early'?"),
        ],
    )
    def test_via_refuses_others(self, registry: str, reason: str) -> None:
        with pytest.raises(ValueError, match="registry") as raised:
            common(("children", 0)).via(registry, 1)
        assert reason in str(raised.value)

    def test_resolve_is_for_kinds_that_want_something_not_callable(self) -> None:
        assert common(()).resolve("string:digits") == "0123456789"


class TestChildren:
    def test_specs_and_closers_are_in_start_order(self) -> None:
        def first() -> None: ...
        def second() -> None: ...

        inner = Child((), close=second)
        children = [Child((), specs=(SPEC,), close=first, children=(inner,)), Child((), specs=(SPEC, SPEC))]
        assert specs_of(children) == [SPEC, SPEC, SPEC]
        assert list(closers_of(children)) == [first, second]


def test_every_installed_kind_is_named_by_its_first_option() -> None:
    kinds = installed_kinds()
    assert {"supervisor", "dynamic_supervisor", "worker", "registry", "throttle", "asgi"} <= set(kinds)
    for point in entry_points(group="resprout.kinds"):
        cls = kinds[point.name]()
        assert next(iter(options_of(cls))) == point.name
        assert callable(cls.child_specs)
