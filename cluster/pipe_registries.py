"""The pipe of a placed child as an engine: it uses the registries of its parent by their names.

``Registries`` is what both ends find in the entry points of ``resprout.placed``: the child looks for
registries there (``find``), the parent for who answers (``serve``).
"""

from __future__ import annotations

import os
import pickle

from ..registry.placed import Table, tables
from ..supervision.engine import REGISTRIES, Link, ask_parent, parents
from .pipe_key_messages import OpenedRegistry, OpenRegistry
from .pipe_key_parent import ChildsKeys, assert_again
from .pipe_registry import ParentTable, by_number, parent_died, told
from .settings import this_node


class Registries:
    """See the module."""

    @staticmethod
    def serve(link: Link) -> ChildsKeys:
        """In the parent: what answers a child."""
        return ChildsKeys(link)

    @staticmethod
    def find(name: str) -> Table | None:
        """In the child: a registry of the parent's; None where that has none of the name. One round trip.

        Raises:
            ValueError: its keys are duplicate.
        """
        _listen()
        answer = ask_parent(REGISTRIES, pickle.dumps(OpenRegistry(name, this_node())))
        if answer is None:
            return None
        opened: OpenedRegistry = pickle.loads(answer)
        if not opened.unique:
            raise ValueError(
                f"expected a registry of the tree that is used in a child under `placement: process` to have "
                f"keys 'unique', as nobody can be sent anything across, got: {name!r}, which has duplicate "
                f"ones; have the parent look up or dispatch, around the call to the child or when that asks"
            )
        made = ParentTable(opened)
        there = tables.setdefault(name, made)
        if there is made:
            # Nobody waits for that, as a step of theirs may be what has looked for it.
            assert_again(made)
        else:
            # Somebody else was faster.
            made.shared.close()
        return there


def _listen() -> None:
    """In the child, from the first use on: hear what the parent says."""
    if parents and REGISTRIES not in parents[0].on_told:
        parents[0].on_end.append(parent_died)
        parents[0].on_told[REGISTRIES] = told


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=by_number.clear)
