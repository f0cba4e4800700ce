"""How many waits of one attempt begin in one turn of its loop.

Of fifty thousand that are gathered all would: each takes a tenth of a millisecond, and for seconds nothing else on that
loop would have its turn.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

MOST = 250
"""Some ten milliseconds."""


class Beginning:
    """Those that begin on one loop. Who comes first begins first: of equal ones the number is taken after that."""

    __slots__ = ("_begun", "_waiting", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._begun = 0  # in this turn; more than none: `_next` is called in the next one
        self._waiting: deque[asyncio.Future[None]] = deque()

    def __bool__(self) -> bool:
        """Whether some have not begun."""
        return bool(self._waiting)

    def place(self) -> asyncio.Future[None] | None:
        """What to wait for before one more begins; None: it begins now."""
        if not self._begun:
            self.loop.call_soon(self._next)
        elif self._begun >= MOST or self._waiting:
            self._waiting.append(place := self.loop.create_future())
            return place
        self._begun += 1
        return None

    def _next(self) -> None:
        self._begun = 0
        while self._waiting and self._begun < MOST:
            place = self._waiting.popleft()
            if not place.done():  # else it was given up
                place.set_result(None)
                self._begun += 1
        if self._begun:
            self.loop.call_soon(self._next)
