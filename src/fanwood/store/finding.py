"""Runs by the beginning or the end of their ids.

The beginning is a lookup by the table's key. The end is in no index, for one would be written at a random place with
each run. So who looks pays: ids are looked through, the newest first, in looks of bounded size, and the last bytes of
those that are not quite new are kept in memory. The next one who asks looks through these: a millisecond for a million.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from fanwood.errors import RunNotFoundError
from fanwood.ids import first_id
from fanwood.model.looks import LAST_ID

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator

ID, CLOCK, ID_DIGITS, SHORTEST_TAIL = 16, 6, 32, 4
FAR = 20_000
"""Ids that one look goes through."""
LOOKS = 5_000
"""Those that are taken, at most."""
END = 4
"""Bytes of each id that are kept."""
BLOCKS = 400
"""Of `FAR` ends each, that are kept: 32 MB. Older ones are looked through each time."""
NEWEST, OTHERS = 3, 5
"""Blocks that one search counts anew: the newest, and of the others those whose turn it is. That takes some tens of
milliseconds, however many there are. What came much later than its id says may be found by a later search only."""
NEW = 10_000
"""Milliseconds in which what has an id is stored. Of what is that new, ends are not kept."""


class Rows(Protocol):
    """A statement by its name."""

    def __call__(self, name: str, /, **bindings: Any) -> Awaitable[list[Any]]: ...


class Block(NamedTuple):
    """The ends of all ids from one, which is included, to another, which is not; in no order."""

    low: bytes
    high: bytes
    ends: bytes


class Ends:
    """What one store keeps of ids' ends, once somebody has asked: blocks with no gap in between, the newest first."""

    def __init__(self) -> None:
        self.blocks: tuple[Block, ...] = ()
        self.turn = 0  # of the blocks that are not the newest, the one that is counted next

    def suspects(self) -> list[Block]:
        """The blocks that are counted anew in this search."""
        others = self.blocks[NEWEST:]
        at = self.turn if self.turn < len(others) else 0
        self.turn = at + OTHERS
        return [*self.blocks[:NEWEST], *others[at : at + OTHERS]]

    def keep(self, blocks: list[Block]) -> None:
        joined: list[Block] = []
        for block in blocks:
            if joined and len(joined[-1].ends) + len(block.ends) <= FAR * END:
                joined[-1] = Block(block.low, joined[-1].high, joined[-1].ends + block.ends)
            else:
                joined.append(block)
        self.blocks = tuple(joined[:BLOCKS])


async def find(rows: Rows, digits: str, limit: int, ends: Ends) -> list[bytes]:
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
    search = _Search(rows, digits_, ends.blocks)
    found = await search.sought() or await search.recounted(ends.suspects())
    if search.is_whole and ends.blocks is search.known:  # and nobody else was quicker
        ends.keep(search.passed)
    return found[:limit]


class _Search:
    """From the newest id to the oldest, what is known and what is not. Who gives a few digits means what is new: the
    first look that finds some is the last."""

    def __init__(self, rows: Rows, digits: str, known: tuple[Block, ...]) -> None:
        self.known = known
        self.passed: list[Block] = []
        self._rows = rows
        self._digits = digits
        self._tail = bytes.fromhex(digits[len(digits) % 2 :])[-END:]
        self._new: bytes | None = None  # from here on ids are new
        self._left = LOOKS

    @property
    def is_whole(self) -> bool:
        """Whether no id lies between what was passed by."""
        return self._left > 0

    async def sought(self) -> list[bytes]:
        """What ends so, if what is known is all there is."""
        at = LAST_ID
        for number, block in enumerate(self.known):
            if block.high < at and (found := await self._walked(at, block.high)):  # before the first one
                self.passed = list(self.known)
                return found
            if next(_places(block.ends, self._tail), None) is None:
                self.passed.append(block)
            elif found := await self._anew(block, len(self.passed)):
                self.passed += self.known[number + 1 :]
                return found
            at = block.low
        return await self._walked(at, b"") if at else []

    async def recounted(self, blocks: list[Block]) -> list[bytes]:
        """What ends so, of what was not there when its neighbours in these blocks were looked through: some are stored
        later than their ids say. (Where some are gone, it is looked through, too.)"""
        for block in blocks:
            (count,) = (await self._rows("ids_counted", lowest=block.low, before=block.high))[0]
            at = next((number for number, one in enumerate(self.passed) if one is block), None)
            if at is not None and count * END != len(block.ends):
                del self.passed[at]
                if found := await self._anew(block, at, whole=True):
                    return found
        return []

    async def _anew(self, block: Block, at: int, *, whole: bool = False) -> list[bytes]:
        """Look through a block again, which stands at that place. `whole`: also what is older than what ends so."""
        rest, self.passed = self.passed[at:], self.passed[:at]
        found = await self._walked(block.high, block.low, whole=whole)
        self.passed = [*self.passed[:at], block, *rest] if found and not whole else [*self.passed, *rest]
        return found

    async def _walked(self, before: bytes, lowest: bytes, *, whole: bool = False) -> list[bytes]:
        """What ends so, between two ids."""
        found: list[bytes] = []
        while self._left:
            self._left -= 1
            given = (await self._rows("ids_before", before=before, lowest=lowest, far=FAR))[0][0] or b""
            ids: bytes = bytes.fromhex(given) if isinstance(given, str) else given
            low = lowest if len(ids) < FAR * ID else ids[-ID:]
            self._pass(low, before, ids)
            found += self._matching(ids)
            if low == lowest or (found and not whole):
                break
            before = low
        return found

    def _pass(self, low: bytes, high: bytes, ids: bytes) -> None:
        """Remember what need not be read again."""
        if self._new is None:
            self._new = first_id(int.from_bytes(ids[:CLOCK], "big") - NEW)
        if low < self._new:
            begin = next((at for at in range(0, len(ids), ID) if ids[at : at + ID] < self._new), len(ids))
            self.passed.append(Block(low, min(high, self._new), _ends(ids[begin:])))

    def _matching(self, ids: bytes) -> list[bytes]:
        near = (ids[at * ID : at * ID + ID] for at in _places(_ends(ids), self._tail))
        return [id_ for id_ in near if id_.hex().endswith(self._digits)]


def _ends(ids: bytes) -> bytes:
    ends = bytearray(len(ids) // ID * END)
    for at in range(END):
        ends[at::END] = ids[ID - END + at :: ID]
    return bytes(ends)


def _places(ends: bytes, tail: bytes) -> Iterator[int]:
    """Numbers of those that end so."""
    at = ends.find(tail)
    while at >= 0:
        number, rest = divmod(at + len(tail), END)
        if not rest:
            yield number - 1
        at = ends.find(tail, at + 1)
