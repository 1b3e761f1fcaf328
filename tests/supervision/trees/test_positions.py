"""The text of a tree file: YAML, variables, times, references; no kinds yet."""

from __future__ import annotations

import sys

import pytest

from resprout.actors import BRUTAL_KILL, INFINITY
from resprout.supervision.trees.durations import read_seconds, read_shutdown
from resprout.supervision.trees.mistakes import Position, did_you_mean, show, show_path
from resprout.supervision.trees.positions import UNREADABLE, read_document
from resprout.supervision.trees.references import check_arguments, read_reference, resolve
from resprout.supervision.trees.structuring import plain
from resprout.supervision.trees.variables import Filled, Variables


def read(text: str, **settings: str):
    return read_document(text, Variables(settings, {}, {"here": "/srv/tree"}))


def value_of(text: str, **settings: str) -> object:
    document = read(text, **settings)
    assert document.mistakes == ()
    return plain(document.value)


def mistakes_of(text: str, **settings: str) -> list[tuple[int, int, str]]:
    return [(m.position.line, m.position.column, m.reason) for m in read(text, **settings).mistakes]


class TestPositions:
    def test_values_and_keys_know_their_line_and_column(self) -> None:
        document = read("a: 1\nb:\n  - x\n  - {c: d}\n")
        assert document.place(("b", 1, "c")) == Position(4, 9)
        assert document.place(("b", 1, "c"), of_key=True) == Position(4, 6)

    def test_what_the_file_lacks_is_at_the_nearest_mapping_around(self) -> None:
        document = read("a:\n  b: 1\n")
        assert document.place(("a", "missing", 3)) == Position(2, 3)

    def test_an_alias_has_the_place_of_its_anchor(self) -> None:
        document = read("a: &x {k: 1}\nb: *x\n")
        assert plain(document.value) == {"a": {"k": 1}, "b": {"k": 1}}
        assert document.place(("b", "k")) == document.place(("a", "k"))

    def test_merge_keys_add_what_the_mapping_lacks_and_the_first_source_wins(self) -> None:
        text = "x: &x {a: 1, b: 1}\ny: &y {b: 2, c: 2, <<: *x}\nz: {c: 3, <<: [*x, *y]}\n"
        assert value_of(text)["z"] == {"c": 3, "a": 1, "b": 1}  # type: ignore[index]

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("1", 1),
            ("1.5", 1.5),
            ("yes", True),
            ("~", None),
            ("'1'", "1"),
            ("[]", []),
            ("=", "="),
            (".inf", float("inf")),
        ],
    )
    def test_scalars_are_what_yaml_makes_of_them(self, text: str, value: object) -> None:
        assert value_of(text) == value


class TestMistakesOfTheText:
    @pytest.mark.parametrize(
        ("text", "line", "column", "reason"),
        [
            ("", 1, 1, "the file is empty"),
            ("# only a comment\n", 1, 1, "the file is empty"),
            ("a: 1\na: 2\n", 2, 1, "the key 'a' is here twice, first in line 1"),
            ("a:\n\tb: 1\n", 2, 1, "indent with spaces, not with tabs"),
            ("a: [1\nb: 2\n", 2, 2, "not YAML"),
            ("a: 1\n b: 2\n", 2, 3, "mapping values are not allowed here; look at how far this line is ind"),
            ("a: note: x\n", 1, 8, "put quotes around text with `: ` in it"),
            ("a:\n  - b: 1\n   c: 2\n", 3, 4, "look at how far this line is indented"),
            ("{a: ${b}}", 1, 6, "put quotes around ${...}"),
            ("a: *nobody\n", 1, 4, "found undefined alias"),
            ("a: 1\n---\nb: 2\n", 2, 1, "expected a single document"),
            ("a: !!python/name:os.system x", 1, 4, "tag !!python/name:os.system is not allowed"),
            ("a: !mine x", 1, 4, "the tag !mine is not allowed"),
            ("a: !!set {x}", 1, 4, "the tag !!set is not allowed"),
            ("a: 2001-99-99", 1, 4, "'2001-99-99' is not a valid !!timestamp; quote it if it is text"),
            ("a: !!int x", 1, 4, "'x' is not a valid !!int"),
            ("a: !!int ''", 1, 4, "'' is not a valid !!int"),
            ("a: !!bool x", 1, 4, "'x' is not a valid !!bool"),
            ("? [a]\n: 1\n", 1, 3, "expected a word or a number as a key"),
            ("a: &x [*x]\n", 1, 4, "an alias must not contain itself"),
            ("a: &x\n  <<: *x\n", 1, 4, "an alias must not contain itself"),
            ("<<: 3\n", 1, 5, "to merge with <<"),
            ("a: \x01\n", 1, 4, "no character 0x01"),
            ("a: ${}\n", 1, 4, "expected ${name} or ${name:-default}"),
            ("a: ${b\n", 1, 4, "expected ${name} or ${name:-default}"),
            ("a: ${b c}\n", 1, 4, "expected ${name} or ${name:-default}"),
            ("a: ${b}\n", 1, 4, "${b} has no value: set it with --set b=..."),
        ],
    )
    def test_a_mistake_is_told_with_its_place(self, text: str, line: int, column: int, reason: str) -> None:
        [(at_line, at_column, told)] = mistakes_of(text)
        assert (at_line, at_column) == (line, column)
        assert reason in told

    def test_all_mistakes_are_found_in_one_go(self) -> None:
        text = "a: ${x}\nb: !mine 1\nb: 2\nc: 2001-99-99\n"
        assert [line for line, _, _ in mistakes_of(text)] == [1, 2, 3, 4]

    def test_aliases_that_multiply_are_stopped(self) -> None:
        lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
        lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
        [(_, _, reason)] = mistakes_of("\n".join(lines))
        assert "more than 250,000 values" in reason

    @pytest.mark.parametrize("text", ["[" * 5000, "- " * 5000 + "x", "{a: " * 5000])
    def test_what_is_nested_too_deeply_is_a_mistake(self, text: str) -> None:
        [(_, _, reason)] = mistakes_of(text)
        assert "nested too deeply" in reason


