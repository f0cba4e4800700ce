"""A plain script is its own worker: with the embedded store, roots that it starts are executed inside its process.

Async tasks run on the loop that the script runs when it starts something; a script without one lends us a thread. With
`processes` it executes nothing itself, and worker processes of its own do (pool.py).
"""

from __future__ import annotations

import contextlib
import contextvars
import threading
from typing import TYPE_CHECKING

from fanwood.engine.dispatcher import NoDispatcher
from fanwood.engine.signals import running_loop
from fanwood.errors import EngineClosedError
from fanwood.sdk.declaring.changes import times_declared
from fanwood.sdk.running.waiting import called
from fanwood.worker.executor import Executor
from fanwood.worker.leftovers import programs_of, tell_of_others
from fanwood.worker.loops import LoopThread
from fanwood.worker.worker import SUSPEND_SECONDS, enter_switch_interval, leave_switch_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from concurrent.futures import Future

    from fanwood.engine.engine import Engine
    from fanwood.sdk.declaring.host import Host
    from fanwood.sdk.declaring.spec import TaskSpec
    from fanwood.worker.pool import ProcessPool


class LocalWorker:
    """The worker inside a script. Created when it is first needed, closed with the `Fanwood` object."""

    def __init__(self, host: Host, engine: Engine, specs: Callable[[], dict[str, TaskSpec]]) -> None:
        self._host = host
        self._engine = engine
        self._specs = specs
        self._executor: Executor | None = None
        self._employed: Future[None] | None = None  # done when the executor's tasks are published
        self._thread: LoopThread | None = None
        self._pool: ProcessPool | None = None
        self._lock = threading.Lock()
        self._told = False
        self._served: tuple[int, bool] | None = None  # what was declared when, and for whom, is served
        self._over = False  # closed for good

    @property
    def is_working(self) -> bool:
        """Whether it executes runs."""
        return self._executor is not None or (self._pool is not None and self._pool.alive)

    async def ensure(self, *, own: bool) -> None:
        """Work, from now on, and on the running loop if there is one. `own`: only on what is below roots of this
        program, unless somebody has asked for more.

        Raises:
            EngineClosedError: it was closed for good.
            StoreError: the store can't be told of it.
            SettingsError: there are to be processes, and they can't begin.
        """
        declared = times_declared()
        if self._served == (declared, own) and self._is_on_its_loop():
            return
        if not self._told:  # before anything is taken up
            self._told = True
            await tell_of_others(self._engine, self._specs(), own=own, script=True)
        with self._lock:  # never while we wait: another caller may be on our own thread
            if self._over:
                raise EngineClosedError("This Fanwood object was closed, and nothing is begun any more")
            employed = self._begin(own=own) if self._engine.settings.processes == 1 else self._begin_pool(own=own)
        try:
            await called(employed)
        except Exception:
            with self._lock:
                if self._employed is employed and self._executor and not self._engine.dispatcher.slots:
                    self._executor = self._employed = None  # the next call tries again
                    leave_switch_interval(self._host.settings.switch_interval)
            raise
        self._served = (declared, own)

    def _is_on_its_loop(self) -> bool:
        """Whether it works, and where the caller's loop would have it work."""
        executor, loop = self._executor, running_loop()
        if executor is None or executor.loop is None:
            return False
        return executor.loop is loop if loop is not None else executor.loop.is_running()

    def _begin(self, *, own: bool) -> Future[None]:
        specs = self._specs()
        if self._executor is None or self._employed is None:
            enter_switch_interval(self._host.settings.switch_interval)
            slots, nobodys = self._host.settings.slots, contextvars.Context()  # not that of the call that came first
            self._executor = Executor(self._host, self._engine, specs, slots, nobodys)
            self._executor.programs = programs_of(specs) if own else ()
            self._attach(self._executor)
            self._employed = self._engine.employ(self._executor)
            return self._employed
        self._attach(self._executor)
        known = self._executor.specs
        own = own and bool(self._executor.programs)
        more = any(known.get(name) is not spec for name, spec in specs.items())  # declared since, as in a notebook
        if more or (self._executor.programs and not own) or _has_failed(self._employed):
            self._executor.specs = specs = {**known, **specs}
            self._executor.programs = programs_of(specs) if own else ()
            self._employed = self._engine.serve_more()  # (calls are begun in their order)
        return self._employed

    def _begin_pool(self, *, own: bool) -> Future[None]:
        """Or go on with the one that there is, if it knows all tasks and may do what is asked for."""
        from fanwood.worker.pool import ProcessPool  # noqa: PLC0415  (multiprocessing takes a while to load)

        specs, pool = self._specs(), self._pool
        if pool is not None:
            own = own and pool.own
            if pool.alive and pool.own == own and specs.keys() <= pool.names:
                return pool.begun
            pool.close()
        self._pool = pool = ProcessPool(self._engine.settings, specs, own=own)
        self._engine.stand_in(_Elsewhere(pool.names))
        return pool.begun

    def _attach(self, executor: Executor) -> None:
        loop = None if executor.moves.suffice else running_loop()
        if loop is not None and loop is not executor.loop:
            executor.attach(loop, on_lost=self._fall_back)
        elif loop is None and (executor.loop is None or not executor.loop.is_running()):  # it ended without a word
            self._fall_back()

    def _fall_back(self) -> None:
        """To a loop of our own: there is no other (any more)."""
        executor = self._executor
        if executor is None:  # being closed: what has begun is handed back
            return
        if self._thread is None:
            self._thread = LoopThread("fanwood-tasks")
        executor.attach(self._thread.loop)

    def close(self, *, for_good: bool = False) -> None:
        """Hand back what has not ended, and stop."""
        with self._lock:
            self._over = self._over or for_good
            executor, self._executor = self._executor, None
            pool, self._pool = self._pool, None
            self._employed = None
            if pool is not None:
                pool.close()
                self._engine.stand_in(NoDispatcher())
            if executor is None:
                return
            self._engine.pause()
            executor.begin_stop()
            executor.durables.suspend_all(SUSPEND_SECONDS)
            executor.hand_back_all()
            if self._thread is not None:
                self._thread.stop()
                self._thread = None
                executor.hand_back_all()  # now nothing ends any more; reports what ended while the first one was at it
            with contextlib.suppress(EngineClosedError):  # it has failed; what executes here was stopped then
                self._engine.retire().result()
            leave_switch_interval(self._host.settings.switch_interval)


class _Elsewhere(NoDispatcher):
    """The dispatcher of a script whose worker processes serve these tasks."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = names

    def serves(self, task: str) -> bool:
        return task in self._names


def _has_failed(future: Future[None]) -> bool:
    """Then what it was to tell the store is told once more."""
    return future.done() and (future.cancelled() or future.exception() is not None)
