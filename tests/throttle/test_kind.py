"""``throttle:`` in a tree file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from resprout import throttle
from resprout.actors import ConfigError
from resprout.supervision.trees.kinds import Common
from resprout.throttle.kind import ThrottleChild


def test_a_throttle_child_is_a_lock_with_its_options() -> None:
    child = ThrottleChild("kafka", 2, max_waiting=10, fairness="eventual")
    (spec,) = child.child_specs(Common(id="limit", restart="transient"))
    assert (spec.id, spec.restart) == ("limit", "transient")
    (settings,) = spec.start[1]
    assert (settings.name, settings.num_slots) == ("kafka", 2)
    assert (settings.max_waiting, settings.fairness) == (10, "eventual")


@pytest.mark.parametrize(
    "options",
    [{"num_slots": 0}, {"num_slots": 1, "max_waiting": -1}, {"num_slots": 1, "throttle": ""}],
)
def test_bad_values_are_refused_before_anything_starts(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        ThrottleChild(**{"throttle": "kafka", **options})


def test_a_tree_file_owns_the_locks_that_it_declares(tmp_path: Path) -> None:
    application = pytest.importorskip("resprout.supervision.trees.application")
    file = tmp_path / "tree.yaml"
    file.write_text("name: small\nchildren:\n  - {throttle: from yaml, num_slots: 2}\n", encoding="utf-8")
    tree = application.Application.load(str(file))
    tree.start()
    assert throttle.lock_info("from yaml") == throttle.LockInfo("from yaml", 2, None, "strict")
    with throttle.slot("from yaml"):
        pass
    tree.stop()
    assert "from yaml" not in throttle.locks()
    file.write_text("name: small\nchildren:\n  - {throttle: from yaml, num_slots: 0}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="num_slots"):
        application.Application.load(str(file))
