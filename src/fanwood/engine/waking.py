"""The engine's loop sleeps until there is work, and is woken from any thread."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator


class _Turn:
    """Awaited, it lets the loop do what else there is, once: `asyncio.sleep(0)` in one step."""

    __slots__ = ()

    def __await__(self) -> Generator[None, None, None]:
        yield


TURN = _Turn()


class Waker:
    """One sleeper, on its loop. Whoever has made work says `wake`; before it looks again once is enough for all."""

    def __init__(self) -> None:
        self._asleep = False
        self._bell: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0

    def wake(self) -> None:
        """From any thread: there may be work."""
        loop = self._loop
        if not self._asleep or loop is None:
            return
        self._asleep = False
        if threading.get_ident() == self._thread:
            self._ring()
        else:
            try:  # noqa: SIM105  (once or twice for each run)
                loop.call_soon_threadsafe(self._ring)
            except RuntimeError:  # the loop was closed meanwhile
                pass

    async def sleep(self, has_work: Callable[[], bool], pause: Callable[[], float | None]) -> None:
        """Until somebody wakes us, or so many seconds have gone by; if there is work, for a turn of the loop only."""
        if self._loop is None:
            self._loop, self._thread = asyncio.get_running_loop(), threading.get_ident()
        self._asleep = True
        if has_work() or not self._asleep:  # after the flag was set: whoever makes work from now on finds us asleep
            self._asleep = False
            await TURN  # an embedded store never suspends: let heartbeats, calls and sweeps have their turn
            return
        self._bell = self._loop.create_future()
        seconds = pause()
        timer = None if seconds is None else self._loop.call_later(max(0.0, seconds), self._ring)
        try:
            await self._bell
        finally:
            self._asleep = False
            if timer is not None:
                timer.cancel()

    def _ring(self) -> None:
        if self._bell is not None and not self._bell.done():
            self._bell.set_result(None)
