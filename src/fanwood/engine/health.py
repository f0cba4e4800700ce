"""Whether the store can be written to, as far as this engine knows; and saying so, once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from fanwood import logs
from fanwood.errors import FanwoodError, StoreBusyError, StoreError, StoreFullError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logs.logger("fanwood.engine")

PASSING = (StoreBusyError, StoreFullError, StoreUnavailableError)
"""Trouble that passes by itself."""
TOLD_EVERY = 60_000_000
LASTING = 5_000_000
"""Microseconds. Where a disk is full small commits find room between others that don't: what comes and goes is over
when it has not come for so long."""


class Health:
    """Of one engine's store, on its loop. `now` is the store's clock."""

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        self._trouble: str | None = None
        self._told: tuple[str, int] = ("", 0)  # which was told last, and when
        self._well_at = 0
        self._comes_and_goes = False
        self.disturbed_at = 0
        """When the store was last found to be away, or first found to be there."""

    def note_opened(self) -> None:
        """It is there."""
        self.disturbed_at = self._now()

    def note_trouble(self, error: BaseException) -> None:
        """It could not be written to; said once per kind of trouble, and again now and then while it lasts."""
        now = self.disturbed_at = self._now()
        before, self._trouble = self._trouble, type(error).__name__
        kind, told_at = self._told
        if kind == self._trouble and now - told_at < TOLD_EVERY and (before == kind or now - self._well_at < LASTING):
            self._comes_and_goes = self._comes_and_goes or before is None
            return
        self._told = (self._trouble, now)
        if isinstance(error, StoreError):
            logger.error("%s Nothing is lost; trying again until it works.", error)
        else:
            logger.error("The store failed in a way that it should not. Trying again until it works.", exc_info=error)

    def note_success(self) -> None:
        """It was written to."""
        if self._trouble is not None:
            self._well_at = self._now()
            if self._comes_and_goes and self._well_at - self.disturbed_at < LASTING:
                return
            self._trouble, self._comes_and_goes = None, False
            logger.warning("the store can be written to again: work goes on")

    def note_quiet(self) -> None:
        """Perhaps nothing is to be written any more: then nothing succeeds, either."""
        if self._comes_and_goes:
            self.note_success()


ENDS = (StopIteration, StopAsyncIteration)
"""Of a loop, wherever they come to. What leaves a coroutine by one of them is a `RuntimeError` that it has caused."""


def as_answer(error: BaseException, url: str) -> Exception:
    """An error as whoever asked is told of it: but for what would mean something else where he is, it is that."""
    if isinstance(error, RuntimeError) and isinstance(error.__cause__, ENDS):
        error = error.__cause__
    return error if isinstance(error, Exception) and not isinstance(error, ENDS) else StoreError(f"{url}: {error!r}")


def as_told(error: BaseException, url: str) -> Exception:
    """An error as those are told of it who called us: it is one of ours, which says where it comes from."""
    if isinstance(error, FanwoodError):
        return error
    answer = as_answer(error, url)
    if not isinstance(answer, FanwoodError):
        answer = StoreError(f"{url}: {error!r}")
    answer.__cause__ = error
    return answer


def current_task() -> asyncio.Task[Any] | None:
    """That which runs on this thread, if any; no error where there is no loop."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def is_meant(error: BaseException, mine: asyncio.Task[Any] | None) -> bool:
    """Whether this ends us, and is not trouble: we are being cancelled, or taken apart. `mine`: the task that we began
    in. (A library may let a `CancelledError` out that is about a task of its own. And no Ctrl-C comes to the engine's
    thread.)"""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is None or task.cancelling() > 0
    # Who is taken apart is so by somebody else; else it is something that we called which raised it.
    return isinstance(error, GeneratorExit) and (mine is None or current_task() is not mine)
