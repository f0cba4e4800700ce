"""What is read once for an attempt before its code is given any of it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from fanwood.engine.signals import Signal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Reading:
    """Who comes first reads, and who comes meanwhile waits. All go on in the order in which they came, also before
    whoever comes while they are told and have not gone on yet: of equal things that they ask for then, each is to have
    the number that it had when the code was run before."""

    __slots__ = ("_going_on", "_is_read", "_lock", "_reads", "_waiting")

    def __init__(self, *, is_read: bool) -> None:
        self._is_read = is_read
        self._reads = False
        self._lock = threading.Lock()
        self._waiting: dict[Signal, None] = {}  # in this order
        self._going_on: set[Signal] = set()  # told

    @property
    def is_over(self) -> bool:
        """Whether it is read, and nobody is to go on before who comes now."""
        return self._is_read and not self._waiting and not self._going_on

    async def passed(self, hear: Callable[[Signal], Awaitable[None]], read: Callable[[], Awaitable[None]]) -> None:
        """Returns when it is read, by `read`, here or by somebody else. `hear`: waits for a signal, or raises."""
        turn: Signal | None = None
        with self._lock:
            if self.is_over:
                return
            if self._is_read or self._reads or self._waiting or self._going_on:
                self._waiting[turn := Signal()] = None
            else:
                self._reads = True
        if turn is None or await self._wait(hear, turn):
            await self._read(read)

    async def _read(self, read: Callable[[], Awaitable[None]]) -> None:
        try:
            await read()
            self._is_read = True
        finally:
            with self._lock:
                self._reads = False
                self._tell()

    async def _wait(self, hear: Callable[[Signal], Awaitable[None]], turn: Signal) -> bool:
        """Whether it is left to this one to read."""
        goes_on = False
        try:
            await hear(turn)
            goes_on = True
        finally:
            with self._lock:
                self._waiting.pop(turn, None)
                self._going_on.discard(turn)
                if goes_on and not self._is_read:
                    self._reads = True
                elif not self._going_on and not self._reads:
                    self._tell()
        return not self._is_read

    def _tell(self) -> None:
        """Those that wait; if it was not read after all, the first of them, who reads then."""
        told = list(self._waiting) if self._is_read else list(self._waiting)[:1]
        for turn in told:
            del self._waiting[turn]
        self._going_on.update(told)
        for turn in told:
            turn.fire()
