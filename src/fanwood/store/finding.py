"""Runs by the beginning or the end of their ids, in looks of bounded size.

An id ends in the low two bytes of its time (`ids.stamped`), so its end says of each minute and a bit which millisecond
it is from. Those are asked for, a span of 1,024 of them in each look, the newest first. Ids that somebody else made
(an `IdSource` of their own) are looked for among the newest runs only, if there is none of ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from fanwood.errors import RunNotFoundError
from fanwood.ids import first_id
from fanwood.model.looks import LAST_ID

if TYPE_CHECKING:
    from collections.abc import Awaitable

ID_DIGITS, SHORTEST_TAIL = 32, 4
TIME_BITS, SPAN_BITS = 16, 26
"""Of a time in milliseconds: those that an id ends in; those in which the times of one span differ."""
SPANS = 1_000
"""Those that are gone through, of 19 hours each. Where no run is, there is none."""
SIFTED = 200
"""Of so many ids with the same last bytes the half byte before them is looked at."""
FAR = 100_000
"""Runs among which ids of others are looked for."""


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
    found = await _of_its_times(rows, about, digits_[:odd])
    if not found:
        walked = [await rows(name, far=FAR, **about) for name in ("roots_ending_in", "children_ending_in")]
        found = _sifted([row for each in walked for row in each], tail, digits_[:odd])
    return found[:limit]


async def _of_its_times(rows: Rows, about: dict[str, Any], half: str) -> list[bytes]:
    """In the newest span that has some, and the one before it: who gives a few digits hears of all that are near."""
    found: list[bytes] = []
    before, low = LAST_ID, int.from_bytes(about["tail"][-2:], "big")
    for _ in range(SPANS):
        newest = await rows("id_before", before=before)
        if not newest:
            break
        begin = int.from_bytes(newest[0][0][:6], "big") >> SPAN_BITS << SPAN_BITS
        times = [first_id(begin + at + low) for at in range(0, 1 << SPAN_BITS, 1 << TIME_BITS)]
        there = _sifted(await rows("of_times", ids=times, **about), about["tail"], half)
        if found or len(there) >= about["limit"]:
            return found + there
        found, before = there, first_id(begin)
    return found


def _sifted(rows: list[Any], tail: bytes, half: str) -> list[bytes]:
    """The newest first. `half`: the digit before the tail, which is whole bytes."""
    at = -2 * len(tail) - 1
    return sorted((row[0] for row in rows if not half or row[0].hex()[at] == half), reverse=True)
