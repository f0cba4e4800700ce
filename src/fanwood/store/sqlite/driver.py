"""What is used of the SQLite driver, with types: its own leave out what a row may hold."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, Protocol

import apsw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path


reading_lock = threading.Lock()
"""A fork waits for it: a lock of SQLite that a reading thread held then would be held for ever in the new process."""
_held: list[bool] = []  # by a fork


def _hold() -> None:
    _held.append(reading_lock.acquire())


def _let_go() -> None:
    if _held:  # else this module was loaded by another thread while the fork was being prepared
        _held.pop()
        reading_lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold, after_in_parent=_let_go, after_in_child=_let_go)


class Cursor(Protocol):
    """The rows of one statement."""

    @property
    def get(self) -> Any:
        """The first row's value (or values, if it has several); None without rows."""
        ...

    def get_description(self) -> Sequence[Sequence[str]]:
        """Of each column its name, and more."""
        ...

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...

    def __iter__(self) -> Iterator[Any]: ...

    def close(self) -> None: ...


class Database(Protocol):
    """One connection."""

    @property
    def in_transaction(self) -> bool: ...

    def execute(self, statements: str, bindings: Mapping[str, Any] | Sequence[Any] | None = None, /) -> Cursor: ...

    def pragma(self, name: str, value: Any = ..., /) -> Any: ...

    def changes(self) -> int:
        """How many rows the last statement changed."""
        ...

    def data_version(self) -> int:
        """Changes with every commit, ours and (once a transaction has begun that sees them) those of others."""
        ...

    def readonly(self, name: str, /) -> bool: ...

    def set_progress_handler(self, handler: Callable[[], bool], steps: int, /) -> None:
        """Call it after so many steps; True gives the statement up."""
        ...

    def set_busy_handler(self, handler: Callable[[int], bool], /) -> None: ...

    def close(self) -> None: ...


# SQLite takes any bytes for text, if somebody writes them by hand, and the driver does not give out what isn't UTF-8.


def damaged(path: Path, what: str) -> str:
    """What happened to a file, and what to do. (SQLite can't make a damaged index anew in its place.)"""
    return (
        f"{path} is damaged ({what}). If it is only one of its indexes, a copy is whole: stop what uses the file, and "
        f"run fanwood db copy sqlite:///{path} sqlite:///{path}.new. If that can't read it either: a backup, or what "
        f"SQLite's own .recover finds."
    )


def in_bytes(statement: str) -> str:
    """A statement that yields one text, which is to come as bytes."""
    return f"select cast(({statement}) as blob)"


def mended(text: bytes | None) -> str | None:
    """What can be read of a text."""
    return None if text is None else text.decode("utf-8", "replace")


class Lenient:
    """A connection for reading that shows as much of a text as can be read."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.pragma = database.pragma

    def execute(self, statements: str, bindings: Mapping[str, Any] | Sequence[Any] | None = None, /) -> Rows:
        cursor = self._database.execute(f"select * from ({statements}) limit 1", bindings)
        try:
            names = [column[0] for column in cursor.get_description()]
        except apsw.ExecutionCompleteError:  # there are no rows
            return Rows([])
        finally:
            cursor.close()
        kinds = [f"""typeof("{name}") = 'text'""" for name in names]
        columns = [
            f"""case when {kind} then cast("{name}" as blob) else "{name}" end"""
            for kind, name in zip(kinds, names, strict=True)
        ]
        found = self._database.execute(f"select {', '.join(columns + kinds)} from ({statements})", bindings).fetchall()
        count = len(names)
        return Rows(
            [
                tuple(
                    mended(value) if is_text else value for value, is_text in zip(row[:count], row[count:], strict=True)
                )
                for row in found
            ]
        )


class Rows:
    """The rows of one statement, read already."""

    def __init__(self, rows: list[Any]) -> None:
        self._rows = rows

    @property
    def get(self) -> Any:
        """As a cursor's."""
        if not self._rows:
            return None
        return self._rows[0] if len(self._rows[0]) > 1 else self._rows[0][0]

    def fetchone(self) -> Any:
        return next(iter(self._rows), None)

    def fetchall(self) -> list[Any]:
        return self._rows

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)

    def close(self) -> None:
        pass
