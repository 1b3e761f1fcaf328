from __future__ import annotations

from typing import Any

import attrs
import pytest

from resprout.registry import Registry, Via
from resprout.registry.kind import RegistryChild


@attrs.frozen
class Common:
    id: str | None = None


def test_a_registry_child_is_one_registry() -> None:
    child = RegistryChild(registry="partitions", keys="duplicate", partitions=2, linger=True)
    (spec,) = child.child_specs(Common())
    assert spec.id == "partitions"
    assert spec.type == "worker"
    start, args, kwargs = spec.start
    assert start is Registry.start_link
    assert args == ()
    assert kwargs["name"] == "partitions"
    assert (kwargs["keys"], kwargs["partitions"], kwargs["linger"]) == ("duplicate", 2, True)


def test_the_id_of_the_file_comes_first() -> None:
    (spec,) = RegistryChild(registry="partitions").child_specs(Common(id="keys"))
    assert spec.id == "keys"
    assert spec.start[2]["name"] == "partitions"


@pytest.mark.parametrize("options", [{"registry": ""}, {"registry": "r", "partitions": 0}])
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        RegistryChild(**options)


def test_keys_of_it_can_be_names() -> None:
    assert RegistryChild.via_name("partitions", 3) == Via("partitions", 3)
