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
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import msgspec

from fanwood.engine.dispatcher import Dispatcher, NoDispatcher
from fanwood.engine.housekeeping import Housekeeping
from fanwood.engine.timers import Timers
from fanwood.engine.waits import Collector, Waits
from fanwood.errors import (
    AttemptFencedError,
    EngineClosedError,
    RunNotFoundError,
    StoreBusyError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
)
from fanwood.ids import id_text
from fanwood.model.commands import (
    Attach,
    Attached,
    Batch,
    ClaimedRun,
    ClaimRequest,
    Committed,
    Finished,
    LogLine,
    Outcome,
    Spawn,
)
from fanwood.model.states import RunState
from fanwood.store.expiry import expiry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fanwood.settings import Settings
    from fanwood.store.store import Store

T = TypeVar("T")

logger = logging.getLogger("fanwood.engine")

FAIR_SHARE = 8
"""One claim in so many takes the oldest ready run, so that nothing starves."""
RETRY_PAUSES = (0.01, 0.05, 0.2, 0.5, 1.0)
"""Seconds to wait before a commit that failed is tried again; the last one for as long as it takes."""
ROOTS_FAIL_AFTER = 4
"""Tries of a commit after which new roots are refused; about a second."""
_HEALABLE = (StoreBusyError, StoreFullError, StoreUnavailableError)


@dataclass(slots=True)
class SpawnRequest:
    """Some runs to be born, or found again, for one caller."""

    spawns: list[Spawn] = field(default_factory=list[Spawn])
    attaches: list[Attach] = field(default_factory=list[Attach])
    collector: Collector | None = None  # who wants their ends ...
    spawn_indexes: list[int] = field(default_factory=list[int])  # ... under which numbers
    attach_indexes: list[int] = field(default_factory=list[int])
    watch: bool = False  # roots: somebody else may execute them, and must know that we wait
    on_done: Callable[[BaseException | None, dict[bytes, Attached]], None] | None = None


@dataclass(slots=True)
class _Inbox:
    """What has been asked since the last tick. Deques: appending and emptying need no lock."""

    spawns: deque[SpawnRequest] = field(default_factory=deque[SpawnRequest])
    outcomes: deque[list[Outcome]] = field(default_factory=deque[list[Outcome]])
    logs: deque[LogLine] = field(default_factory=deque[LogLine])
    watches: deque[tuple[bytes, Collector, int]] = field(default_factory=deque[tuple[bytes, Collector, int]])
    deadlines: deque[tuple[bytes, int, int]] = field(default_factory=deque[tuple[bytes, int, int]])
    timers: deque[tuple[str, int, int | None]] = field(default_factory=deque[tuple[str, int, int | None]])

    def __bool__(self) -> bool:
        return bool(self.outcomes or self.spawns or self.watches or self.logs or self.deadlines or self.timers)


