"""Event loops on virtual time: those that are made here, and those of others that a test runs on.

One of ours is stepped by its world, on whichever thread that is. It has a selector, so that real files and sockets can
be waited for, and an executor with real threads; what is outside is counted, and time stands still for it.
"""

# pyright: reportPrivateUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportAttributeAccessIssue=false

from __future__ import annotations

import asyncio
import contextlib
import heapq
import sys
import threading
from asyncio import events
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Coroutine, Generator
    from concurrent.futures import Executor

    from fanwood.testing.clock import VirtualTime
    from fanwood.testing.threads import Hand

NEVER = float("inf")
MOST_WAITS = 20
"""How often code that is to end may wait on its way."""


class Outside:
    """What goes on in reality: jobs on threads that are not ours, and a bell that they ring."""

    def __init__(self) -> None:
        self.jobs = 0
        self.bell = threading.Event()

    @contextlib.contextmanager
    def waiting(self, *, waits: bool = True) -> Generator[None]:
        """While inside, the thread of such a job waits for something of ours."""
        self.jobs -= waits
        try:
            yield
        finally:
            self.jobs += waits

    @contextlib.contextmanager
    def working(self) -> Generator[None]:
        """While inside, there is one more."""
        self.jobs += 1
        try:
            yield
        finally:
            self.jobs -= 1

    def begin(self, future: asyncio.Future[Any]) -> asyncio.Future[Any]:
        """A job, until the future is done."""
        self.jobs += 1
        future.add_done_callback(self._end)
        return future

    def drop(self, future: asyncio.Future[Any]) -> None:
        """Nobody will hear of its end."""
        self.jobs -= 1
        future.remove_done_callback(self._end)

    def _end(self, _: object) -> None:
        self.jobs -= 1


