"""Which asyncio tasks the code of durable attempts makes, and which timers it sets: their `Unloading` is told."""

from __future__ import annotations

import asyncio
from typing import Any

from fanwood.sdk.running.current import current_attempt


def keep_account(loop: asyncio.AbstractEventLoop) -> None:
    """Tasks that are made on this loop by the code of durable attempts are known to those."""
    before: Any = loop.get_task_factory()
    if isinstance(before, _Factory):
        return
    loop.set_task_factory(_Factory(before))
    if not hasattr(loop, "_scheduled"):  # uvloop's
        _note_timers(loop, "call_later")
        _note_timers(loop, "call_at")


def close_account(loop: asyncio.AbstractEventLoop) -> None:
    """No durable attempt is executed on this loop any more."""
    factory: Any = loop.get_task_factory()
    if isinstance(factory, _Factory):
        loop.set_task_factory(factory.before)
        for name in ("call_later", "call_at"):
            vars(loop).pop(name, None)


def _note_timers(loop: asyncio.AbstractEventLoop, name: str) -> None:
    """Timers that the code of durable attempts sets by this method are known to those."""
    method: Any = getattr(loop, name)

    def noting(when: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:
        timer = method(when, callback, *args, context=context)
        attempt = current_attempt.get() if context is None else context.get(current_attempt)
        unloading = None if attempt is None else attempt.unloading
        if unloading is not None and hasattr(timer, "when"):  # (what is due in less than a millisecond has none)
            unloading.note(timer)
        return timer

    setattr(loop, name, noting)


class _Factory:
    def __init__(self, before: Any) -> None:
        self.before = before

    def __call__(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **given: Any) -> Any:
        before, context = self.before, given.get("context")
        task = asyncio.Task(coroutine, loop=loop, **given) if before is None else before(loop, coroutine, **given)
        attempt = current_attempt.get() if context is None else context.get(current_attempt)
        if attempt is not None and attempt.unloading is not None:
            attempt.unloading.tasks[task] = None
        return task
