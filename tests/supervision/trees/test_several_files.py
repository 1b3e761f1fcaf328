"""Trees of several files: what includes and overlays become, and every mistake with its file."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from resprout import Agent
from resprout.supervision import Application, Limits, lifespan
from resprout.supervision.trees.mistakes import InvalidTree
from resprout.supervision.trees.tree_file import Tree


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Has relative paths, and so labels, begin in a folder of the test's own, with the module `jobs`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "jobs.py").write_text("def work(**options): ...")
    yield tmp_path
    sys.modules.pop("jobs", None)


def write(files: dict[str, str]) -> None:
    for name, text in files.items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def load(files: dict[str, str], *overlays: str, **settings: str) -> Tree:
    write(files)
    return Application.load("tree.yaml", settings, overlays=overlays).tree


def mistakes(files: dict[str, str], *overlays: str, **settings: str) -> list[str]:
    with pytest.raises(InvalidTree) as raised:
        load(files, *overlays, **settings)
    return str(raised.value).splitlines()


def ids(specs: Any) -> list[Any]:
    """The ids of specs, each supervisor with those below it."""
    return [(spec.id, ids(spec.start[1][0])) if spec.type == "supervisor" else spec.id for spec in specs]


def work(id: str) -> str:
    return f"{{worker: {id}, run: 'jobs:work', args: {{name: {id}}}}}"


def args_of(spec: Any) -> dict[str, Any]:
    """The arguments of a worker with `run:`."""
    found: dict[str, Any] = spec.start[1][1]
    return found


class TestIncludes:
    def test_the_children_of_a_file_take_the_place_of_the_entry(self) -> None:
        tree = load(
            {
                "tree.yaml": f"children: [{work('a')}, {{include: more/some.yaml}}, {work('d')}]",
                "more/some.yaml": f"children: [{work('b')}, {{include: ../list.yaml}}]",
                "list.yaml": f"- {work('c')}",
            }
        )
        assert ids(tree.children) == ["a", "b", "c", "d"]

    def test_several_files_come_one_after_the_other(self) -> None:
        files = {name: f"[{work(name[0])}]" for name in ("b.yaml", "a.yaml")}
        tree = load({"tree.yaml": "children: [{include: [b.yaml, a.yaml]}]", **files})
        assert ids(tree.children) == ["b", "a"]

    def test_a_supervisor_takes_its_keys_from_a_file_and_what_it_says_itself_counts_more(self) -> None:
        tree = load(
            {
                "tree.yaml": "children:\n- supervisor: s\n  include: s.yaml\n  max_restarts: 7\n"
                f"  children: [{{worker: a, restart: transient}}, {work('b')}]\n",
                "s.yaml": f"strategy: one_for_all\nmax_restarts: 2\nchildren: [{work('a')}]",
            }
        )
        [spec] = tree.children
        assert (spec.start[2]["strategy"], spec.start[2]["max_restarts"]) == ("one_for_all", 7)
        assert [(each.id, each.restart) for each in spec.start[1][0]] == [
            ("a", "transient"),
            ("b", "permanent"),
        ]

    def test_the_top_may_begin_with_another_file(self) -> None:
        tree = load(
            {
                "tree.yaml": "include: [base.yaml, more.yaml]\nname: shop",
                "base.yaml": f"name: base\nstrategy: rest_for_one\nchildren: [{work('a')}]",
                "more.yaml": f"children: [{work('b')}]",
            }
        )
        assert (tree.name, tree.strategy, ids(tree.children)) == ("shop", "rest_for_one", ["a", "b"])

    def test_here_is_the_folder_of_the_file_that_says_it(self, folder: Path) -> None:
        tree = load(
            {
                "tree.yaml": "children: [{include: sub/a.yaml}, "
                "{worker: b, run: 'jobs:work', args: {at: '${here}'}}]",
                "sub/a.yaml": "[{worker: a, run: 'jobs:work', args: {at: '${here}'}}]",
            }
        )
        assert [args_of(spec)["at"] for spec in tree.children] == [str(folder / "sub"), str(folder)]

    def test_a_path_may_have_variables_and_a_setting_of_an_included_file_is_known(self) -> None:
        files = {
            "tree.yaml": "children: [{include: '${site}.yaml'}]",
            "north.yaml": "[{worker: '${who}', run: 'jobs:work'}]",
        }
        assert ids(load(files, site="north", who="w").children) == ["w"]

    def test_a_file_that_is_included_twice_is_there_twice(self) -> None:
        files = {
            "tree.yaml": "children:\n- {supervisor: a, include: s.yaml}\n- {supervisor: b, include: s.yaml}",
            "s.yaml": f"children: [{work('w')}]",
        }
        assert ids(load(files).children) == [("a", ["w"]), ("b", ["w"])]

    def test_anchors_and_merge_keys_work_within_a_file(self) -> None:
        files = {
            "tree.yaml": "x: &x {include: s.yaml}\nchildren: [{include: s.yaml}]",
            "s.yaml": "- &a {worker: a, run: 'jobs:work', restart: transient}\n- {<<: *a, worker: b}",
        }
        [line] = mistakes(files)
        assert line.startswith("tree.yaml:1:1: x: unknown key 'x'")
        tree = load({**files, "tree.yaml": "children: [{include: s.yaml}]"})
        assert [(each.id, each.restart) for each in tree.children] == [("a", "transient"), ("b", "transient")]

    @pytest.mark.parametrize(
        ("files", "expected"),
        [
            (
                {"s.yaml": "- {worker: w, run: 'jobs:work',\n   resart: x}"},
                "s.yaml:2:4: children[0].resart: unknown key 'resart'",
            ),
            ({"s.yaml": "- {worker: w"}, "s.yaml:1:13: not YAML: "),
            ({"s.yaml": "# nothing"}, "s.yaml:1:1: the file is empty; expected children:"),
            ({"s.yaml": "a word"}, "s.yaml:1:1: expected children:, or a list of children, in a file that"),
            ({"s.yaml": "children: 3"}, "s.yaml:1:11: expected a list, got: '3'"),
            (
                {"s.yaml": "- {include: t.yaml}", "t.yaml": "- registry: ${y}"},
                "t.yaml:1:13: children[0].registry: ${y} has no",
            ),
            (
                {"s.yaml": "strategy: one_for_all\nchildren: []"},
                (
                    "s.yaml:1:1: expected children: and nothing else in a file that is included among "
                    "children, got: 'strategy'; to have a supervisor with its options of a file: "
                    "{supervisor: NAME, include: FILE}"
                ),
            ),
            (
                {"s.yml": "[]"},
                (
                    "tree.yaml:1:22: 's.yaml' cannot be included: it cannot be read: No such file or "
                    "directory; did you mean 's.yml'?"
                ),
            ),
            (
                {"s.yaml/x": ""},
                "tree.yaml:1:22: 's.yaml' cannot be included: it cannot be read: it is a folder",
            ),
            (
                {"s.yaml": "- {include: tree.yaml}"},
                "s.yaml:1:13: the file includes itself: tree.yaml -> s.yaml -> tree.yaml",
            ),
            ({"s.yaml": "[{include: ./s.yaml}]"}, "s.yaml:1:12: the file includes itself: s.yaml -> s.yaml"),
            (
                {"s.yaml": "[{include: {a: 1}}]"},
                "s.yaml:1:12: expected the path of a file, or a list of paths",
            ),
            ({"s.yaml": "[{include: ''}]"}, "s.yaml:1:12: expected the path of a file, got an empty text"),
            (
                {"s.yaml": "[{include: t.yaml, restart: transient}]", "t.yaml": "[]"},
                "s.yaml:1:2: expected include: alone, or beside supervisor:, got also: 'restart'",
            ),
            (
                {"s.yaml": "[{supervisor: s, include: t.yaml}]", "t.yaml": "[]"},
                "s.yaml:1:27: expected a mapping with children: in what is included here, got a list",
            ),
            (
                {"s.yaml": "[{worker: w, run: 'jobs:work', include: t.yaml}]"},
                "s.yaml:1:32: children[0].include: unknown key 'include'",
            ),
        ],
    )
    def test_a_mistake_is_told_with_its_file(self, files: dict[str, str], expected: str) -> None:
        [line] = mistakes({"tree.yaml": "children: [{include: s.yaml}]", **files})
        assert line.startswith(expected), line

    def test_a_byte_that_is_no_text_is_told_with_its_file(self) -> None:
        Path("s.yaml").write_bytes(b"- a\n- \xff")
        [line] = mistakes({"tree.yaml": "children: [{include: s.yaml}]"})
        assert line == "s.yaml:2:3: it is not UTF-8: byte 0xff"

    def test_an_id_and_a_name_that_are_taken_in_another_file_are_told_with_both_places(self) -> None:
        taken = mistakes(
            {
                "tree.yaml": "children:\n- {worker: w, run: 'jobs:work', name: n}\n- {include: s.yaml}",
                "s.yaml": "- {worker: w, run: 'jobs:work', name: n}",
            }
        )
        assert taken == [
            "s.yaml:1:3: children[1]: the id 'w' is taken by children[0] in line 2 of tree.yaml",
            "s.yaml:1:3: children[1]: the name 'n' is taken by children[0] in line 2 of tree.yaml",
        ]

    def test_mistakes_of_all_files_are_told_at_once_those_of_the_first_file_first(self) -> None:
        lines = mistakes(
            {
                "tree.yaml": "children: [{include: a.yaml}, {include: b.yaml}]\nx: 1",
                "a.yaml": "- {worker: w}",
                "b.yaml": "- {a: 1",
            },
            unknown="1",
        )
        assert [line.split(":")[0] for line in lines] == ["tree.yaml", "a.yaml", "b.yaml"]

    def test_files_that_include_one_another_too_deep_are_refused(self) -> None:
        chain = {f"f{n}.yaml": f"[{{include: f{n + 1}.yaml}}]" for n in range(30)}
        [line] = mistakes({"tree.yaml": "children: [{include: f0.yaml}]", **chain})
        assert line.startswith(
            "f15.yaml:1:12: files include one another more than 16 deep: tree.yaml -> ... -> "
        )

    def test_includes_that_multiply_are_stopped_at_the_limit_of_values(self) -> None:
        chain = {f"f{n}.yaml": f"[{', '.join([f'{{include: f{n + 1}.yaml}}'] * 9)}]" for n in range(14)}
        lines = mistakes({"tree.yaml": "children: [{include: f0.yaml}]", **chain, "f14.yaml": "[]"})
        assert "the tree has more than 250,000 values with it, each include counted by itself" in lines[0]

    def test_no_more_than_a_thousand_files_are_looked_for(self) -> None:
        names = ", ".join(f"f{n}.yaml" for n in range(1_002))
        lines = mistakes({"tree.yaml": f"children: [{{include: [{names}]}}]"})
        assert lines[-1] == "tree.yaml: 1,002 mistakes; these are the first 100"
        write({f"f{n}.yaml": "[]" for n in range(1_002)})
        [line, _] = mistakes({})
        assert "'f1000.yaml' cannot be included: the tree has more than 1,000 files" in line

    def test_the_bytes_of_all_files_count_together(self) -> None:
        text = "# " + "x" * 600 + "\nchildren: [{include: s.yaml}]"
        write({"tree.yaml": text, "s.yaml": "# " + "x" * 600 + "\n[]"})
        with pytest.raises(
            InvalidTree, match=r"tree\.yaml:2:22: 's\.yaml' cannot be included: its files have"
        ):
            Application.load("tree.yaml", limits=Limits(size=1_000))

    def test_a_tree_that_becomes_too_deep_by_its_includes_is_refused(self) -> None:
        deep = "children: [" + "{supervisor: s, children: [" * 500 + "{include: s.yaml}" + "]}" * 500 + "]"
        inner = "[" + "{supervisor: s, children: [" * 30 + "]}" * 30 + "]"
        [line] = mistakes({"tree.yaml": deep, "s.yaml": inner})
        assert "'s.yaml' cannot be included: the tree is nested too deeply with it: more than 1,024" in line

    def test_where_a_child_failed_to_start_is_told_with_its_file(self) -> None:
        files = {"tree.yaml": "children: [{include: sub/s.yaml}]", "sub/s.yaml": f"\n- {work('w')}"}
        assert load(files).place(("w",)) == "sub/s.yaml:2:3"


BASE = f"""
name: shop
job: {{start: "jobs:work", args: {{a: 1}}}}
children:
- supervisor: services
  max_restarts: 5
  children:
  - {{registry: parts, keys: unique}}
  - {{throttle: lock, num_slots: 2}}
