"""What streams read their inputs from: an iterable, whose inputs are there, or an async one, whose inputs come."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from fanwood import checks
from fanwood.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from fanwood.clock import Clock

AHEAD = 500
"""So many inputs of an async iterable are read ahead."""
LONGEST_READ = 0.01
"""Seconds. What was read from a slow iterable so far is spawned then, and results are given out."""


TURNS = 10
"""Of the loop, in which an async iterable that has something gives it."""


class Source:
    """Inputs that are there when they are asked for."""

    arrives = False
    """Whether it calls when there is something to be taken."""

    def __init__(self, inputs: Iterable[Any], clock: Clock) -> None:
        self._inputs = iter(inputs)
        self._clock = clock
        self.ended = False
        self.error: Exception | None = None  # that it ended with: for who has been given all that came before

    def on_arrival(self, call: Callable[[], None]) -> None:
        """What to call then."""

    def take(self, most: int) -> list[Any]:
        """The next inputs, at most so many; fewer at the end, or if reading them takes its time."""
        taken: list[Any] = []
        until = self._clock.monotonic() + LONGEST_READ
        try:
            for value in self._inputs:
                taken.append(value)
                if len(taken) == most or self._clock.monotonic() > until:
                    return taken
        except Exception as error:  # noqa: BLE001  (told to who takes)
            self.error = error
        self.ended = True
        return taken

    async def rest(self, most: int) -> AsyncIterator[list[Any]]:
        """What nobody has taken, so many at a time, as far as it is there: nothing is waited for."""
        while not self.ended and (taken := self.take(most)):
            yield taken

    def close(self) -> None:
        """Nobody takes any more."""
        self.ended = True


class AsyncSource(Source):
    """Inputs that come when they come: read by a task of their own, no further ahead than a chunk."""

    arrives = True

    def __init__(self, inputs: AsyncIterable[Any], clock: Clock) -> None:
        super().__init__((), clock)
        self._stream = aiter(inputs)
        self._come: deque[Any] = deque()
        self._arrived: Callable[[], None] = lambda: None
        self._room = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._has_read = False
        self._broken: BaseException | None = None

    def on_arrival(self, call: Callable[[], None]) -> None:
        self._arrived = call

    def take(self, most: int) -> list[Any]:
        if self._reader is None:
            self._reader = asyncio.get_running_loop().create_task(self._read())
        taken = [self._come.popleft() for _ in range(min(most, len(self._come)))]
        self._room.set()
        self.ended = self._has_read and not self._come
        if self.ended and self._broken is not None:
            if not isinstance(self._broken, Exception):
                raise self._broken
            self.error = self._broken
        return taken

    async def rest(self, most: int) -> AsyncIterator[list[Any]]:
        empty = 0
        while not self.ended and empty < TURNS:
            if taken := self.take(most):
                empty = 0
                yield taken
            else:
                empty += 1
                await asyncio.sleep(0)  # in which more is read

    def close(self) -> None:
        super().close()
        if self._reader is not None:
            self._reader.cancel()

    async def _read(self) -> None:
        try:
            async for value in self._stream:
                self._come.append(value)
                self._arrived()
                if len(self._come) >= AHEAD:
                    self._room.clear()
                    await self._room.wait()
        except BaseException as error:
            self._broken = error  # told to who takes
            if isinstance(error, asyncio.CancelledError):
                raise  # it was closed; or the source has waited for what was cancelled
        finally:
            self._has_read = True
            self._arrived()


def source_of(inputs: Any, clock: Clock, name: str, *, blocking: bool) -> Source:
    """What a stream's inputs are read from.

    Raises:
        UsageError: that is nothing to be read from.
    """
    if isinstance(inputs, Iterable) and not isinstance(inputs, (str, bytes, Mapping)):
        return Source(cast("Iterable[Any]", inputs), clock)
    if not isinstance(inputs, AsyncIterable):
        raise checks.refused("inputs", f"must be inputs of {name} to iterate over, such as a list of them", inputs)
    if blocking:
        raise UsageError(f"{name}.map can't read an async iterable: it blocks. Use {name}.aio_map")
    return AsyncSource(cast("AsyncIterable[Any]", inputs), clock)
