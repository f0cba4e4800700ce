"""The engine: one thread, one loop, one store; and a tick that commits what everybody asked for.

Callers on any thread put commands into the engine's inbox and are told later. A *tick* empties the inbox into one
`Batch`, commits it, and hands out what came of it: acknowledgements to those who spawned, results to those who
wait, runs to those who execute. Under load a tick carries hundreds of commands, idle it carries one; either way it
is one transaction and one fsync. Nothing is acknowledged before its tick is committed.

    any thread                 the engine's thread                               the store
    ----------                 -------------------                               ---------
    spawn()    --+
    report()   --+--> inbox --> _fill() --> Batch --> _commit() ---------------> commit(batch)
    watch()    --+                                       |
    waiters    <--------------- _deliver() <-------- Committed <----------------
    executors  <---------------

Claims ride along: a tick asks for as many runs as the executors can take. And there is a short cut, *local
dispatch*: when nothing else is queued, a spawned run is born already claimed by this worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

from fanwood.engine.admission import Admission, Room
from fanwood.engine.calls import Calls
from fanwood.engine.claims import Claims
from fanwood.engine.commits import Commits
from fanwood.engine.delivery import Delivery
from fanwood.engine.dispatcher import Dispatcher, NoDispatcher
from fanwood.engine.housekeeping import Housekeeping
from fanwood.engine.inbox import Inbox, Limit, SpawnRequest
from fanwood.engine.signals import new_loop
from fanwood.engine.timers import Timers
from fanwood.errors import (
    EngineClosedError,
    StoreError,
    UsageError,
)
from fanwood.model.commands import Batch, Closing, Committed, Failure, LogLine, Outcome
from fanwood.model.states import RunState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fanwood.engine.waits import Collector
    from fanwood.settings import Settings
    from fanwood.store.store import Store

T = TypeVar("T")

logger = logging.getLogger("fanwood.engine")

RETIRE_SECONDS = 5.0
"""How long a worker that stops waits for its last outcomes to be committed."""
RECHECKED = 200
"""How many of the runs that are waited for are looked at again at a time."""


class Engine:
    """See the module's essay. Public methods may be called from any thread, unless they say otherwise."""

    def __init__(self, store: Store, settings: Settings, name: str) -> None:
        self.store = store
        self.settings = settings
        self.name = name
        self.worker_id = 0
        self.dispatcher: Dispatcher = NoDispatcher()
        self.failure: BaseException | None = None
        self.rivals: frozenset[str] = frozenset()  # those of our tasks that other workers serve as well
        self._inbox = Inbox()
        self._admission = Admission()
        self._claims = Claims(one_at_a_time=store.embedded)
        self._delivery = Delivery(store.url)
        self._limits = Timers()
        self._mail = False  # the mailbox may hold something for us
        self._asleep = False
        self._committing = False
        self._leased_until = 0.0  # by the loop's clock, which only we can stop
        self._turn = asyncio.Lock()  # a commit is under one worker id, from its making to its delivery
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wakeup: asyncio.Future[None] | None = None
        self._thread: threading.Thread | None = None
        self._housekeeping = Housekeeping(self)
        self._commits = Commits(store, settings, self._inbox, self._housekeeping)
        self._cold = Calls(store, self._commits, self.look)

    # --- its life --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Open the store and begin. Returns when both are done.

        Raises:
            StoreError: the store can't be opened.
        """
        started: Future[None] = Future()
        self._thread = threading.Thread(target=self._main, args=(started,), name="fanwood-engine", daemon=True)
        self._thread.start()
        started.result()

    def stop(self) -> None:
        """Commit what is in the inbox, let go of the store, end the thread. Executors must have stopped before."""
        if self._thread is None or self._loop is None or self._stopping:
            return
        self._stopping = self._commits.hurried = True
        self._wake()
        self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether commands are still taken."""
        return not self._stopping and self._thread is not None and self._thread.is_alive()

    def _main(self, started: Future[None]) -> None:
        try:
            with asyncio.Runner(loop_factory=new_loop) as runner:
                runner.run(self._run(started))
        except BaseException as error:
            self.failure = error
            if not started.done():
                started.set_exception(error)
            else:
                logger.exception("the engine has stopped; runs of this process will go on elsewhere")
        finally:
            self._stopping = True
            why = f"the engine failed: {self.failure!r}" if self.failure else "this Fanwood object was closed"
            self._delivery.fail_all(EngineClosedError(f"Nobody waits for this run any more: {why}"))

    async def _run(self, started: Future[None]) -> None:
        self._loop = asyncio.get_running_loop()
        await self.store.open(self.look)
        try:
            self.leased(self._time() + self.settings.lease)
            self.worker_id = await self.store.register(self._housekeeping.info(()), ())
            started.set_result(None)
            self._housekeeping.start()
            await self._tick_until_stopped()
            await self._cold.finish()
            await self._housekeeping.stop()
            with contextlib.suppress(StoreError):
                await self.store.unregister(self.worker_id)
        finally:
            await self.store.close()

    async def _tick_until_stopped(self) -> None:
        while True:
            if not self._has_work():
                await self._sleep()
            if self._stopping and not self._inbox and not self._admission:
                return
            await self._tick()
            await asyncio.sleep(0)  # an embedded store never suspends: let heartbeats, calls and sweeps have their turn

    def _has_work(self) -> bool:
        waiting = self._inbox or self._mail or self._stopping or self._delivery.has_work
        return bool(waiting) or self._claims.wanted(self.dispatcher) or self._may_go_on()

    def _room_for_spawns(self) -> int | None:
        """For how many runs whose parents wait for them there is room; None: for any number."""
        alone = self._claims.active and not self.rivals and not self._stopping
        if not alone or not self.dispatcher.streams() or self._admission.has_waited_long(self._time()):
            return None
        if self._claims.ready:  # first what is queued
            return 0
        return self.dispatcher.demand()

    def _may_go_on(self) -> bool:
        """Whether there is room for spawns that were held back."""
        return bool(self._admission) and self._room_for_spawns() != 0

    # --- waking ----------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        """The inbox has something. Wakes the loop once, however many come before it looks."""
        if self._asleep:
            self._asleep = False
            assert self._loop is not None
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                self._loop.call_soon_threadsafe(self._rouse)

    def _rouse(self) -> None:
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)

    async def _sleep(self) -> None:
        assert self._loop is not None
        self._wakeup = self._loop.create_future()
        self._asleep = True
        if self._inbox or self._stopping or self._may_go_on():  # it came between the look and the flag
            self._asleep = False
            return
        timer = self._timer()
        try:
            await self._wakeup
        finally:
            self._asleep = False
            if timer is not None:
                timer.cancel()

    def _timer(self) -> asyncio.TimerHandle | None:
        assert self._loop is not None
        due = self._limits.next()
        pause = (due - self.store.now()) / 1e6 if due is not None else None
        if self._admission:
            held = self._admission.until() - self._time()
            pause = held if pause is None else min(pause, held)
        return None if pause is None else self._loop.call_later(max(0.0, pause), self._rouse)

    def _time(self) -> float:
        assert self._loop is not None
        return self._loop.time()

    def _check_limits(self) -> None:
        if self._limits.next() is not None:
            for run, attempt in self._limits.due(self.store.now()):
                self.dispatcher.limit_reached(run, attempt)

    def look(self) -> None:
        """On the engine's thread: the store was changed, by others or by a cold verb; look at mail and queue."""
        self._mail = True
        self.nudge()

    # --- the lease -------------------------------------------------------------------------------------------------

    @property
    def holds_lease(self) -> bool:
        """Whether nobody can have taken us for dead. Without that nothing begins: what we had claimed may have been
        closed, and whoever closed it has not waited for us to hear of it."""
        return self._loop is not None and self._loop.time() < self._leased_until

    def leased(self, until: float) -> None:
        """The lease lasts until then, by the loop's clock. If it had lapsed, what has not begun goes back first."""
        lapsed = not self.holds_lease
        self._leased_until = max(self._leased_until, until)
        if lapsed:
            self.report(self.dispatcher.hand_back())
            self.dispatcher.go_on()

    def nudge(self) -> None:
        """On the engine's thread: the queue may have changed."""
        self._claims.ready = True
        self._asleep = False
        self._rouse()

    def room(self) -> None:
        """The executors can take more runs."""
        if (self._claims.ready and self._claims.active) or self._admission:
            self._wake()

    # --- what callers ask for --------------------------------------------------------------------------------------

    def spawn(self, request: SpawnRequest) -> None:
        """Have runs born."""
        self._must_live()
        self._inbox.spawns.append(request)
        self._wake()

    def report(self, outcomes: list[Outcome]) -> None:
        """Attempts have ended."""
        if outcomes:
            self._inbox.outcomes.append(outcomes)
            self._wake()

    def log(self, line: LogLine) -> None:
        """A task has logged a line."""
        self._inbox.logs.append(line)
        self._wake()

    def watch(self, run_id: bytes, collector: Collector, index: int) -> None:
        """Tell `collector` when any run, of any process, ends."""
        self._must_live()
        self._inbox.watches.append((run_id, collector, index))
        self._wake()

    def set_limit(self, run: str, attempt: int, when: int | None) -> None:
        """A run that executes here must end by `when` (None: it has ended)."""
        self._inbox.limits.append(Limit(run, attempt, when))
        self._wake()

    def move_deadline(self, run_id: bytes, attempt: int, when: int) -> None:
        """The limit of a run was moved, and with it that of the subtree that inherited it."""
        self._inbox.deadlines.append((run_id, attempt, when))
        self._wake()

    def call(
        self, verb: Callable[[Store], Awaitable[T]], *, changes: bool = False, steadfast: bool = False
    ) -> Future[T]:
        """Run a cold verb beside the ticks; `changes`: it may have written mail or queued something.

        A server that is away is waited for: for a while, or (`steadfast`: a run needs it) as long as it takes.
        """
        self._must_live()
        assert self._loop is not None
        patience = None if steadfast else self.settings.outage_patience
        return self._cold.begin(self._loop, verb, changes=changes, patience=patience)

    def _must_live(self) -> None:
        if not self.alive:
            why = f": {self.failure}" if self.failure else ""
            raise EngineClosedError(f"This Fanwood object is closed, or its store is gone{why}. Make a new one.")

    # --- becoming and ceasing to be a worker -----------------------------------------------------------------------

    def employ(self, dispatcher: Dispatcher) -> Future[None]:
        """From now on claim runs for `dispatcher`. Done when its tasks are published."""

        async def begin(store: Store) -> None:
            if self.dispatcher.slots:
                raise UsageError("This process is a worker already: one Fanwood object is one worker at a time")
            await self._register(store, dispatcher)
            self.rivals = await store.rivals(self.worker_id)
            self.dispatcher = dispatcher
            self._claims.begin([task.name for task in dispatcher.tasks()])

        return self.call(begin, changes=True)

    def serve_more(self) -> Future[None]:
        """The dispatcher has got more tasks; done when they are published."""

        async def publish(store: Store) -> None:
            tasks = self.dispatcher.tasks()
            await store.publish(self.worker_id, tasks)
            self._claims.begin([task.name for task in tasks])

        return self.call(publish, changes=True)

    async def enter_again(self, lost: int, failure: Failure) -> bool:
        """On the engine's thread: the lease of `lost` was lost; be a new worker, with the same tasks. Not if we are
        another one already."""
        return await self._register(self.store, self.dispatcher, (lost, failure))

    async def _register(self, store: Store, dispatcher: Dispatcher, lost: tuple[int, Failure] | None = None) -> bool:
        """Be a new worker from now on; what the old one had (born claimed meanwhile, say) goes back to the queue."""
        async with self._turn:
            if lost is not None:
                if self.worker_id != lost[0]:
                    return False
                self.dispatcher.abandon(lost[1])
            tasks = dispatcher.tasks()
            info = self._housekeeping.info(tuple(task.name for task in tasks), dispatcher.slots)
            until = self._time() + self.settings.lease
            old, self.worker_id = self.worker_id, await store.register(info, tasks)
            self._leased_until = until
        await store.bury(old, self.settings.deaths_limit)
        self._watch_all_again()
        return True

    def pause(self) -> None:
        """Claim no more."""
        self._claims.active = False
        self._wake()

    def retire(self) -> Future[None]:
        """Be a client again; what the executors reported before is committed first."""

        async def end(store: Store) -> None:
            with contextlib.suppress(TimeoutError):  # a store that can't be written to must not keep us from stopping
                async with asyncio.timeout(RETIRE_SECONDS):
                    while self._inbox.outcomes or self._committing:  # noqa: ASYNC110  (once, at a worker's end)
                        await asyncio.sleep(0.001)
            self.dispatcher = NoDispatcher()
            self._claims.begin(())
            try:
                async with asyncio.timeout(RETIRE_SECONDS):
                    await self._register(store, self.dispatcher)
            except (StoreError, TimeoutError) as error:
                logger.warning("%s What this worker had goes on elsewhere once its lease has lapsed.", error)
                self._watch_all_again()

        return self.call(end)

    def _watch_all_again(self) -> None:
        """Watches went with the worker that we were."""
        self._delivery.watch_all_again()
        self.look()

    # --- the tick --------------------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        self._check_limits()
        async with self._turn:
            self._committing = True
            try:
                batch = Batch()
                requests = self._fill(batch)
                if batch.is_empty:
                    return
                committed = await self._commits.commit(self.worker_id, batch, requests)
                if committed is not None:
                    self._deliver(batch, requests, committed)
            finally:
                self._committing = False

    def _fill(self, batch: Batch) -> list[SpawnRequest]:
        inbox = self._inbox
        while inbox.limits:
            limit = inbox.limits.popleft()
            if limit.when is None:
                self._limits.drop(limit.run, limit.attempt)
            else:
                self._limits.set(limit.run, limit.attempt, limit.when)
        left = inbox.empty_into(batch)
        requests = self._admission.admit(
            inbox.spawns, self.dispatcher.serves, Room(self._room_for_spawns(), left, self._time())
        )
        for request in requests:
            batch.spawns += request.spawns
            batch.attaches += request.attaches
        while inbox.watches:
            self._delivery.watch(*inbox.watches.popleft(), batch)
        self._delivery.prepare(batch, requests)
        batch.mail, self._mail = self._mail, False
        self._claims.plan(batch, self.dispatcher)
        return requests

    def _deliver(self, batch: Batch, requests: list[SpawnRequest], committed: Committed) -> None:
        self._housekeeping.note_health()
        self._housekeeping.expect_of(batch, requests)
        if committed.has_closed:
            self._housekeeping.closing.note()
        if committed.has_more:
            self._mail = True
        self._delivery.deliver(batch, requests, committed)
        for notice in committed.mine:
            self.dispatcher.notice(notice)
        for closing in committed.closings:
            self._hear(closing)
        runs = self._claims.learn(batch, committed)
        if runs:
            self.dispatcher.offer(runs)
        for outcome in batch.outcomes:
            if outcome.state is RunState.QUEUED and not outcome.delay:
                self._claims.ready = True

    def _hear(self, closing: Closing) -> None:
        """Something was closed by a call, which waits until we have given back what we had not begun of that tree."""
        self.report(self.dispatcher.hand_back(closing.root_id))
        self._inbox.heard.append(bytes.fromhex(closing.run_id))
        self._wake()

    def recheck(self) -> None:
        """On the engine's thread: look again at some of the runs that are waited for."""
        self._delivery.look_again(RECHECKED)
        if self._delivery.has_work:
            self.look()
