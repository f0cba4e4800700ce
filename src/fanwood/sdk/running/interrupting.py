"""Who interrupts a call by hand (Ctrl-C, or a notebook's button) ends no run by that: what goes on is said, and how
to end it; or that nothing was started."""

from __future__ import annotations

import asyncio
import builtins

from fanwood import logs
from fanwood.ids import id_text
from fanwood.sdk.running.current import current_attempt

logger = logs.logger("fanwood")

INTERRUPTIONS = (KeyboardInterrupt, asyncio.CancelledError)
"""By what a call may be interrupted; see `by_hand`."""


def by_hand(error: BaseException | None) -> bool:
    """Whether somebody has interrupted this, outside of any task. In a notebook a coroutine is cancelled by that."""
    notebook = isinstance(error, asyncio.CancelledError) and hasattr(builtins, "get_ipython")
    return (notebook or isinstance(error, KeyboardInterrupt)) and current_attempt.get() is None


def tell_going_on(first: bytes, task: str, count: int = 1, *, waited: bool = True) -> None:
    """These runs go on."""
    one = f"run {id_text(first)}"
    logger.warning(
        "The %s goes on, here or where it is served next: %s. "
        "app.runs.cancel(id) ends a run, and `fanwood runs cancel` any number.",
        "wait was interrupted. What it waited for" if waited else "call was interrupted. What it had started",
        _of(task, one if count == 1 else f"{count} runs, the first {id_text(first)}"),
    )


def _of(task: str, runs: str) -> str:
    return f"{task} ({runs})" if task else runs


def tell_nothing_started(task: str) -> None:
    """No run had been asked for."""
    logger.warning("The call was interrupted before it had started anything: no run of %s was stored.", task)


class interruption_told:  # noqa: N801  (reads as the statement that it is)
    """While inside, runs are waited for that others have started."""

    __slots__ = ("_count", "_first", "_task")

    def __init__(self, first: bytes, task: str, count: int = 1) -> None:
        self._first = first
        self._task = task
        self._count = count

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if by_hand(error):
            tell_going_on(self._first, self._task, self._count)