class TestVariables:
    def test_settings_go_before_the_environment_and_that_before_the_default(self) -> None:
        def fill(settings: dict[str, str], environment: dict[str, str]) -> str:
            return Variables(settings, environment, {}).fill("${x:-default}")

        assert fill({"x": "setting"}, {"x": "environment"}) == "setting"
        assert fill({}, {"x": "environment"}) == "environment"
        assert fill({}, {}) == "default"

    @pytest.mark.parametrize(
        ("text", "filled"),
        [
            ("${here}/x", "/srv/tree/x"),
            ("$${here}", "${here}"),
            ("a $ b $5", "a $ b $5"),
            ("${u:-sqlite:///orders.db}", "sqlite:///orders.db"),
            ("${u:-}", ""),
            ("${a}${b}", "12"),
            ("$${a}${b}", "${a}2"),
        ],
    )
    def test_forms(self, text: str, filled: str) -> None:
        assert Variables({"a": "1", "b": "2"}, {}, {"here": "/srv/tree"}).fill(text) == filled

    def test_a_plain_scalar_is_read_again_and_a_quoted_one_is_text(self) -> None:
        assert value_of('a: ${n:-8}\nb: "${n:-8}"\nc: ${n:-x}8\n') == {"a": 8, "b": "8", "c": "x8"}

    def test_what_looks_like_a_date_and_is_none_stays_text(self) -> None:
        assert read("a: ${d}", d="2001-99-99").value == {"a": Filled("2001-99-99", "2001-99-99")}

    def test_a_setting_that_no_variable_asks_for_is_told_with_the_nearest(self) -> None:
        variables = Variables({"databse": "x", "here": "/"}, {}, {"here": "/srv"})
        variables.fill("${database:-y} ${here}")
        assert variables.unused() == [
            ("databse", "the file has no ${databse}; its variables are: database; did you mean 'database'?"),
            ("here", "it is built in and cannot be set"),
        ]

    def test_a_variable_without_value_suggests_a_setting_with_nearly_its_name(self) -> None:
        with pytest.raises(ValueError, match="did you mean 'databse'"):
            Variables({"databse": "x"}, {}, {}).fill("${database}")


