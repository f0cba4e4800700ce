"""Event loops on virtual time, all of them stepped by one scheduler, whose choices come from a seed.

Each loop stands for a thread of some process: what is ready on one runs in its order, as it would there, and between
loops any order is possible. No thread is started, and nobody ever waits: where nothing is ready, time goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from asyncio import events
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from random import Random
from typing import Any

NEVER = float("inf")
STEP = 20
"""Microseconds that whatever a loop does takes, at most: else who looks again and again would stop time."""


class VirtualTime:
    """Of a world, in microseconds."""

    def __init__(self, start: int = 1_700_000_000_000_000) -> None:
        self.start = start
        self.now = start

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return (self.now - self.start) / 1e6


class VirtualLoop(asyncio.BaseEventLoop):
    """One thread of control."""

    _ready: deque[asyncio.Handle]  # as the standard library has them, and no stub tells
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self, time: VirtualTime, name: str, number: int, on_trouble: Callable[[str, Any], None]) -> None:
        super().__init__()
        self.name = name
        self.number = number
        self.stands_still_until = 0  # microseconds
        self.earliest = NEVER  # seconds: no timer is due before
        self._time = time
        self._on_trouble = on_trouble
        self._thread_id = number  # it runs, for all that ask
        self._tasks: list[asyncio.Task[Any]] = []
        self.set_debug(False)

    def create_task(self, coro: Any, *, name: Any = None, context: Any = None) -> asyncio.Task[Any]:
        task = super().create_task(coro, name=name, context=context)
        self._tasks.append(task)
        return task

    def time(self) -> float:
        return self._time.now / 1e6

    def _write_to_self(self) -> None:
        """Nobody sleeps who would have to be woken."""

    def run_in_executor(self, executor: Executor | None, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """There are no threads: done at once."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if "never retrieved" not in context["message"] and "was destroyed" not in context["message"]:
            self._on_trouble(self.name, context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:
        self.earliest = min(self.earliest, when)
        return super().call_at(when, callback, *args, context=context)

    # --- for the scheduler -----------------------------------------------------------------------------------------

    @property
    def is_ready(self) -> bool:
        """Whether there is anything to do."""
        return bool(self._ready)

    def wake(self) -> None:
        """Whatever is due is ready."""
        now, timers = self.time(), self._scheduled
        while timers and (timers[0].cancelled() or timers[0].when() <= now):
            handle = heapq.heappop(timers)
            if not handle.cancelled():
                self._ready.append(handle)
        self.earliest = timers[0].when() if timers else NEVER

    def step(self) -> str:
        """The first that is ready; what it was."""
        handle = self._ready.popleft()
        if handle.cancelled():
            return ""
        events._set_running_loop(self)
        try:
            handle._run()
        finally:
            events._set_running_loop(None)
        return _named(handle)

    def abandon(self) -> None:
        """Nothing on it will ever be done."""
        self._ready.clear()
        self._scheduled.clear()
        self.earliest = NEVER

    def end(self) -> None:
        """The world is over: whatever still stands on this loop is closed, in the order in which it began."""
        self.abandon()
        events._set_running_loop(self)
        try:
            for task in self._tasks:
                if not task.done():
                    task._log_destroy_pending = False  # type: ignore[attr-defined]
                    with contextlib.suppress(BaseException):
                        task.get_coro().close()
        finally:
            events._set_running_loop(None)
        self.abandon()
        self._tasks.clear()
        self._closed = True


def _named(handle: Any) -> str:
    callback = handle._callback
    if callback is None:
        return ""
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, asyncio.Task):
        return getattr(owner.get_coro(), "__qualname__", "")
    return getattr(callback, "__qualname__", type(callback).__name__)


class Scheduler:
    """Says which loop goes on, and moves time."""

    def __init__(self, time: VirtualTime, random: Random, on_step: Callable[[VirtualLoop, str], None]) -> None:
        self.loops: list[VirtualLoop] = []
        self.running: VirtualLoop | None = None
        self.steps = 0
        self._time = time
        self._random = random
        self._on_step = on_step

    def step(self, until: int) -> bool:
        """One step of one loop, or time goes on; False if nothing is left to do before `until`."""
        now = self._time.now
        seconds, ready = now / 1e6, []
        for loop in self.loops:
            if loop.stands_still_until <= now:
                if loop.earliest <= seconds:
                    loop.wake()
                if loop.is_ready:
                    ready.append(loop)
        if not ready:
            return self._wait(now, until)
        loop = self.running = ready[int(self._random.random() * len(ready))] if len(ready) > 1 else ready[0]
        self.steps += 1
        self._time.now = now + 1 + int(self._random.random() * STEP)
        self._on_step(loop, loop.step())
        self.running = None
        return self._time.now < until

    def _wait(self, now: int, until: int) -> bool:
        """Until a timer is due, or one that stands still goes on."""
        following = until
        for loop in self.loops:
            if loop.stands_still_until > now:
                following = min(following, loop.stands_still_until)
            elif loop.earliest != NEVER:
                following = min(following, -int(-loop.earliest * 1e6 // 1))
        self._time.now = max(now + 1, following)
        return self._time.now < until