- {{worker: poller, run: "jobs:work", args: {{url: u, deep: {{a: 1, b: 2}}, list: [1, 2]}},
   restart: transient}}
- {work("last")}
"""


class TestOverlays:
    def test_children_are_merged_by_id_at_any_depth_and_new_ones_come_last(self) -> None:
        over = (
            "children:\n- {worker: new, run: 'jobs:work'}\n"
            "- {supervisor: services, children: [{throttle: lock, num_slots: 9}, {registry: more}]}"
        )
        tree = load({"tree.yaml": BASE, "tree.production.yaml": over}, "production")
        assert ids(tree.children) == [("services", ["parts", "lock", "more"]), "poller", "last", "new"]
        services = tree.children[0].start
        assert (services[1][0][1].start[1][0].num_slots, services[2]["max_restarts"]) == (9, 5)

    def test_mappings_are_merged_and_other_lists_replaced(self) -> None:
        over = "children: [{worker: poller, args: {deep: {b: 3}, list: [9], more: x}}]"
        tree = load({"tree.yaml": BASE, "tree.production.yaml": over}, "production")
        assert args_of(tree.children[1]) == {
            "url": "u",
            "deep": {"a": 1, "b": 3},
            "list": [9],
            "more": "x",
        }
        assert tree.children[1].restart == "transient"

    def test_the_kind_may_be_left_out_where_the_id_says_enough(self) -> None:
        files = {"tree.yaml": BASE, "o.yaml": "name: other\nchildren: [{id: poller, restart: temporary}]"}
        tree = load(files, "o.yaml")
        assert (tree.name, tree.children[1].restart) == ("other", "temporary")

    def test_what_is_removed_is_said(self) -> None:
        over = (
            "remove: [job]\nchildren:\n- {id: last, remove: true}\n"
            "- {worker: poller, remove: [args, restart], args: {only: 1}}\n"
        )
        tree = load({"tree.yaml": BASE, "tree.production.yaml": over}, "production")
        assert (tree.job, ids(tree.children)) == (None, [("services", ["parts", "lock"]), "poller"])
        assert (args_of(tree.children[1]), tree.children[1].restart) == ({"only": 1}, "permanent")

    def test_a_child_of_another_kind_can_take_a_place(self) -> None:
        over = "children: [{id: poller, remove: [worker, run, args, restart], registry: r}]"
        tree = load({"tree.yaml": BASE, "tree.production.yaml": over}, "production")
        assert ids(tree.children) == [("services", ["parts", "lock"]), "poller", "last"]
        assert tree.entry(("poller",)).kind == "registry"  # type: ignore[union-attr]

    def test_later_overlays_lie_over_earlier_ones(self) -> None:
        files = {"tree.yaml": BASE, "tree.a.yaml": "name: a\nmax_restarts: 7", "tree.b.yaml": "name: b"}
        assert (load(files, "a", "b").name, load(files, "b", "a").name) == ("b", "a")
        assert Application.load("tree.yaml", overlays="a").tree.max_restarts == 7

    def test_an_overlay_includes_with_its_own_paths(self) -> None:
        files = {
            "tree.yaml": BASE,
            "sites/north.yaml": "children: [{include: extra.yaml}]",
            "sites/extra.yaml": f"[{work('extra')}, {{worker: last, restart: temporary}}]",
        }
        tree = load(files, "sites/north.yaml")
        assert [(each.id, each.restart) for each in tree.children[2:]] == [
            ("last", "temporary"),
            ("extra", "permanent"),
        ]

    def test_ids_with_variables_and_from_merge_keys_are_the_same_ids(self) -> None:
        base = "children:\n- &a {worker: '${who}', run: 'jobs:work', args: {a: 1}}\n- {<<: *a, id: b}\n"
        over = "children: [{id: w, args: {a: 2}}, {id: b, args: {b: 3}}]"
        tree = load({"tree.yaml": base, "tree.o.yaml": over}, "o", who="w")
        assert [args_of(spec) for spec in tree.children] == [{"a": 2}, {"a": 1, "b": 3}]

    @pytest.mark.parametrize(
        ("over", "expected"),
        [
            ("- a", "tree.o.yaml:1:1: expected a mapping with what is to be changed, got: a list"),
            ("", "tree.o.yaml:1:1: the file is empty"),
            ("nme: x", "tree.o.yaml:1:1: nme: unknown key 'nme'"),
            (
                "children:\n- {worker: poller, resart: never}",
                "tree.o.yaml:2:20: children[1].resart: unknown key 'resart'",
            ),
            (
                "children: [{worker: poller, restart: never}]",
                "tree.o.yaml:1:38: children[1].restart: expected one of permanent, transient, temporary",
            ),
            (
                "children: [{id: poler, restart: temporary}]",
                (
                    "tree.o.yaml:1:12: there is no child 'poler' here to change, and no key says the kind of "
                    "a new one; it has: services, poller, last; did you mean 'poller'?"
                ),
            ),
            (
                "children: [{worker: poler, remove: true}]",
                "tree.o.yaml:1:12: there is no child 'poler' here to remove; it has: services, poller, ",
            ),
            (
                "children: [{id: poller, remove: [arg]}]",
                (
                    "tree.o.yaml:1:34: there is no key 'arg' here to remove; it has: worker, run, args, "
                    "restart; did you mean 'args'?"
                ),
            ),
            (
                "children: [{id: poller, remove: 3}]",
                "tree.o.yaml:1:33: expected true, or a list of keys, got: '3'",
            ),
            (
                "children: [{registry: poller}]",
                "tree.o.yaml:1:13: the child is a 'worker' in tree.yaml:10:4, and here a 'registry'; to put ",
            ),
            ("name: a\nname: b", "tree.o.yaml:2:1: the key 'name' is here twice, first in line 1"),
            ("children:\n- 3", "tree.o.yaml:2:3: children[3]: expected a child such as"),
        ],
    )
    def test_a_mistake_is_told_with_its_file(self, over: str, expected: str) -> None:
        lines = mistakes({"tree.yaml": BASE, "tree.o.yaml": over}, "o")
        assert [line.startswith(expected) for line in lines] == [True], lines

    def test_an_overlay_that_is_not_there_is_told_with_the_nearest(self) -> None:
        [line] = mistakes({"tree.yaml": BASE, "tree.production.yaml": "{}"}, "producton")
        assert line == (
            "tree.producton.yaml:0:0: it cannot be read: No such file or directory; "
            "did you mean 'tree.production.yaml'?"
        )

    @pytest.mark.parametrize("name", ["-", "", " "])
    def test_what_names_no_file_is_refused(self, name: str) -> None:
        [line] = mistakes({"tree.yaml": BASE}, name)
        assert "expected a name, or the path of a file, got" in line

    def test_overlays_are_one_or_several(self) -> None:
        write({"tree.yaml": BASE})
        with pytest.raises(TypeError, match="expected overlays to be a name, a path, or several"):
            Application.load("tree.yaml", overlays=3)  # type: ignore[arg-type]


APP = """
async def app(scope, receive, send): ...
"""
STAGES = """
from resprout.stages import Consumer, Producer

