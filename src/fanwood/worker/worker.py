"""The worker: an engine with slots and executors, from its start to its end in good order."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Any

from fanwood import logs
from fanwood.engine.signals import new_loop, running_loop
from fanwood.errors import BlockingCallError, EngineClosedError
from fanwood.sdk.running.waiting import called
from fanwood.worker.carrying import carrying
from fanwood.worker.executor import Executor
from fanwood.worker.leftovers import programs_of, tell_of_others
from fanwood.worker.loops import aside, drive

if TYPE_CHECKING:
    from fanwood.engine.engine import Engine
    from fanwood.sdk.declaring.host import Host
    from fanwood.sdk.declaring.spec import TaskSpec

logger = logs.logger("fanwood.worker")

Lifespan = Callable[[], AsyncGenerator[Any, None]]
LOOK_SECONDS = 1.0
"""How often to look whether the engine is still there."""
NAMED = 8
"""Tasks that a line of the log names."""
HAND_BACK_SECONDS = 2.0
"""How long handed-back code may take to notice that it is over."""
SUSPEND_SECONDS = 2.0
"""How long it may take to have suspended what can be, before the rest is handed back."""


class Worker:
    """Executes runs of some tasks until it is stopped. Made by `Fanwood.worker`; or for a script's pool, which has said
    already what is left over: then `own` is whether it keeps to roots of the program that its tasks are written in.
    `shares`: it is one of several processes that do the same, and takes no more at once than its part."""

    def __init__(
        self,
        host: Host,
        specs: dict[str, TaskSpec],
        *,
        name: str,
        slots: int,
        lifespan: Lifespan | None,
        own: bool | None = None,
        shares: bool = False,
    ) -> None:
        self.name = name
        self.slots = slots
        self.host = host
        self._specs = specs
        self._lifespan = lifespan
        self._own = own
        self.shares = shares
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._started = threading.Event()
        self._stopping = False
        self._hurry = False  # asked twice: don't wait for what executes
        self._executor: Executor | None = None
        self._owns_loop = False

    @property
    def tasks(self) -> list[str]:
        """The names of the tasks that it serves."""
        return list(self._specs)

    # --- running ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Work until SIGINT or SIGTERM. The first one lets runs finish for the grace period and hands the rest back;
        a second one hands back at once.

        Raises:
            BlockingCallError: an event loop runs on this thread; use `await worker.aio_start()`.
        """
        if running_loop() is not None:
            raise BlockingCallError("worker.start() blocks: use `await worker.aio_start()` inside an event loop")
        loop = new_loop()
        asyncio.set_event_loop(loop)
        try:
            self._owns_loop = True
            with self._signals(loop):
                drive(loop, self.aio_start())
        finally:
            asyncio.set_event_loop(None)
            loop.close()

    async def aio_start(self) -> None:
        """Work on the running loop until `stop` is called or this is cancelled."""
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._stopping = self._hurry = False
        engine = self.host.engine()
        await asyncio.to_thread(self.host.retire_local)
        context = contextvars.copy_context()
        executor = Executor(self.host, engine, self._specs, self.slots, context, shares=self.shares)
        self._executor = executor
        executor.programs = programs_of(self._specs) if self._own else ()
        executor.attach(self._loop)
        async with self._within_lifespan(executor):
            with _switch_interval(self.host.settings.switch_interval):
                if self._own is None:
                    await tell_of_others(engine, self._specs, own=False, script=False)
                await called(engine.employ(executor))
                logger.info(self._greeting(engine.store.url))
                self._started.set()
                try:
                    async with self._carrying(engine):
                        await self._until_stopped(engine, self._stop)
                finally:
                    await self._drain(engine, executor)
                    self._started.clear()

    def wait_started(self, timeout: float | None = None) -> bool:
        """Block until the worker takes runs; whether it does, after `timeout` seconds."""
        return self._started.wait(timeout)

    def stop(self) -> None:
        """Begin to stop, from any thread. A second call hurries."""
        if self._loop is None or self._stop is None:
            return
        self._hurry = self._stopping
        self._stopping = True
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stop.set)

    async def exit_gracefully(self) -> None:
        """Stop; returns when the worker has."""
        self.stop()
        while self._started.is_set():  # noqa: ASYNC110  (the end may come on another loop)
            await asyncio.sleep(0.01)

    # --- within ----------------------------------------------------------------------------------------------------

    def _carrying(self, engine: Engine) -> contextlib.AbstractAsyncContextManager[None]:
        """A script's processes keep to what the script began."""
        return carrying(engine, self.host.settings) if self._own is None else contextlib.nullcontext()

    def _greeting(self, url: str) -> str:
        names = [ascii(name)[1:-1] for name in self.tasks[:NAMED]]
        more = f" and {len(self.tasks) - NAMED} more" if len(self.tasks) > NAMED else ""
        return (
            f"worker {self.name} serves {len(self.tasks)} task(s): {', '.join(names)}{more}, {self.slots} at a time, "
            f"from {url}. Ctrl-C stops it."
        )

    async def _until_stopped(self, engine: Engine, stop: asyncio.Event) -> None:
        """Until `stop` is called; or the engine has failed, and a worker that stayed would be one in name only."""
        while engine.alive and not stop.is_set():
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await stop.wait()
            except TimeoutError:
                continue
            except asyncio.CancelledError:
                if not self._owns_loop:
                    raise
                # On the loop that `start` made nobody has a reason to, but a task may cancel all tasks there are.
                logger.warning("a task cancelled the worker itself; it goes on")

    async def _drain(self, engine: Engine, executor: Executor) -> None:
        """Let what executes finish within the grace period; hand the rest back."""
        engine.pause()
        executor.begin_stop()
        grace = self.host.settings.grace
        if executor.executing and not self._hurry:
            have = "run has" if executor.executing == 1 else "runs have"
            logger.info("stopping: %d %s %g s to finish, Ctrl-C again hands them back", executor.executing, have, grace)
        else:
            logger.info("stopping")
        deadline = self.host.clock.monotonic() + grace
        while engine.alive and executor.executing and not self._hurry and self.host.clock.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await aside(executor.durables.suspend_all, SUSPEND_SECONDS)
        handed_back = Counter(executor.hand_back_all())
        if handed_back:
            tasks = ", ".join(f"{count} {task}" for task, count in handed_back.most_common(NAMED))
            logger.info("handed back %s to the queue: %s", _runs(handed_back.total()), tasks)
        deadline = self.host.clock.monotonic() + HAND_BACK_SECONDS
        while executor.running and self.host.clock.monotonic() < deadline:  # noqa: ASYNC110  (threads end unannounced)
            await asyncio.sleep(0.01)
        with contextlib.suppress(EngineClosedError):  # it was closed meanwhile, and all was handed back then
            await called(engine.retire())
        await aside(self.host.hooks.flush)
        logger.info("worker %s has stopped", self.name)

    @contextlib.asynccontextmanager
    async def _within_lifespan(self, executor: Executor) -> AsyncGenerator[None, None]:
        if self._lifespan is None:
            yield
            return
        async with contextlib.asynccontextmanager(self._lifespan)() as value:
            executor.lifespan = value
            yield

    @contextlib.contextmanager
    def _signals(self, loop: asyncio.AbstractEventLoop) -> Any:
        """SIGINT and SIGTERM stop the worker; only the main thread may say so."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        me = os.getpid()

        def on_signal(number: int, _frame: object) -> None:
            if os.getpid() != me:  # a process that a task has forked: not its business
                signal.signal(number, previous[signal.Signals(number)] or signal.SIG_DFL)
                os.kill(os.getpid(), number)
                return
            loop.call_soon_threadsafe(self.stop)

        for number in previous:
            signal.signal(number, on_signal)
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"


_intervals: list[float] = []


@contextlib.contextmanager
def _switch_interval(seconds: float) -> Any:
    """See docs/decisions/0003: with the default of 5 ms a busy event loop starves the engine's thread."""
    enter_switch_interval(seconds)
    try:
        yield
    finally:
        leave_switch_interval(seconds)


def enter_switch_interval(seconds: float) -> None:
    """While any worker runs in this process, Python's threads change places this often."""
    if seconds > 0:
        _intervals.append(sys.getswitchinterval())
        sys.setswitchinterval(min(seconds, sys.getswitchinterval()))


def leave_switch_interval(seconds: float) -> None:
    """The last worker restores what was."""
    if seconds > 0 and _intervals:
        before = _intervals.pop()
        if not _intervals:
            sys.setswitchinterval(before)
