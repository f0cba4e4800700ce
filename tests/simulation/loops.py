"""Event loops on virtual time, all of them stepped by one scheduler, whose choices come from a seed.

Each strand of control stands for a thread of some process: what is ready on a loop runs in its order, as it would
there, and between strands any order is possible. Nobody ever waits: where nothing is ready, time goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from array import array
from asyncio.events import _set_running_loop
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from contextvars import Context, copy_context
from random import Random
from typing import Any

STEP = 20
"""Microseconds that whatever a strand does takes, at most: else who looks again and again would stop time."""
_ends_a_sleep: Any = asyncio.futures._set_result_unless_cancelled  # type: ignore[attr-defined]
MANY = 200
"""Tasks of a loop, before those that are done are let go of."""


class VirtualTime:
    """Of a world, in microseconds."""

    def __init__(self, start: int = 1_700_000_000_000_000) -> None:
        self.start = start
        self.now = start

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return (self.now - self.start) / 1e6


class Strand:
    """What goes on by itself: a thread, or the loop of one."""

    def __init__(self, scheduler: Scheduler, name: str, number: int) -> None:
        self.scheduler = scheduler
        self.name = name
        self.number = number
        self.stands_still_until = 0  # microseconds
        self.is_queued = False  # it is ready, or would be if it did not stand still
        self.is_parked = False  # it is ready, and stands still
        self.dead = False
        self.host: Any = None

    def step(self) -> bool:
        """Go on, a little; whether there is more to do."""
        raise NotImplementedError

    def freeze(self, until: int) -> None:
        """It does nothing before."""
        self.stands_still_until = until
        self.scheduler.remember(until, None, self._thaw)

    def _thaw(self) -> None:
        if self.is_parked and self.scheduler.time.now >= self.stands_still_until:
            self.is_parked = False
            self.scheduler.queue(self)

    def die(self) -> None:
        """Nothing on it will ever be done."""
        self.dead = True


class _Handle:
    """A call that is to be made. (The standard library's asks its loop each time whether anybody debugs.)"""

    __slots__ = ("_args", "_callback", "_cancelled", "_context", "_when")

    def __init__(self, callback: Any, args: Any, context: Context | None, when: float = 0.0) -> None:
        self._callback: Any = callback
        self._args: Any = args
        self._context = copy_context() if context is None else context
        self._cancelled = False
        self._when = when

    def cancel(self) -> None:
        self._cancelled = True
        self._callback = self._args = None

    def cancelled(self) -> bool:
        return self._cancelled

    def when(self) -> float:
        return self._when


class VirtualLoop(asyncio.BaseEventLoop, Strand):
    """One thread of control that is a loop. (Where the standard library's would be careful, it is quick.)"""

    _ready: deque[_Handle]  # as the standard library has them, and no stub tells
    _task_factory: Any

    def __init__(self, scheduler: Scheduler, name: str, number: int, on_trouble: Callable[[str, Any], None]) -> None:
        asyncio.BaseEventLoop.__init__(self)
        Strand.__init__(self, scheduler, name, number)
        self._time = scheduler.time
        self._on_trouble = on_trouble
        self._thread_id = number  # it runs, for all that ask
        self._tasks: list[asyncio.Task[Any]] = []
        self._most = MANY
        self._debug = False

    def create_task(self, coro: Any, *, name: Any = None, context: Any = None) -> asyncio.Task[Any]:
        factory: Any = self._task_factory
        if factory is None:
            task = asyncio.Task(coro, loop=self, name=name, context=context)
        else:
            task = factory(self, coro, name=name, context=context)
        self._tasks.append(task)
        if len(self._tasks) > self._most:
            self._tasks = [task for task in self._tasks if not task.done()]
            self._most = MANY + 2 * len(self._tasks)
        return task

    def time(self) -> float:
        return self._time.now / 1e6

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> Any:
        handle = _Handle(callback, args, context)
        self._ready.append(handle)
        if not self.is_queued:
            self.scheduler.queue(self)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> Any:
        return self.call_at(self._time.now / 1e6 + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:
        handle = _Handle(callback, args, context, when)
        self.scheduler.remember(-int(-when * 1e6 // 1), self, handle)
        return handle

    def due(self, handle: _Handle) -> None:
        """Its time has come."""
        if handle._cancelled:
            return
        if handle._callback is _ends_a_sleep and self.stands_still_until <= self._time.now:
            _ends_a_sleep(*handle._args)  # at once: it does no more than make ready who slept
        else:
            self._ready.append(handle)
            if not self.is_queued:
                self.scheduler.queue(self)

    def run_in_executor(self, executor: Executor | None, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """Done at once: what the package gives to threads in this way changes nothing."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if "never retrieved" not in context["message"] and "was destroyed" not in context["message"]:
            self._on_trouble(self.name, context)

    # --- for the scheduler -----------------------------------------------------------------------------------------

    def step(self) -> bool:
        ready = self._ready
        handle = ready.popleft()
        if not handle._cancelled:
            scheduler = self.scheduler
            if scheduler.loop is not self:  # each time it is set the system is asked for this process' number
                scheduler.loop = self
                _set_running_loop(self)
            try:
                handle._context.run(handle._callback, *handle._args)
            except Exception as error:
                self._on_trouble(self.name, {"message": f"{handle._callback}", "exception": error})
        return bool(ready)

    def die(self) -> None:
        self._ready.clear()
        super().die()

    def end(self) -> None:
        """The world is over: whatever still stands on this loop is closed, in the order in which it began."""
        self.die()
        self.scheduler.loop = self
        _set_running_loop(self)
        try:
            for task in self._tasks:
                if not task.done():
                    task._log_destroy_pending = False  # type: ignore[attr-defined]
                    with contextlib.suppress(BaseException):
                        task.get_coro().close()
        finally:
            self.scheduler.leave_loop()
        self._ready.clear()
        self._tasks.clear()
        self._closed = True


class Scheduler:
    """Says which strand goes on, and moves time."""

    def __init__(self, time: VirtualTime, random: Random) -> None:
        self.time = time
        self.running: Strand | None = None
        self.loop: VirtualLoop | None = None  # that runs, for all that ask: until another strand goes on, or the world
        self.steps = 0
        self.path = array("Q")  # which strand went on, and when
        self.disturb_at: int | None = None  # before which step to ask what happens
        self.disturb: Callable[[Strand], None] = lambda _: None
        self._ready: list[Strand] = []
        self._timers: list[tuple[int, int, Strand | None, Any]] = []
        self._count = 0
        self._random = random

    def leave_loop(self) -> None:
        """What comes is done by the world, and on no loop."""
        if self.loop is not None:
            self.loop = None
            _set_running_loop(None)

    def queue(self, strand: Strand) -> None:
        """There is something to do for it."""
        if not strand.dead:
            strand.is_queued = True
            self._ready.append(strand)

    def remember(self, when: int, strand: Strand | None, what: Any) -> None:
        """At that time: a handle of a strand, or a call."""
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, strand, what))

    def step(self, until: int) -> bool:
        """One step of one strand, or time goes on; False if nothing is left to do before `until`."""
        random, now, timers, ready = self._random.random, self.time.now, self._timers, self._ready
        while timers and timers[0][0] <= now:
            self._fire(*heapq.heappop(timers)[2:])
        if not ready:
            return self._wait(now, until)
        index = int(random() * len(ready)) if len(ready) > 1 else 0
        strand = ready[index]
        if strand.dead or strand.stands_still_until > now:
            self._leave(index)
            strand.is_parked = True
            return True
        self.steps += 1
        if self.disturb_at == self.steps:
            self.leave_loop()
            self.disturb(strand)
            if strand.dead or strand.stands_still_until > now:
                return True
        self.time.now = now + 1 + int(random() * STEP)
        self.path.append(now << 10 | strand.number & 1023)
        self.running = strand
        more = strand.step()
        self.running = None
        if not more or strand.dead:
            self._leave(index)  # where it still is: what was made ready meanwhile is behind it
            strand.is_queued = False
        return self.time.now < until

    def _fire(self, strand: Strand | None, what: Any) -> None:
        if strand is None:
            self.leave_loop()
            what()
        elif not strand.dead:
            strand.due(what)  # type: ignore[attr-defined]

    def _leave(self, index: int) -> None:
        last = self._ready.pop()
        if index < len(self._ready):
            self._ready[index] = last

    def _wait(self, now: int, until: int) -> bool:
        """Until a timer is due."""
        timers = self._timers
        while timers and timers[0][2] is not None and (timers[0][2].dead or timers[0][3]._cancelled):
            heapq.heappop(timers)
        self.time.now = min(max(now + 1, timers[0][0]), until) if timers else until
        return self.time.now < until