class TestTimes:
    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            (5, 5.0),
            (0.5, 0.5),
            (0, 0.0),
            ("5", 5.0),
            ("5s", 5.0),
            ("500ms", 0.5),
            ("1.5s", 1.5),
            ("2m", 120.0),
            ("2min", 120.0),
            ("1h", 3600.0),
            ("1m30s", 90.0),
            (" 1m 30s ", 90.0),
        ],
    )
    def test_a_time_is_a_number_or_has_units(self, value: object, seconds: float) -> None:
        assert read_seconds(value) == pytest.approx(seconds)
        assert read_shutdown(value) == pytest.approx(seconds)

    @pytest.mark.parametrize(
        "value",
        [-1, True, None, "", "s", "5x", "-5s", "5 s x", "1e3", float("nan"), float("inf"), [], "9" * 400],
    )
    def test_anything_else_is_refused(self, value: object) -> None:
        with pytest.raises(ValueError, match="expected a time such as 5s"):
            read_seconds(value)

    def test_a_shutdown_time_may_also_be_infinity_or_brutal_kill(self) -> None:
        assert read_shutdown("infinity") is INFINITY
        assert read_shutdown(float("inf")) is INFINITY
        assert read_shutdown("brutal_kill") is BRUTAL_KILL
        with pytest.raises(ValueError, match="or infinity, or brutal_kill, got: 'never'"):
            read_shutdown("never")


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package `reftree` with modules that are fine, broken, and rude."""
    folder = tmp_path / "reftree"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "good.py").write_text(
        "from types import SimpleNamespace\n"
        "def start(a, b=2): ...\n"
        "class Server:\n    class Inner: ...\n"
        "limit = 3\n"
        "def __getattr__(name):\n"
        "    if name == 'trap': raise RuntimeError('sprung')\n"
        "    raise AttributeError(name)\n"
    )
    (folder / "broken.py").write_text("x = 1\nraise KeyError('gone')\n")
    (folder / "syntax.py").write_text("def f(:\n")
    (folder / "exits.py").write_text("import sys\nsys.exit('bye')\n")
    (folder / "needy.py").write_text("import a_module_that_is_not_there\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] == "reftree"]:
        del sys.modules[name]


class TestReferences:
    def test_a_reference_names_something_in_a_module(self, package) -> None:
        assert resolve("reftree.good:limit") == 3
        assert read_reference("reftree.good:Server.Inner").target.__name__ == "Inner"

    @pytest.mark.parametrize(
        ("reference", "reason"),
        [
            (
                "reftree.good.Server",
                "expected 'module:name', got: 'reftree.good.Server'; did you mean 'reftree.good:Server'",
            ),
            ("good", "expected 'module:name', got: 'good'"),
            (":x", "expected 'module:name'"),
            ("a:b:c", "expected 'module:name'"),
            (".good:x", "expected 'module:name'"),
            ("reftree.god:Server", "no module named 'reftree.god'; did you mean 'reftree.good'?"),
            ("reftre.good:Server", "no module named 'reftre'; did you mean 'reftree'?"),
            ("reftree.good.deeper:x", "no module named 'reftree.good.deeper'"),
            ("reftree.good:Servr", "module 'reftree.good' has no 'Servr'; did you mean 'Server'?"),
            ("reftree.good:Server.Iner", "has no 'Iner'; did you mean 'Inner'?"),
            ("reftree.good:trap", "reading 'trap' of reftree.good failed: RuntimeError: sprung"),
            ("reftree.good:limit", "reftree.good:limit is not callable, it is: int"),
            (
                "reftree.needy:x",
                "importing reftree.needy failed: ModuleNotFoundError: No module named 'a_module_that",
            ),
            ("reftree.exits:x", "importing reftree.exits failed: SystemExit: bye"),
        ],
    )
    def test_what_is_wrong_is_told(self, package, reference: str, reason: str) -> None:
        with pytest.raises(ValueError) as raised:
            read_reference(reference)
        assert reason in str(raised.value)

    @pytest.mark.parametrize(("module", "line"), [("broken", 2), ("syntax", 1)])
    def test_a_module_that_fails_is_told_with_the_line(self, package, module: str, line: int) -> None:
        with pytest.raises(ValueError, match=rf"importing reftree\.{module} failed: .*{module}\.py:{line}\)"):
            resolve(f"reftree.{module}:x")

    def test_arguments_are_checked_without_a_call(self, package) -> None:
        start = read_reference("reftree.good:start")
        check_arguments(start, {"a": 1})
        check_arguments(read_reference("builtins:int"), {"x": 1})
        with pytest.raises(
            ValueError, match=r"unexpected keyword argument 'c'; reftree\.good:start takes: a, b"
        ):
            check_arguments(start, {"a": 1, "c": 1})
        with pytest.raises(ValueError, match="missing a required argument: 'a'"):
            check_arguments(start, {})
        with pytest.raises(ValueError, match="expected names as keys"):
            check_arguments(start, {1: 1})


class TestWording:
    def test_a_path_reads_like_python(self) -> None:
        assert show_path(("children", 0, "args", "url")) == "children[0].args.url"
        assert show_path(()) == ""

    def test_values_are_shown_as_in_a_file_and_cut(self) -> None:
        assert [show(value) for value in (None, True, 3, "x", {}, [])] == [
            "nothing",
            "true",
            "3",
            "'x'",
            "a mapping",
            "a list",
        ]
        assert len(show("x" * 1000)) == 60

    def test_only_near_words_are_suggested(self) -> None:
        assert did_you_mean("permanant", ["permanent", "transient"]) == "; did you mean 'permanent'?"
        assert did_you_mean("x", ["permanent"]) == ""
        assert did_you_mean(3, ["permanent"]) == ""

    def test_what_could_not_be_read_is_no_value(self) -> None:
        assert read("!mine x").value is UNREADABLE
