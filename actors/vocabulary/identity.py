"""Who a process is, and whether it lives: the part of a Pid that errors, reports and the runtime speak of."""

from __future__ import annotations

from typing import Any, NoReturn

from .pykka_types import RefBase


class Identity(RefBase):
    """See the module. The only kind of it is `Pid`, which makes it; all of it is told there."""

    __slots__ = ("_fate", "_gone", "actor", "id", "name", "parent")

    id: int
    """Rises with every process of this interpreter."""
    name: object
    actor: Any
    parent: Any
    """The Pid of who has started it."""
    _fate: tuple[object, ...]
    """Empty while it lives, then its exit reason."""
    _gone: bool

    kind = "process"
    pooled = False
    """Whether it is a thread that runs other people's calls one after another (see ``offloaded``)."""
    starter: Any = None
    """Of a server whose init runs: who has started it, and waits for that."""

    # -- identity ------------------------------------------------------------

    def __str__(self) -> str:
        label = self.label
        return f"<0.{self.id} {label}>" if label else f"<0.{self.id}>"

    __repr__ = __str__

    @property
    def label(self) -> str:
        """What people call it: its name, else its class."""
        if self.name is not None:
            return str(self.name)
        return type(self.actor).__name__ if self.actor is not None else ""

    def __lt__(self, other: Identity) -> bool:
        return self.id < other.id if isinstance(other, Identity) else NotImplemented

    def __le__(self, other: Identity) -> bool:
        return self.id <= other.id if isinstance(other, Identity) else NotImplemented

    def __gt__(self, other: Identity) -> bool:
        return self.id > other.id if isinstance(other, Identity) else NotImplemented

    def __ge__(self, other: Identity) -> bool:
        return self.id >= other.id if isinstance(other, Identity) else NotImplemented

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{self} cannot be pickled: a Pid names a process of this interpreter only")

    def __copy__(self) -> Identity:
        return self

    def __deepcopy__(self, memo: object) -> Identity:
        return self

    # -- life ----------------------------------------------------------------

    @property
    def alive(self) -> bool:
        """Whether it lives. A process that is dead never comes back."""
        return not self._fate

    @property
    def dead(self) -> bool:
        """The opposite of alive."""
        return bool(self._fate)

    @property
    def exit_reason(self) -> object:
        """Why it ended; None while it lives."""
        fate = self._fate
        return fate[0] if fate else None

    @property
    def left(self) -> bool:
        """Whether it is dead and no code of it runs any more. Dead but not left is a straggler."""
        return self._gone
