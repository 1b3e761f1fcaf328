"""Where children stand in a running tree: every place in order, and the place that a word means.

It reads the tables that supervisors publish, and asks nobody. Nothing is made for the children that are not
looked at, so a page of a large tree costs what it shows and a step for each child before it.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from itertools import islice

import attrs

from ..actors import Pid, process
from ..supervision.engine import Child, children_of, row_under, siblings_of
from .errors import Refusal, near
from .words import label

__all__ = ["ROOT", "Place", "child_above", "find", "place_of", "top_of", "walk"]

ROOT = "/"
"""What the root of a tree is called."""
_CANDIDATES = 2_000
"""Of how many places the nearest is looked for."""
_PID = re.compile(r"<?0\.(\d{1,18})(?: [^>]*)?>?")


@attrs.frozen
class Place:
    """A process that is spoken of: mostly a child, with the row of its supervisor's table.

    Args:
        path: The ids down to it, as text; empty for the root, None for what is no part of the tree.
        pid: Its process, if it has one.
        row: The row of its supervisor's table; None for the root and for what is no child.
        supervisor: Whose child it is.
    """

    path: tuple[str, ...] | None
    pid: Pid | None
    row: Child | None = None
    supervisor: Pid | None = None

    @property
    def label(self) -> str:
        """Its path as people write it; the text of its Pid if it has none."""
        if self.path is None:
            return str(self.pid)
        return "/".join(self.path) or ROOT


def top_of(root: Pid) -> Place:
    """The place of the root."""
    return Place((), root)


def walk(top: Place, skip: int = 0, closed: Container[str] = ()) -> Iterator[Place]:
    """A place with all below it, parents first, in start order.

    Args:
        top: The place.
        skip: How many to leave out first.
        closed: The paths of those of which what is below them is left out.
    """
    if skip <= 0:
        yield top
    skip -= 1
    waiting = [] if top.label in closed else [_level(top)]
    while waiting:
        supervisor, path, keeps, rows = waiting[-1]
        row = next(rows, None)
        if row is None:
            waiting.pop()
            continue
        below = row.spec.type == "supervisor"
        if skip > 0 and not below:
            skip -= 1
            continue
        here = Place((*path, _id(row, keeps)), _runs(row), row, supervisor)
        if skip <= 0:
            yield here
        skip -= 1
        if below and here.label not in closed:
            waiting.append(_level(here))


Level = tuple[Pid | None, tuple[str, ...], bool, Iterator[Child]]


def _level(place: Place) -> Level:
    """The supervisor of those below a place, its path, whether it keeps who is down, and their rows."""
    pid = place.pid
    siblings = None if pid is None or place.path is None else siblings_of(pid)
    if pid is None or place.path is None or siblings is None:
        return None, (), True, iter(())
    return pid, place.path, siblings.keeps, iter(children_of(pid))


def _below(place: Place) -> Iterator[Place]:
    """The places right below one."""
    supervisor, path, keeps, rows = _level(place)
    for row in rows:
        yield Place((*path, _id(row, keeps)), _runs(row), row, supervisor)


def _id(row: Child, keeps: bool) -> str:
    """What a child is called among its siblings: under a dynamic supervisor, where ids may be the same, with
    its number.
    """
    return label(row.spec.id) if keeps else f"{label(row.spec.id)} #{row.key}"


def _runs(row: Child) -> Pid | None:
    pid = row.pid
    return pid if row.state == "running" and pid is not None and pid.alive else None


def place_of(pid: Pid) -> Place:
    """The place of a process; without a path if it is no child, nor the root, of a tree."""
    ids: list[str] = []
    first: Place | None = None
    below = pid
    above = pid.parent
    while above is not None:
        siblings = siblings_of(above)
        if siblings is None:
            break
        row = row_under(above, below)
        if row is None:
            return Place(None, pid)
        ids.append(_id(row, siblings.keeps))
        if first is None:
            first = Place(None, pid, row, above)
        below, above = above, above.parent
    if first is None:
        return Place(() if siblings_of(pid) is not None else None, pid)
    return attrs.evolve(first, path=tuple(reversed(ids)))


def child_above(pid: Pid) -> tuple[str, ...] | None:
    """The path of the child that a process is, or was started by: its own log and its tasks' are one."""
    below: Pid | None = pid
    for _ in range(64):
        if below is None:
            return None
        place = place_of(below)
        if place.row is not None:
            return place.path
        below = below.parent
    return None


def find(root: Pid | None, word: str) -> Place:
    """The place that a word means.

    Args:
        root: The root of the tree, None while there is none.
        word: A path (`services/api`, `/` for the root; under a dynamic supervisor `users/ann #3`, or without
            the number if there is only one), the text of a Pid (`0.42`, `<0.42 api>`), or a registered name.

    Raises:
        Refusal: There is no such place; the refusal names the nearest.
    """
    if root is not None:
        if word in (ROOT, ""):
            return top_of(root)
        found = _down(top_of(root), word.strip(ROOT))
        if found is not None:
            return found
    pid = _by_number(word) or process.whereis(word)
    if pid is None:
        raise Refusal("unknown_process", f"there is no process {word!r}", _near(root, word))
    found = place_of(pid)
    # Another tree of this program has paths, too, but they would be taken for this one's.
    return found if found.path is None or _is_below(root, pid) else attrs.evolve(found, path=None)


def _by_number(word: str) -> Pid | None:
    match = _PID.fullmatch(word)
    if match is None:
        return None
    number = int(match[1])
    return next((pid for pid in process.processes() if pid.id == number), None)


def _is_below(root: Pid | None, pid: Pid) -> bool:
    above: Pid | None = pid
    while above is not None and above is not root:
        above = above.parent
    return above is not None


def _down(top: Place, word: str) -> Place | None:
    """The place below another one that a path means; ids may have slashes of their own."""
    at_once = _straight(top, word)
    if at_once is not None:
        return at_once
    alone = []
    for here in _below(top):
        assert here.path is not None
        assert here.row is not None
        id = here.path[-1]
        if word == id:
            return here
        if word == label(here.row.spec.id):
            alone.append(here)
        elif word.startswith(f"{id}/") and (found := _down(here, word[len(id) + 1 :])) is not None:
            return found
    return alone[0] if len(alone) == 1 else None


def _straight(top: Place, word: str) -> Place | None:
    """The same by the tables' own keys, for ids that are plain words: no table is read from end to end."""
    here = top
    for part in word.split("/"):
        siblings = None if here.pid is None else siblings_of(here.pid)
        row = siblings.table.get(part) if siblings is not None and siblings.keeps else None
        if row is None or here.path is None:
            return None
        here = Place((*here.path, part), _runs(row), row, here.pid)
    return here


def _near(root: Pid | None, word: str) -> tuple[str, ...]:
    paths = [] if root is None else [place.label for place in islice(walk(top_of(root)), _CANDIDATES)]
    by_id = {path.rpartition("/")[2]: path for path in paths}
    meant = [by_id.get(each, each) for each in near(word, [*paths, *by_id])]
    return tuple(dict.fromkeys(meant))