class VirtualLoop(asyncio.SelectorEventLoop):
    """One thread of control, on no thread of its own."""

    if TYPE_CHECKING:
        _ready: deque[asyncio.Handle]
        _scheduled: list[asyncio.TimerHandle]
        _selector: Any

    def __init__(self, time: VirtualTime, outside: Outside) -> None:
        super().__init__()
        self._time = time
        self._outside = outside
        self._thread_id = threading.get_ident()  # it runs, for all that ask
        self._tasks: dict[asyncio.Task[Any], None] = {}
        self._jobs: dict[asyncio.Future[Any], None] = {}  # on threads that are not ours
        self._fds = len(self._selector.get_map())
        self.set_debug(False)

    def create_task(self, coro: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        task = super().create_task(coro, **options)
        self._tasks[task] = None
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)

    def time(self) -> float:
        return self._time.seconds

    def _write_to_self(self) -> None:
        self._outside.bell.set()

    def run_in_executor(self, executor: Executor | None, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        future = self._outside.begin(super().run_in_executor(executor, func, *args))
        self._jobs[future] = None
        future.add_done_callback(lambda _: self._jobs.pop(future, None))
        return future

    # --- for the world ---------------------------------------------------------------------------------------------

    @property
    def is_ready(self) -> bool:
        """Whether there is anything to do now."""
        return bool(self._ready)

    @property
    def has_files(self) -> bool:
        """Whether a file or a socket is waited for."""
        return len(self._selector.get_map()) > self._fds

    @property
    def earliest(self) -> float:
        """When the next timer is due, in seconds."""
        timers = self._scheduled
        while timers and timers[0].cancelled():
            heapq.heappop(timers)
        return timers[0].when() if timers else NEVER

    def turn(self, after: Callable[[asyncio.Handle], None] | None = None, *, timers_count: bool = True) -> bool:
        """Whatever is ready, once; whether anything was. `after` is called after each handle."""
        if self.has_files:
            self._process_events(self._selector.select(0))
        now, timers, ready = self.time(), self._scheduled, self._ready
        while timers_count and timers and (timers[0].cancelled() or timers[0].when() <= now):
            handle = heapq.heappop(timers)
            if not handle.cancelled():
                ready.append(handle)
        if not ready:
            return False
        with entered(self):
            for _ in range(len(ready)):
                if not ready:  # it was abandoned
                    break
                handle = ready.popleft()
                if not handle.cancelled():
                    handle._run()
                    if after is not None:
                        after(handle)
        return True

    def wait_for_files(self, seconds: float) -> bool:
        """In reality; whether anything came."""
        found = self._selector.select(seconds)
        self._process_events(found)
        return bool(found)

    def abandon(self) -> None:
        """Nothing on it is done any more."""
        self._ready.clear()
        self._scheduled.clear()
        while self._jobs:
            self._outside.drop(self._jobs.popitem()[0])

    def end(self) -> None:
        """Close whatever still stands on it."""
        self.abandon()
        with entered(self):
            for task in list(self._tasks):
                task._log_destroy_pending = False
                _close(task.get_coro())
        self.abandon()
        self._tasks.clear()
        self._thread_id = None
        self.close()


def _close(coroutine: Any) -> None:
    """To its end, though it waits on its way there."""
    for _ in range(MOST_WAITS):
        try:
            coroutine.close()
        except RuntimeError:
            continue
        except BaseException:  # noqa: BLE001, S110  (whatever code raises that is stopped; nobody is there to hear of it)
            pass
        return


@contextlib.contextmanager
def entered(loop: VirtualLoop) -> Generator[None]:
    """While inside, that loop runs on this thread, and not the one that did."""
    outer, hooks = events._get_running_loop(), sys.get_asyncgen_hooks()
    task = asyncio.current_task(outer) if outer is not None else None
    if outer is not None and task is not None:
        asyncio.tasks._leave_task(outer, task)
    events._set_running_loop(loop)
    sys.set_asyncgen_hooks(loop._asyncgen_firstiter_hook, loop._asyncgen_finalizer_hook)
    try:
        yield
    finally:
        sys.set_asyncgen_hooks(*hooks)
        events._set_running_loop(outer)
        if outer is not None and task is not None:
            asyncio.tasks._enter_task(outer, task)


class GuestOf(Protocol):
    """A world, as somebody else's loop knows it."""

    outside: Outside
    time: VirtualTime

    def turn_beside(self) -> bool:
        """One turn of all that is ready; whether anything was."""
        ...

    def idle_beside(self, until: int | None) -> bool:
        """Nothing is ready, and the other loop has nothing to do before `until`: whether anything has come of it."""
        ...


class Guest:
    """In the place of the selector of a loop that others run (a test's): when that loop has nothing to do, or between
    its turns, the world goes on; and the loop's time is the world's."""

    def __init__(self, world: GuestOf, loop: Any, hand: Hand | None) -> None:
        self._world = world
        self._hand = hand  # it is run by code of a sync task, which does not drive the world
        self.loop = loop
        self._selector = loop._selector
        self._fds = len(self._selector.get_map())
        start, begun, in_executor = loop.time(), world.time.seconds, loop.run_in_executor

        def time() -> float:
            return start + world.time.seconds - begun

        def run_in_executor(*args: Any) -> asyncio.Future[Any]:
            return world.outside.begin(in_executor(*args))

        shutdown = loop.shutdown_default_executor

        async def shutdown_default_executor(*args: Any) -> None:
            with world.outside.working():
                await shutdown(*args)

        ours: dict[str, Any] = {
            "shutdown_default_executor": shutdown_default_executor,
            "_selector": self,
            "slow_callback_duration": NEVER,  # in debug mode: none is slow
            "time": time,
            "run_in_executor": run_in_executor,
        }
        self._before = {name: vars(loop)[name] for name in ours if name in vars(loop)}
        self._names = list(ours)
        vars(loop).update(ours)

    def leave(self) -> None:
        """The loop is as it was."""
        if self.loop.is_closed():  # with its selector
            return
        for name in self._names:
            del vars(self.loop)[name]
        vars(self.loop).update(self._before)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._selector, name)

    def select(self, timeout: float | None = None) -> Any:
        """As of a selector."""
        world = self._world
        if self._hand is not None:
            return self._wait_in(self._hand, timeout)
        did = world.turn_beside()
        found = self._selector.select(0)
        if found or did or self.loop._ready or (timeout is not None and timeout <= 0):
            return found
        if world.outside.jobs > 0:
            return self._selector.select(TICK)
        if len(self._selector.get_map()) > self._fds and (found := self._selector.select(FILE_PATIENCE)):
            return found
        until = None if timeout is None else world.time.at(world.time.seconds + timeout)
        return self._selector.select(0 if world.idle_beside(until) else TICK)

    def _wait_in(self, hand: Hand, timeout: float | None) -> Any:
        found = self._selector.select(0)
        if found or self.loop._ready or (timeout is not None and timeout <= 0):
            return found
        hand.wait(lambda: bool(self.loop._ready or self._selector.select(0)), timeout)
        return self._selector.select(0)


TICK = 0.002
"""Seconds between two looks at what happens in reality."""
FILE_PATIENCE = 0.02
"""Seconds that files and sockets have before time passes."""
