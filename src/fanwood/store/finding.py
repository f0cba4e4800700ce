"""Runs by the beginning or the end of their ids.

The beginning is a lookup by the table's key. The end is in no index, for one would be written at a random place with
each run: ids are looked through, the newest first, in looks of bounded size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from fanwood.errors import RunNotFoundError
from fanwood.model.looks import LAST_ID

if TYPE_CHECKING:
    from collections.abc import Awaitable

ID_DIGITS, SHORTEST_TAIL = 32, 4
FAR = 50_000
"""Ids that one look goes through."""
LOOKS = 2_000
"""Those that are taken, at most."""
SIFTED = 200
"""Of so many ids with the same last bytes the half byte before them is looked at."""


class Rows(Protocol):
    """A statement of `sql/reading.sql`, by its name."""

    def __call__(self, name: str, /, **bindings: Any) -> Awaitable[list[Any]]: ...


async def find(rows: Rows, digits: str, limit: int) -> list[bytes]:
    """See `Store.find`.

    Raises:
        RunNotFoundError: these are no digits of an id.
    """
    digits_ = digits.replace("-", "").lower()
    if not digits_ or len(digits_) > ID_DIGITS or not set(digits_) <= set("0123456789abcdef"):
        raise RunNotFoundError(f"{digits!r} is not a run id, nor the beginning or the end of one")
    low, high = (bytes.fromhex(digits_.ljust(ID_DIGITS, digit)) for digit in "0f")
    found = [row[0] for row in await rows("runs_from", low=low, high=high, limit=limit)]
    if found or not SHORTEST_TAIL <= len(digits_) < ID_DIGITS:
        return found
    odd = len(digits_) % 2
    tail = bytes.fromhex(digits_[odd:])
    about = {"start": ID_DIGITS // 2 - len(tail) + 1, "tail": tail, "limit": SIFTED if odd else limit}
    before, at = LAST_ID, -len(digits_)
    for _ in range(LOOKS):
        *ending, (last,) = await rows("ids_ending_in", before=before, lowest=b"", far=FAR, **about)
        found = [id_ for (id_,) in ending if not odd or id_.hex()[at] == digits_[0]]
        if found or last is None:  # who gives a few digits means what is new
            break
        before = last
    return found[:limit]
