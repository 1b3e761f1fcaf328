from __future__ import annotations

import pytest

from resprout.observer.snapshot import Child, waited_for


def child(label: str, *children: Child, alive: bool = True, dynamic: bool = False) -> Child:
    return Child((label,), process=object() if alive else None, children=children, dynamic=dynamic)


@pytest.mark.parametrize(
    ("children", "expected"),
    [
        ((), []),
        ((child("a", alive=False),), []),
        ((child("a"), child("b"), child("c", alive=False)), ["b"]),
        ((child("a"), child("s", child("x"), child("y"))), ["y"]),
        ((child("a"), child("s", child("x"), child("y", alive=False))), ["x"]),
        ((child("a"), child("s", child("x", alive=False))), ["s"]),
        ((child("s", *(child(f"d{n}", dynamic=True, alive=n != 1) for n in range(3))),), ["d0", "d2"]),
    ],
)
def test_a_tree_waits_for_the_last_that_lives_and_for_dynamic_children_together(
    children: tuple[Child, ...], expected: list[str]
) -> None:
    assert [found.label for found in waited_for(children)] == expected
