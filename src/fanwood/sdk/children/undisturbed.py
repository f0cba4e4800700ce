"""Blocks whose children are known once they are entered, of code that is run again.

An attempt that was not the first learns of its children before such a block. What cancels it may have come long before,
and is told sooner than that: then nobody would know whom the block had asked for, and they would go on.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fanwood.sdk.running.attempt import Attempt

T = TypeVar("T")


class Undisturbed:
    """Of one block: a cancellation while it is begun is told at the next wait, by which its children are asked for."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._cancelled: asyncio.CancelledError | None = None

    async def learn(self, what: Callable[[], Awaitable[T]]) -> T:
        """Have it learned, to its end; it may be begun several times."""
        attempt = self._attempt
        while True:
            try:
                return await what()
            except asyncio.CancelledError as error:
                if attempt.is_first or attempt.interruption is not None or attempt.code_ended:
                    raise
                self._cancelled = error

    def entered(self) -> None:
        """Before the block is."""
        task = asyncio.current_task() if self._cancelled is not None else None
        if task is not None and self._cancelled is not None:
            task.uncancel()  # (it was counted when it came: who looks how often it was is to be told once)
            task.cancel(*self._cancelled.args)
