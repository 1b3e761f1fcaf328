"""The JSON Schema of tree files: it takes what check takes, and refuses what is wrong in its form."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from resprout.supervision import Application
from resprout.supervision.trees.kinds import installed_kinds
from resprout.supervision.trees.mistakes import InvalidTree
from resprout.supervision.trees.schema import tree_schema

from .hostile import MODULES, tree_of

ROOT = Path(__file__).resolve().parents[3]
TREE = jsonschema.Draft7Validator(tree_schema())
OVERLAY = jsonschema.Draft7Validator(tree_schema(overlay=True))
OF_FORM = re.compile(
    r"unknown key|expected a key that names|expected a whole number, |expected one of |expected true or false"
    r"|expected text, |expected a list, |expected a mapping|it is missing|expected a child such as"
)
BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.DOTALL | re.MULTILINE)


def wrong(document: object, schema: Any = TREE) -> list[str]:
    return [f"{list(error.absolute_path)}: {error.message}" for error in schema.iter_errors(document)]


@pytest.mark.parametrize("schema", [TREE, OVERLAY], ids=["tree", "overlay"])
def test_it_is_a_schema_that_can_be_written(schema: Any) -> None:
    jsonschema.Draft7Validator.check_schema(schema.schema)
    assert json.loads(json.dumps(schema.schema)) == schema.schema


def test_every_kind_is_in_it_with_what_its_options_mean() -> None:
    definitions = TREE.schema["definitions"]
    assert {name for name in definitions if name.startswith("kind_")} == {
        f"kind_{name}" for name in installed_kinds()
    }
    worker = definitions["kind_worker"]["properties"]
    assert worker["replicas"]["description"].startswith("How many of it")
    assert worker["restart"]["description"].startswith("Whether it is started again")
    assert definitions["kind_asgi"]["properties"]["port"]["default"] == 8000


def test_a_kind_that_cannot_be_loaded_may_have_any_keys() -> None:
    def broken() -> type:
        raise ImportError("half installed")

    schema = jsonschema.Draft7Validator(tree_schema(kinds={"broken": broken}))
    assert wrong({"children": [{"broken": "b", "any": 1}]}, schema) == []
    assert wrong({"children": [{"brken": "b"}]}, schema) != []


TREES = sorted((ROOT / "examples").rglob("*.yaml"))


@pytest.mark.parametrize("path", TREES, ids=lambda path: path.parent.name)
def test_it_takes_every_example(path: Path) -> None:
    assert wrong(yaml.safe_load(path.read_text(encoding="utf-8"))) == []


def test_what_is_laid_over_a_file_that_is_included_need_not_say_what_that_says() -> None:
    lock = {"throttle": "db"}
    assert wrong({"children": [lock]}) != []
    assert wrong({"include": "tree.yaml", "children": [lock]}) == []
    assert wrong({"include": "tree.yaml", "children": [{**lock, "num_slts": 2}]}) != []
    assert wrong({"include": "tree.yaml", "children": [{"throttle": "db", "remove": True}]}) == []
    inner = {"supervisor": "services", "children": [lock]}
    assert wrong({"children": [inner]}) != []
    assert wrong({"children": [{**inner, "include": "services.yaml"}]}) == []
    assert wrong({"children": [{"supervisor": "services"}]}) != []


def blocks() -> Iterator[tuple[str, str]]:
    """The trees, lists of children and overlays in the docs, each with where it stands."""
    for page in sorted((ROOT / "docs").glob("*.md")):
        text = page.read_text(encoding="utf-8")
        for found in BLOCK.finditer(text):
            if "*database" in found[1]:
                continue  # Of a tree that stands above it.
            document = yaml.safe_load(found[1])
            if isinstance(document, list) or {"children", "include"} & set(document):
                yield f"{page.name}:{text.count(chr(10), 0, found.start()) + 1}", found[1]


BLOCKS = list(blocks())


@pytest.mark.parametrize(("place", "text"), BLOCKS, ids=[place for place, _ in BLOCKS])
def test_it_takes_every_tree_in_the_docs(place: str, text: str) -> None:
    schema = OVERLAY if text.startswith("# tree.production.yaml") else TREE
    assert wrong(yaml.safe_load(text), schema) == []


def test_there_are_trees_in_the_docs() -> None:
    assert len(BLOCKS) > 20


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a word",
        "{}",
        "children: 3",
        "children: [3]",
        "children: [{}]",
        "nme: x\nchildren: []",
        "strategy: rest_for_al\nchildren: []",
        "children: [{wrker: w}]",
        "children: [{worker: 3, run: 'a:b'}]",
        "children: [{worker: w, run: a.b}]",
        "children: [{worker: w, run: 'a:b', resart: never}]",
        "children: [{worker: w, run: 'a:b', restart: never}]",
        "children: [{worker: w, run: 'a:b', replicas: -1}]",
        "children: [{worker: w, run: 'a:b', shutdown: 5x}]",
        "children: [{worker: w, run: 'a:b', backoff: {initial: 1s, facto: 2}}]",
        "children: [{worker: w, run: 'a:b', args: [1]}]",
        "children: [{worker: w, run: 'a:b', env: {A: 1}}]",
        "children: [{worker: w, run: 'a:b', remove: true}]",
        "children: [{throttle: t}]",
        "children: [{throttle: t, num_slots: two}]",
        "children: [{registry: r, placement: process}]",
        "children: [{include: a.yaml, restart: transient}]",
        "children: [{include: {a: 1}}]",
        "children: [{supervisor: s}]",
        "children: [{supervisor: s, children: [{worker: w, x: 1}]}]",
        "- {worker: w, x: 1}",
    ],
)
def test_it_refuses_what_is_wrong_in_its_form(text: str) -> None:
    assert wrong(yaml.safe_load(text)) != []


@pytest.mark.parametrize(
    "text",
    [
        "include: base.yaml",
        "children: [{include: [a.yaml, b.yaml]}, {supervisor: s, include: c.yaml}]",
        "- {worker: w, run: 'a:b', replicas: '${n}', significant: '${yes}', restart: '${r:-transient}'}",
        "- {worker: w, run: '${module}:f', shutdown: '${t:-5s}', backoff: {initial: '${wait:-1s}'}}",
        "- {kafka: k, topics: [a], group: g, handler: 'a:b', throttle: lock}",
        "- {throttle: t, num_slots: 1, engine: shared}",
    ],
)
def test_it_takes_what_several_files_and_variables_make_of_a_tree(text: str) -> None:
    assert wrong(yaml.safe_load(text)) == []


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("remove: [job]", True),
        (
            "children: [{id: a, restart: temporary}, {worker: b, remove: true}, {throttle: c, paused: true}]",
            True,
        ),
        ("children: [{supervisor: s, children: [{id: a, remove: [args]}]}]", True),
        ("children: [{restart: temporary}]", False),
        ("children: [{worker: b, resart: temporary}]", False),
        ("children: [{worker: b, restart: never}]", False),
        ("children: [{id: a, remove: sometimes}]", False),
        ("nme: x", False),
    ],
)
def test_of_an_overlay_it_takes_a_part(text: str, right: bool) -> None:
    assert (wrong(yaml.safe_load(text), OVERLAY) == []) is right


def test_it_agrees_with_check_about_hostile_trees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    for module, source in MODULES.items():
        (tmp_path / f"{module}.py").write_text(source)
    path, seen = tmp_path / "tree.yaml", {"taken": 0, "refused": 0}
    for seed in range(200):
        raw = tree_of(seed)
        try:
            document = yaml.safe_load(raw) if len(raw) < 5_000 else None
        except Exception:
            continue
        if not isinstance(document, dict):
            continue
        path.write_bytes(raw)
        try:
            Application.load(path).tree.close()
        except InvalidTree as error:
            reasons = [
                problem.reason for problem in error.problems if not problem.reason.startswith("not YAML")
            ]
            if any(OF_FORM.match(reason) for reason in reasons) and b"${" not in raw and b"<<" not in raw:
                assert wrong(document), (seed, raw, reasons)
                seen["refused"] += 1
        else:
            assert wrong(document) == [], (seed, raw)
            seen["taken"] += 1
    assert seen["taken"] > 0
    assert seen["refused"] > 15
    for name in MODULES:
        sys.modules.pop(name, None)
