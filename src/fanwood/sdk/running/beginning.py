"""How many waits of one attempt begin in one turn of its loop, and how much that was recorded is given to its code.

Of fifty thousand that are gathered all would: each takes a tenth of a millisecond, and for seconds nothing else on that
loop would have its turn.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio


class Beginning:
    """Those that begin on one loop, so many in a turn. Who comes first begins first, also before whoever comes while
    he is let in and has not gone on yet: of equal ones the number is taken after that, each time the same."""

    __slots__ = ("_begun", "_coming", "_most", "_turns", "_waiting", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, most: int) -> None:
        self.loop = loop
        self._most = most
        self._begun = 0  # in this turn
        self._turns = False  # `_next` is called in the next one
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._coming = 0  # let in, and not gone on yet

    def __bool__(self) -> bool:
        """Whether some have not begun."""
        return bool(self._waiting or self._coming)

    def place(self) -> asyncio.Future[None] | None:
        """What to wait for, by `come`, before one more begins; None: it begins now."""
        if not self._turns:
            self._turns = True
            self.loop.call_soon(self._next)
        if self._begun >= self._most or self:
            self._waiting.append(place := self.loop.create_future())
            return place
        self._begun += 1
        return None

    async def come(self, place: asyncio.Future[None]) -> None:
        """Wait for that."""
        try:
            await place
        finally:
            if place.done() and not place.cancelled():
                self._coming -= 1
            place.cancel()

    def _next(self) -> None:
        self._begun = 0
        while self._waiting and self._begun < self._most:
            place = self._waiting.popleft()
            if not place.done():  # else it was given up
                place.set_result(None)
                self._begun += 1
                self._coming += 1
        self._turns = bool(self._begun or self._waiting)
        if self._turns:
            self.loop.call_soon(self._next)
