"""Arrays in the server's binary form.

A commit is some fifty arrays. The driver's own way to write one is made for arrays of any shape: it asks of each value
whether that is an array itself, which takes several times as long as to write it. Ours have one dimension.
"""

from __future__ import annotations

import struct
from itertools import repeat
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from fanwood.store.postgres.driver import Connection

    Write = Callable[[list[Any]], bytes]

_LENGTH = struct.Struct(">i").pack
_NULL = _LENGTH(-1)
_HEADER = struct.Struct(">iiIii").pack
"""How many dimensions, whether there are nulls, the type of the elements, how many, the number of the first."""


def _numbers(code: str) -> Write:
    """Elements that `struct` knows as `code`."""
    one = struct.Struct(f">i{code}")
    size = one.size - len(_NULL)

    def write(values: list[Any]) -> bytes:
        first = values[0]
        if first is not None and values.count(first) == len(values):  # most columns: of one call, or of one kind
            return one.pack(size, first) * len(values)
        if None in values:
            return b"".join([_NULL if value is None else one.pack(size, value) for value in values])
        return b"".join(map(one.pack, repeat(size), values))

    return write


def _bytes(values: list[bytes | None]) -> bytes:
    return b"".join([_NULL if value is None else _LENGTH(len(value)) + value for value in values])


def _texts(values: list[str | None]) -> bytes:
    return _bytes([None if value is None else value.encode() for value in values])


_TYPES: dict[str, tuple[int, int, Write]] = {
    "bool[]": (1000, 16, _numbers("?")),
    "bytea[]": (1001, 17, _bytes),
    "smallint[]": (1005, 21, _numbers("h")),
    "integer[]": (1007, 23, _numbers("i")),
    "text[]": (1009, 25, _texts),
    "bigint[]": (1016, 20, _numbers("q")),
}
"""The numbers of a type and of that of its elements, the same on every server; and how to write elements."""


def _writer(element: int, write: Write) -> Callable[[list[Any]], bytes]:
    empty = struct.pack(">iiI", 0, 0, element)

    def array(values: list[Any]) -> bytes:
        if not values:
            return empty
        return _HEADER(1, None in values, element, len(values), 1) + write(values)

    return array


async def write_arrays(connection: Connection) -> None:
    """From now on the arrays that are sent on this connection are written here. (It may read none then.)

    The driver lets this be chosen for scalar types only; what is asked of it here it does by that. Where it should not
    some day, arrays are written in its own way.
    """
    try:
        choose = connection._protocol.get_settings().add_python_codec  # type: ignore[attr-defined]  # noqa: SLF001
        for name, (oid, element, write) in _TYPES.items():
            choose(oid, name, "pg_catalog", [], "scalar", _writer(element, write), bytes, "binary")
    except (AttributeError, TypeError):
        return
