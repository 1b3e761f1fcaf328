"""Whatever is done to a tree file, it is a tree or has mistakes with places; nothing else ever comes out."""

from __future__ import annotations

import sys
from pathlib import Path

import attrs
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resprout.actors import ChildSpec
from resprout.supervision.trees.kinds import Common, DynamicSupervisorChild, SupervisorChild, WorkerChild
from resprout.supervision.trees.mistakes import InvalidTree
from resprout.supervision.trees.tree_file import Tree, load_tree

GOOD = """\
name: orders
strategy: rest_for_one
auto_shutdown: any_significant
job: {start: "builtins:dict", args: {here: "${here}"}}
children:
  - supervisor: services
    max_restarts: 200
    max_seconds: 5s
    children:
      - {book: partitions}
      - {worker: database, start: "builtins:print", args: {end: "${url:-sqlite:///orders.db}"}}
      - {dynamic_supervisor: pool, max_children: 3, backoff: {initial: 100ms, factor: 2}}
  - &consumers
    supervisor: consumers
    children:
      - worker: consumer
        replicas: 3
        run: builtins:print
        via: [partitions, "{index}"]
        args: {sep: "${sep:-x}", end: '{index}'}
        restart: transient
        shutdown: 500ms
        significant: false
"""
WORDS = [
    "", "worker", "book", "children", "supervisor", "start", "id", "name", "true", "-1", "1e400", "nan",
    "5s", "infinity", "one_for_all", "builtins:nothing", "sys:exit", "<<", "*consumers", "&x", "${url}",
    "$${x}", ".nan", "[]", "{}", "!!int", "!!python/object:os.system", "\t", "\n", "\n\n  - ", ": ", ",", "'",
    "|", "---", "\x00", "\ufeff", "é", "😀", "?", "${", '"', "null",
]  # fmt: skip


@attrs.frozen
class Book:
    book: str

    @staticmethod
    def via_name(registry: str, key: object) -> object:
        return (registry, key)

    def child_specs(self, common: Common) -> list[ChildSpec]:
        return [ChildSpec(self.book, (print, (), {}))]


KINDS = {
    "worker": lambda: WorkerChild,
    "supervisor": lambda: SupervisorChild,
    "dynamic_supervisor": lambda: DynamicSupervisorChild,
    "book": lambda: Book,
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory):
    before = list(sys.path)
    yield tmp_path_factory.mktemp("mutations") / "tree.yaml"
    sys.path[:] = before


def loaded_or_refused(path: Path, raw: bytes) -> Tree | InvalidTree:
    path.write_bytes(raw)
    try:
        return load_tree(path, {"sep": "y"}, {}, KINDS)
    except InvalidTree as error:
        lines = raw.count(b"\n") + 1
        for problem in error.problems:
            # YAML has line ends of its own (U+0085 and others), so a line may be beyond the last newline.
            assert 0 <= problem.line <= lines + len(raw), problem
            assert problem.reason
        return error


quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_the_file_that_is_mutated_is_right(path: Path) -> None:
    assert isinstance(loaded_or_refused(path, GOOD.encode()), Tree)


@quick
@given(
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 12), st.sampled_from(WORDS)), min_size=1, max_size=4)
)
def test_edits_of_the_text(path: Path, edits: list[tuple[float, int, str]]) -> None:
    text = GOOD
    for where, length, word in edits:
        at = int(where * len(text))
        text = text[:at] + word + text[at + length :]
    loaded_or_refused(path, text.encode())


@quick
@given(st.binary(max_size=60), st.floats(0, 1))
def test_bytes_put_in(path: Path, noise: bytes, where: float) -> None:
    raw = GOOD.encode()
    at = int(where * len(raw))
    loaded_or_refused(path, raw[:at] + noise + raw[at:])


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.dates()
    | st.binary(max_size=3)
    | st.sampled_from(WORDS)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(WORDS) | st.integers() | st.none(), inner, max_size=3)
    ),
    max_leaves=6,
)


@quick
@given(st.integers(0, 10_000), values)
def test_a_value_put_in_place_of_another(path: Path, which: int, value: object) -> None:
    document = yaml.safe_load(GOOD)
    places: list[tuple[dict[object, object] | list[object], object]] = []

    def visit(node: object) -> None:
        steps = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for step, inner in steps:
            places.append((node, step))  # type: ignore[arg-type]
            visit(inner)

    visit(document)
    container, step = places[which % len(places)]
    container[step] = value  # type: ignore[index]
    loaded_or_refused(path, yaml.safe_dump(document, allow_unicode=True).encode())
