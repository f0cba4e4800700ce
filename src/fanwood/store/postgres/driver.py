"""What is used of the PostgreSQL driver, with types; and the driver itself, loaded where it is used.

Its own stubs are generic over record classes that nothing here cares about.
"""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol

from fanwood.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType


class Connection(Protocol):
    """One connection."""

    async def fetch(self, query: str, /, *args: Any) -> list[Any]: ...

    async def fetchval(self, query: str, /, *args: Any) -> Any: ...

    async def execute(self, query: str, /, *args: Any) -> str:
        """Without arguments it may be several statements; the tag of the last, such as "UPDATE 3"."""
        ...

    async def copy_records_to_table(
        self, table_name: str, /, *, records: Sequence[tuple[Any, ...]], columns: Sequence[str], schema_name: str
    ) -> str: ...

    async def add_listener(self, channel: str, callback: Callable[[Any, int, str, Any], None], /) -> None: ...

    async def remove_listener(self, channel: str, callback: Callable[[Any, int, str, Any], None], /) -> None: ...

    def add_termination_listener(self, callback: Callable[[Any], None], /) -> None: ...

    def get_server_pid(self) -> int: ...

    def is_closed(self) -> bool: ...

    def terminate(self) -> None:
        """Close it at once, whatever it is doing."""
        ...

    async def close(self, *, timeout: float | None = None) -> None: ...


def driver() -> ModuleType:
    """The module `asyncpg`.

    Raises:
        SettingsError: it isn't installed.
    """
    try:
        import asyncpg  # noqa: PLC0415  (the extra [postgres]; only where it is used)
    except ImportError as error:
        raise SettingsError(
            f"A PostgreSQL URL needs the driver asyncpg, which can't be imported ({error}). "
            f"Install it: pip install 'fanwood[postgres]'"
        ) from None
    return asyncpg


FIRST_OF_USERS = 16384
"""Types with lower numbers are the server's own, the same in every database."""


@functools.cache
def connection_class() -> type[Any]:
    """The driver's connection; what one has found out about the server's own types, the next ones know.

    The driver asks for each kind of array, on each connection, by a query that takes longer than all else that is said
    on most connections. Where it should ask in another way some day, it asks as often as it does by itself.
    """
    known: dict[frozenset[int], Any] = {}

    base: Any = driver().Connection

    class Connection(base):
        async def _introspect_types(self, typeoids: Any, timeout: Any) -> Any:
            asked = frozenset(typeoids)
            if asked in known:
                return known[asked], SimpleNamespace(name="asked before")
            found, statement = await base._introspect_types(self, typeoids, timeout)  # noqa: SLF001  (the one that we stand before)
            if all(each["oid"] < FIRST_OF_USERS for each in found):
                known[asked] = found
            return found, statement

    return Connection