class Engine:
    """See the module's essay. Public methods may be called from any thread, unless they say otherwise."""

    def __init__(self, store: Store, settings: Settings, name: str) -> None:
        self.store = store
        self.settings = settings
        self.name = name
        self.worker_id = 0
        self.dispatcher: Dispatcher = NoDispatcher()
        self.failure: BaseException | None = None
        self._tasks_json = "[]"
        self._inbox = _Inbox()
        self._waits = Waits()
        self._watched: set[bytes] = set()
        self._timers = Timers()
        self._asleep = False
        self._claiming = False
        self._committing = False
        self._ready = True  # the queue may hold something for us
        self._mail = False  # the mailbox may hold something for us
        self._fairness = 0.0
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wakeup: asyncio.Future[None] | None = None
        self._thread: threading.Thread | None = None
        self._calls: set[asyncio.Task[None]] = set()
        self._rechecks: list[bytes] = []
        self._housekeeping = Housekeeping(self)

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
        self._stopping = True
        self._wake()
        self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether commands are still taken."""
        return not self._stopping and self._thread is not None and self._thread.is_alive()

    def _main(self, started: Future[None]) -> None:
        try:
            asyncio.run(self._run(started))
        except BaseException as error:
            self.failure = error
            if not started.done():
                started.set_exception(error)
            else:
                logger.exception("the engine has stopped; runs of this process will go on elsewhere")
        finally:
            self._stopping = True
            why = f"the engine failed: {self.failure!r}" if self.failure else "this Fanwood object was closed"
            self._waits.fail_all(EngineClosedError(f"Nobody waits for this run any more: {why}"))

    async def _run(self, started: Future[None]) -> None:
        self._loop = asyncio.get_running_loop()
        await self.store.open(self._hint)
        try:
            self.worker_id = await self.store.register(self._housekeeping.info(()), ())
            started.set_result(None)
            chores = self._loop.create_task(self._housekeeping.run())
            await self._tick_until_stopped()
            await asyncio.gather(*self._calls)
            chores.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await chores
            with contextlib.suppress(StoreError):
                await self.store.unregister(self.worker_id)
        finally:
            await self.store.close()

    async def _tick_until_stopped(self) -> None:
        while True:
            if not (self._inbox or self._mail or self._rechecks or self._stopping or self._wants_runs()):
                await self._sleep()
            if self._stopping and not self._inbox:
                return
            await self._tick()

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
        if self._inbox or self._stopping:  # it came between the look and the flag
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
        due = self._timers.next()
        if due is None:
            return None
        return self._loop.call_later(max(0.0, (due - self.store.now()) / 1e6), self._rouse)

    def _check_limits(self) -> None:
        if self._timers.next() is not None:
            for run, attempt in self._timers.due(self.store.now()):
                self.dispatcher.limit_reached(run, attempt)

    def _hint(self) -> None:
        """Somebody else changed the store."""
        self._mail = True
        self._ready = True
        self._asleep = False
        self._rouse()

    def nudge(self) -> None:
        """On the engine's thread: the queue may have changed."""
        self._ready = True
        self._asleep = False
        self._rouse()

    def room(self) -> None:
        """The executors can take more runs."""
        if self._ready and self._claiming:
            self._wake()

    def look(self) -> None:
        """On the engine's thread: something was changed by a cold verb; look at mail and queue."""
        self._hint()

    # --- what callers ask for --------------------------------------------------------------------------------------

    def spawn(self, request: SpawnRequest) -> None:
        """Have runs born."""
        self._must_live()
        self._inbox.spawns.append(request)
        self._wake()

    def report(self, outcomes: list[Outcome]) -> None:
        """Attempts have ended."""
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
        self._inbox.timers.append((run, attempt, when))
        self._wake()

    def move_deadline(self, run_id: bytes, attempt: int, when: int) -> None:
        """The limit of a run was moved, and with it that of the subtree that inherited it."""
        self._inbox.deadlines.append((run_id, attempt, when))
        self._wake()

    def call(self, verb: Callable[[Store], Awaitable[T]], *, changes: bool = False) -> Future[T]:
        """Run a cold verb between two ticks; `changes`: it may have written mail or queued something."""
        self._must_live()
        result: Future[T] = Future()
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._begin_call, verb, result, changes)
        return result

    def _begin_call(self, verb: Callable[[Store], Awaitable[T]], result: Future[T], changes: bool) -> None:
        async def run() -> None:
            try:
                answer = await verb(self.store)
            except BaseException as error:
                result.set_exception(error)
            else:
                result.set_result(answer)
            if changes:
                self._hint()

        assert self._loop is not None
        self._calls.add(task := self._loop.create_task(run()))
        task.add_done_callback(self._calls.discard)

    def _must_live(self) -> None:
        if not self.alive:
            why = f": {self.failure}" if self.failure else ""
            raise EngineClosedError(f"This Fanwood object is closed, or its store is gone{why}. Make a new one.")

    # --- becoming and ceasing to be a worker -----------------------------------------------------------------------

    def employ(self, dispatcher: Dispatcher) -> Future[None]:
        """From now on claim runs for `dispatcher`. Done when its tasks are published."""

        async def begin(store: Store) -> None:
            tasks = dispatcher.tasks()
            old = self.worker_id
            info = self._housekeeping.info(tuple(task.name for task in tasks), dispatcher.slots)
            self.worker_id = await store.register(info, tasks)
            await store.bury(old, self.settings.deaths_limit)
            self._watch_all_again()
            self._tasks_json = msgspec.json.encode(info.tasks).decode()
            self.dispatcher = dispatcher
            self._claiming = bool(info.tasks)

        return self.call(begin, changes=True)

    async def enter_again(self) -> None:
        """On the engine's thread: the lease was lost; be a new worker, with the same tasks."""
        tasks = self.dispatcher.tasks()
        info = self._housekeeping.info(tuple(task.name for task in tasks), self.dispatcher.slots)
        self.worker_id = await self.store.register(info, tasks)
        self._watch_all_again()

    def pause(self) -> None:
        """Claim no more."""
        self._claiming = False

    def retire(self) -> Future[None]:
        """Be a client again; what the executors reported before is committed first."""

        async def end(store: Store) -> None:
            while self._inbox.outcomes or self._committing:
                await asyncio.sleep(0.001)
            old = self.worker_id
            self.dispatcher = NoDispatcher()
            self._tasks_json = "[]"
            self.worker_id = await store.register(self._housekeeping.info(()), ())
            await store.bury(old, self.settings.deaths_limit)
            self._watch_all_again()

        return self.call(end)

    def _watch_all_again(self) -> None:
        """Watches went with the worker that we were."""
        self._watched.clear()
        self._rechecks = self._waits.some(len(self._waits))
        self._hint()

    # --- the tick --------------------------------------------------------------------------------------------------

    def _wants_runs(self) -> bool:
        return self._ready and self._claiming and self.dispatcher.demand() > 0

    async def _tick(self) -> None:
        self._check_limits()
        self._committing = True
        try:
            requests = self._fill_requests()
            batch = self._fill(requests)
            if self._empty(batch):
                return
            committed = await self._commit(batch, requests)
            if committed is not None:
                self._deliver(batch, requests, committed)
        finally:
            self._committing = False

    def _fill_requests(self) -> list[SpawnRequest]:
        inbox = self._inbox.spawns
        return [inbox.popleft() for _ in range(len(inbox))]

    def _fill(self, requests: list[SpawnRequest]) -> Batch:
        inbox, batch = self._inbox, Batch()
        while inbox.timers:
            run, attempt, when = inbox.timers.popleft()
            self._timers.drop(run) if when is None else self._timers.set(run, attempt, when)
        while inbox.logs:
            batch.logs.append(inbox.logs.popleft())
        while inbox.outcomes:
            batch.outcomes += inbox.outcomes.popleft()
        while inbox.deadlines:
            batch.deadlines.append(inbox.deadlines.popleft())
        for request in requests:
            batch.spawns += request.spawns
            batch.attaches += request.attaches
            if request.watch:
                self._watch_spawned(request, batch)
        while inbox.watches:
            run_id, collector, index = inbox.watches.popleft()
            self._waits.add(run_id, collector, index)
            self._watched.add(run_id)
            batch.watch.append(run_id)
        batch.watch += self._rechecks
        self._watched.update(self._rechecks)
        self._rechecks = []
        if self._watched:
            for outcome in batch.outcomes:
                if outcome.run_id in self._watched:
                    outcome.local = False  # so that the watch is taken down
        batch.mail, self._mail = self._mail, False
        self._plan_claims(batch)
        return batch

    def _watch_spawned(self, request: SpawnRequest, batch: Batch) -> None:
        for spawn in request.spawns:
            self._watched.add(spawn.id)
            batch.watch.append(spawn.id)

    def _plan_claims(self, batch: Batch) -> None:
        """Local dispatch when the queue is known to be empty; otherwise a claim, which sees the new runs as well."""
        if not self._claiming:
            return
        room = self.dispatcher.demand()
        if not self._ready and batch.spawns:
            for spawn in batch.spawns:
                if room == 0:
                    self._ready = True
                    break
                if self.dispatcher.serves(spawn.kind.task):
                    spawn.claimed = True
                    room -= 1
        if self._ready and room > 0:
            self._fairness += room / FAIR_SHARE
            fair = int(self._fairness)
            self._fairness -= fair
            batch.claim = ClaimRequest(self._tasks_json, room, fair)

    @staticmethod
    def _empty(batch: Batch) -> bool:
        return not (
            batch.spawns
            or batch.outcomes
            or batch.claim
            or batch.attaches
            or batch.watch
            or batch.mail
            or batch.logs
            or batch.deadlines
        )

    async def _commit(self, batch: Batch, requests: list[SpawnRequest]) -> Committed | None:
        """Commit, for as long as it takes; None if it can't be done at all, and then those who asked know."""
        for trial in range(1_000_000_000):
            try:
                return await self.store.commit(self.worker_id, batch)
            except _HEALABLE as error:
                self._housekeeping.note_trouble(error)
                if trial == ROOTS_FAIL_AFTER:
                    self._refuse_roots(batch, requests, error)
                if self._stopping and trial > len(RETRY_PAUSES):
                    self._give_up(requests, error)
                    return None
                batch.claim = None
                await asyncio.sleep(RETRY_PAUSES[min(trial, len(RETRY_PAUSES) - 1)])
            except StoreError as error:
                logger.exception("the store refused a commit")
                self._give_up(requests, error)
                return None
        raise AssertionError

    def _refuse_roots(self, batch: Batch, requests: list[SpawnRequest], error: BaseException) -> None:
        """Who starts something new is told that it can't be now; what already runs waits for better times."""
        for request in [r for r in requests if r.spawns and r.spawns[0].kind.parent_id is None]:
            requests.remove(request)
            refused = {spawn.id for spawn in request.spawns}
            batch.spawns = [spawn for spawn in batch.spawns if spawn.id not in refused]
            batch.watch = [id_ for id_ in batch.watch if id_ not in refused]
            self._answer(request, error, {})

    def _give_up(self, requests: list[SpawnRequest], error: BaseException) -> None:
        for request in requests:
            self._answer(request, error, {})

    # --- handing out -----------------------------------------------------------------------------------------------

    def _deliver(self, batch: Batch, requests: list[SpawnRequest], committed: Committed) -> None:
        self._housekeeping.note_health()
        if requests:
            attached = {found.id: found for found in committed.attached}
            for request in requests:
                self._deliver_spawned(request, attached, committed)
        self._deliver_ended(batch, committed)
        for notice in committed.mine:
            if notice.state is RunState.RUNNING and notice.deadline is not None:
                self._timers.set(notice.run_id.hex().upper(), notice.attempt, notice.deadline)
            self.dispatcher.notice(notice)
        self._dispatch(batch, committed)

    def _deliver_spawned(self, request: SpawnRequest, attached: dict[bytes, Attached], committed: Committed) -> None:
        if committed.fenced_parents:
            kind = (request.spawns or request.attaches)[0].kind
            if (kind.parent_id, kind.parent_attempt) in committed.fenced_parents:
                who = id_text(kind.parent_id or b"")
                self._answer(request, AttemptFencedError(f"Run {who} may spawn no more: its attempt is over"), {})
                return
        kind = (request.spawns or request.attaches)[0].kind
        if kind.schedule_timeout is not None or kind.deadline is not None:
            self._housekeeping.expect(expiry(self.store.now(), kind.schedule_timeout, kind.deadline) or 0)
        if request.collector is not None:
            waits, collector = self._waits, request.collector
            for spawn, index in zip(request.spawns, request.spawn_indexes, strict=True):
                waits.add(spawn.id, collector, index)
            for attach, index in zip(request.attaches, request.attach_indexes, strict=True):
                found = attached[attach.id]
                if found.matches and found.state.is_terminal:
                    collector.put(index, Finished(found.state, found.output, found.error, found.task))
                elif found.matches:
                    waits.add(attach.id, collector, index)
        self._answer(request, None, attached)

    def _answer(self, request: SpawnRequest, error: BaseException | None, attached: dict[bytes, Attached]) -> None:
        if request.on_done is not None:
            request.on_done(error, attached)
        elif error is not None and request.collector is not None:
            request.collector.fail(error)

    def _deliver_ended(self, batch: Batch, committed: Committed) -> None:
        deliver, fenced = self._waits.deliver, committed.fenced_outcomes
        for outcome in batch.outcomes:
            if outcome.state is RunState.QUEUED:
                self._expect(outcome.delay)
            elif outcome.run_id not in fenced:
                deliver(outcome.run_id, outcome)
        for run_id, finished in committed.finished.items():
            deliver(run_id, finished)
        for run_id in committed.unknown:
            self._waits.fail(run_id, RunNotFoundError(f"There is no run {id_text(run_id)} in {self.store.url}"))
        if self._watched:
            self._watched.difference_update(o.run_id for o in batch.outcomes)
            self._watched.difference_update(committed.finished, committed.unknown)
        if fenced:
            logger.warning("%d result(s) came too late and were refused: their attempts were over", len(fenced))

    def _expect(self, delay: int) -> None:
        """A run comes (back) into the queue, or out of it, in `delay` microseconds."""
        if delay:
            self._housekeeping.expect(self.store.now() + delay)
        else:
            self._ready = True

    def _dispatch(self, batch: Batch, committed: Committed) -> None:
        runs = committed.claimed
        if batch.claim is not None:
            self._ready = len(runs) >= batch.claim.limit
        if batch.spawns:
            fenced = committed.fenced_parents
            born = [s for s in batch.spawns if s.claimed]
            if fenced:
                born = [s for s in born if (s.kind.parent_id, s.kind.parent_attempt) not in fenced]
            runs = [*runs, *map(_born, born)]
            if not batch.claim and any(not s.claimed for s in batch.spawns):
                self._ready = True
        if runs:
            self.dispatcher.offer(runs)

    def recheck(self) -> None:
        """Look again at some of the runs that are waited for: a lost hint must not become a lost result."""
        self._rechecks = self._waits.some(200)
        if self._rechecks:
            self._hint()


def _born(spawn: Spawn) -> ClaimedRun:
    kind = spawn.kind
    id_ = spawn.id.hex().upper()
    return ClaimedRun(
        id_,
        1,
        kind.parent_id.hex().upper() if kind.parent_id else "",
        kind.root_id.hex().upper() if kind.root_id else id_,
        kind.depth,
        kind.task,
        spawn.child_key,
        spawn.input,
        kind.metadata,
        kind.priority,
        0,
        0,
        kind.deadline,
        kind.deadline_by.hex().upper() if kind.deadline_by else "",
        True,
    )
