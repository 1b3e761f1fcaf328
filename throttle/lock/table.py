"""The process-wide table of locks. A name leads to a ledger, not to a process, so nobody sees a restart."""

from __future__ import annotations

from collections.abc import Callable

from ...actors import LockNotFound, telemetry
from ...actors.engine import first_use, replace
from ..ledger.values import check_name
from .lock_core import Book
from .settings import Settings

books: dict[str, Book] = {}


def _nothing(name: str) -> None:
    """Stand for the renewal of locks, where there is nothing to renew."""


def _nothing_to_restore(book: Book) -> None:
    """Stand for the restoration of locks, before there is a tree for them."""


class Table:
    """Lock-free: a change is one operation on a dict; a book is only forgotten inside its gate."""

    __slots__ = ("_highest", "inherited", "renew", "restore")

    def __init__(self) -> None:
        self._highest: dict[int, int] = {0: 0}
        """Under 0, the highest token that a forgotten lock has given."""
        self.inherited: dict[str, Settings] = {}
        """In a forked child: the locks that its parent had, until there is one of that name here."""
        self.renew: Callable[[str], Book | None] = _nothing
        """In a forked child: makes one of those anew (see forked)."""
        self.restore: Callable[[Book], object] = _nothing_to_restore
        """Starts the process of a lock again that belongs to the library's own tree (see tree)."""

    def find(self, name: str) -> Book:
        """Return the book of a lock.

        Raises:
            LockNotFound: no lock has that name.
        """
        book = books.get(name)
        if book is None or book.ledger.closed:
            if first_use():
                return self.find(name)
            book = self.renew(check_name(name))
            if book is None:
                raise LockNotFound(name)
        return book

    def open(self, settings: Settings) -> Book:
        """Return the book that a new lock process is to adopt: that of its former life, else a new one."""
        book = books.get(settings.name)
        if book is None:
            # Whoever is first; a second lock process of that name does not come this far.
            book = books.setdefault(settings.name, Book(settings, self))
        return book

    def highest_token(self) -> int:
        """Return the highest token that a forgotten lock has given, so that its successor's are higher."""
        return self._highest[0]

    def keep(self, book: Book) -> None:
        """Have it found by its name."""
        books[book.settings.name] = book
        self.inherited.pop(book.settings.name, None)

    def orphaned(self, book: Book) -> None:
        """Have its process started again."""
        self.restore(book)

    def forget(self, book: Book) -> None:
        """Have it found no more, if it is found."""
        name = book.settings.name
        if books.get(name) is book:
            self.note_token(book)
            del books[name]

    def note_token(self, book: Book) -> None:
        """Have those of later locks be higher than what this one has given."""
        given = book.ledger.token
        while True:
            highest = self._highest[0]
            if given <= highest or replace(self._highest, 0, highest, given):
                break


table = Table()


def _hear() -> None:
    for book in list(books.values()):
        book.hear()


# So that no step has to look whether anybody listens.
telemetry.on_change(_hear)