class Numbers(Producer):
    def handle_demand(self, demand, state): ...

class Store(Consumer):
    def handle_events(self, events, from_, state): ...
"""


def test_every_kind_comes_through_includes_and_overlays_alike() -> None:
    """What a child needs may stand in another file, in front of it."""
    pytest.importorskip("confluent_kafka")
    files = {
        "webapp.py": APP,
        "flow.py": STAGES,
        "tree.yaml": "children: [{include: [names.yaml, users.yaml]}, {supervisor: web, include: web.yaml}]",
        "names.yaml": (
            "- {registry: parts}\n- {throttle: lock, num_slots: 1}\n"
            "- {producer: numbers, start: 'flow:Numbers'}\n"
            "- {engine: shared, url: 'postgresql://${file:user}@db/x'}\n- {agent: flags, value: {a: 1}}\n"
        ),
        "user": "me\n",
        "users.yaml": (
            "- {worker: w, run: 'jobs:work', via: [parts, '{index}'], replicas: 2}\n"
            "- {consumer: store, start: 'flow:Store', subscribe_to: [numbers]}\n"
            "- {kafka: k, topics: [a], group: g, handler: 'builtins:print', throttle: lock}\n"
            "- {throttle: far, num_slots: 1, engine: shared}\n"
            "- {dynamic_supervisor: rooms, children: [{include: rooms.yaml}]}\n"
            "- {partition_supervisor: p, children: [{task_supervisor: t}]}\n"
        ),
        "rooms.yaml": "- {worker: lobby, run: 'jobs:work', every: 5m}",
        "web.yaml": "children: [{asgi: api, app: 'webapp:app', port: 0}]",
        "tree.o.yaml": (
            "children:\n- {registry: parts, partitions: 2}\n- {throttle: lock, num_slots: 3}\n"
            "- {consumer: store, subscribe_to: [{to: numbers, max_demand: 7}]}\n"
            "- {agent: flags, value: {b: 2}}\n"
            "- {kafka: k, config: {client.id: me}, topics: [b]}\n"
            "- {dynamic_supervisor: rooms, children: [{worker: lobby, every: 1m}]}\n"
            "- {supervisor: web, children: [{asgi: api, host: 127.0.0.2}]}\n"
        ),
    }
    try:
        tree = load(files, "o")
        tree.close()
    finally:
        for module in ("webapp", "flow"):
            sys.modules.pop(module, None)
    assert [child.kind for child in tree.entries] == [
        *("registry", "throttle", "producer", "engine", "agent", "worker", "consumer", "kafka", "throttle"),
        *("dynamic_supervisor", "partition_supervisor", "supervisor"),
    ]
    [lobby] = tree.entry(("rooms", "lobby")).specs  # type: ignore[union-attr]
    assert lobby.start[1][2].every == 60.0
    assert tree.place(("web", "api")) == "web.yaml:1:12"


def test_a_lifespan_has_overlays_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write({"tree.yaml": "children: [{agent: a, value: 1}]", "over.yaml": "children: [{agent: a, value: 2}]"})
    run = lifespan("tree.yaml", overlays="./over.yaml")
    monkeypatch.chdir("/")

    async def enter() -> int:
        async with run(None):
            state: int = await Agent.aget("a", lambda state: state)
            return state

    assert asyncio.run(enter()) == 2
