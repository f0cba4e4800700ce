"""What is used of the SQLite driver, with types: its own leave out what a row may hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence


class Cursor(Protocol):
    """The rows of one statement."""

    @property
    def get(self) -> Any:
        """The first row's value (or values, if it has several); None without rows."""
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

    def set_busy_handler(self, handler: Callable[[int], bool], /) -> None: ...

    def close(self) -> None: ...
