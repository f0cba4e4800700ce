"""A process of a world: an engine and an executor, as they are, on loops that are stepped; it may die at any moment."""

# pyright: reportPrivateUsage=false, reportAttributeAccessIssue=false

from __future__ import annotations

import asyncio
import contextvars
from collections import Counter
from concurrent.futures import Future
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol, cast

from fanwood import logs
from fanwood.engine.engine import Engine
from fanwood.errors import EngineClosedError
from fanwood.model.commands import Batch, Committed, Failure
from fanwood.model.states import RunState
from fanwood.sdk.running.waiting import called
from fanwood.store.memory.store import MemoryStore
from fanwood.testing.loops import NEVER, VirtualLoop
from fanwood.testing.threads import Crew
from fanwood.worker.executor import Executor

if TYPE_CHECKING:
    from collections.abc import Callable

    from fanwood.home import Member
    from fanwood.sdk.declaring.spec import TaskSpec
    from fanwood.sdk.running.attempt import Attempt
    from fanwood.settings import Settings
    from fanwood.store.memory.memory import Memory
    from fanwood.testing.ground import Ground
    from fanwood.testing.threads import Hand

logger = logs.logger("fanwood.testing")

LEASE, HEARTBEAT, SWEEP = 10.0, 2.0, 0.5


class Watcher(Protocol):
    """Is told of what happens in the processes, and may kill one."""

    def at_commit(self, host: Host, what: Any, done: Any) -> None:
        """Before a commit (`done` is None), and after it. What it raises, the engine gets as the store's answer."""
        ...

    def at_await(self, host: Host, attempt: Attempt | None, task: asyncio.Task[Any]) -> None:
        """A task's code waits."""
        ...

    def at_wait(self, host: Host, hand: Hand) -> None:
        """A sync task's code waits."""
        ...


class PlaceOf(Protocol):
    """Where a process is (`places.Place`)."""

    memory: Memory
    member: Member

    @property
    def settings(self) -> Settings:
        """Of who came first."""
        ...

    def specs(self) -> dict[str, TaskSpec]:
        """What is executed."""
        ...

    def note_death(self, host: Host) -> None:
        """It lives no more."""
        ...


class VirtualEngine(Engine):
    """An engine on a loop that is stepped, and not on a thread."""

    is_killed = False

    def __init__(self, *about: Any) -> None:
        super().__init__(*about)
        self._wishes: Counter[float] = Counter()  # when somebody wants to be called

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """As of an engine; what is wanted so comes, however long nothing else happens."""
        if self._loop is None:
            return
        when = self._loop.time() + seconds
        self._wishes[when] += 1

        def come() -> None:
            self._wishes[when] -= 1
            if not self._wishes[when]:
                del self._wishes[when]
            call()

        super().later(seconds, come)

    def begin(self, loop: VirtualLoop) -> Future[None]:
        """What `start` does."""
        started: Future[None] = Future()
        self._loop = loop  # what is asked for before it has begun comes right after
        self._thread = SimpleNamespace(is_alive=lambda: not self._over, join=lambda: None)
        loop.create_task(self._live(started))
        return started

    async def _live(self, started: Future[None]) -> None:
        try:
            await self._run(started)
        except BaseException as error:
            if self.is_killed:
                return
            self.failure = error
            if not started.done():
                started.set_exception(error)
            logger.exception("the engine of a test has failed")
        finally:
            self._stopping = self._over = True
            self._answer_all()

    @property
    def is_asked(self) -> bool:
        """Whether somebody waits for an answer, which may take the store some time."""
        ticks = self._ticks
        under_way = ticks._committing or self._calls._unanswered or ticks._admission.held
        return bool(under_way) or self._commits.due_again is not None

    def next_time(self) -> float:
        """Seconds until there is something to do, whatever anybody says."""
        if self._loop is None:
            return NEVER
        now = self._loop.time()
        pause = self._ticks._pause(now)
        return min([NEVER if pause is None else pause, *(when - now for when in self._wishes)])

    def stay_leased(self, seconds: float) -> None:
        """As if it had renewed its lease all the while."""
        self.lease.until = max(self.lease.until, seconds)


class WatchedStore(MemoryStore):
    """A host's way to a memory, at each commit of which something may happen. What is sent again, as its answer was
    lost, is done once, as a server does it."""

    def __init__(self, host: Host, place: PlaceOf) -> None:
        super().__init__(host.world.clock, memory=place.memory)
        self._host = host
        self._doubtful: tuple[Batch, Committed] | None = None

    async def commit(self, worker_id: int, batch: Batch) -> Committed:
        if self._doubtful is not None and self._doubtful[0] is batch:
            done = self._as_it_is_now(worker_id, self._doubtful[1])
        else:
            if not batch.only_looks:
                await self._point(batch, None)
            done = await super().commit(worker_id, batch)
        if not batch.only_looks or done != Committed():
            self._doubtful = batch, done
            await self._point(batch, done)
        self._doubtful = None
        return done

    async def _point(self, what: Batch | str, done: Any) -> None:
        for watcher in list(self._host.world.watchers):
            watcher.at_commit(self._host, what, done)
        if self._host.dead:
            await asyncio.get_running_loop().create_future()

    def _as_it_is_now(self, worker_id: int, done: Committed) -> Committed:
        """The answer that was lost; what was claimed may have been taken away since."""
        runs = self._memory.tables.runs
        claimed = [(run, runs.get(run.key)) for run in done.claimed]
        done.claimed = [
            run
            for run, now in claimed
            if now is not None and now.is_at(RunState.RUNNING, run.attempt) and now.worker_id == worker_id
        ]
        done.has_more = True
        return done

    def part(self) -> None:
        """Its process is gone, without a word."""
        if self._user:
            self._memory.leave(self._user)


def _watched(name: str) -> Any:
    async def verb(self: WatchedStore, *args: Any, **named: Any) -> Any:
        await self._point(name, None)
        answer = await getattr(MemoryStore, name)(self, *args, **named)
        await self._point(name, answer)
        return answer

    return verb


for _name in ("cancel", "sweep", "replay"):  # what else changes the store on behalf of tasks
    setattr(WatchedStore, _name, _watched(_name))


class Host:
    """See the module's essay. With `slots` it executes what there is of its place's tasks; else it is a client's."""

    def __init__(self, world: Ground, place: PlaceOf, name: str, *, slots: int) -> None:
        self.world = world
        self.place = place
        self.name = name
        self.slots = slots
        self.dead = False
        self.engine_loop = VirtualLoop(world.time, world.outside)
        self.task_loop = VirtualLoop(world.time, world.outside)
        self.crew = Crew(world.time, world.hands, world.patience)
        self.crew.note_wait = self._note_wait
        self.store = WatchedStore(self, place)
        settings = replace(
            place.settings, processes=1, retention_days=0.0, lease=LEASE, heartbeat=HEARTBEAT, sweep=SWEEP
        )
        self.engine = VirtualEngine(self.store, settings, name)
        self.engine._membership.host = f"{name}, in a test"  # nobody judges it by a process
        self.executor: Executor | None = None
        started = self.engine.begin(self.engine_loop)
        if slots:
            self.task_loop.create_task(self._work(started))

    async def _work(self, started: Future[None]) -> None:
        await called(started)
        specs = self.place.specs()
        executor = self.executor = Executor(self.place.member, self.engine, specs, self.slots, contextvars.Context())
        executor._threads = self.crew
        executor.lifespan = self.world.lifespan
        executor.attach(self.task_loop)
        await called(self.engine.employ(executor))

    def serve(self) -> None:
        """Tasks may have been declared, or stubbed, since."""
        if self.executor is None:  # it begins, and will look
            return
        known, specs = self.executor.specs, self.place.specs()
        if any(known.get(name) is not spec for name, spec in specs.items()):
            self.executor.specs = specs
            if not known.keys() >= specs.keys():
                self.engine.serve_more()

    def turn(self) -> bool:
        """All that is ready, once; whether anything was."""
        after = self._after if self.world.watchers and self.slots else None
        did = self.engine_loop.turn(timers_count=self._has_chores())
        did = (not self.dead and self.task_loop.turn(after)) or did
        return (not self.dead and self.crew.turn(lambda: self.dead)) or did

    def _has_chores(self) -> bool:
        """Whether the engine's timers may fire. Most are chores that come again and again and change nothing, unless
        something has gone wrong: in a year of sleep they would take most of the time."""
        if self.engine_loop.earliest > self.world.time.seconds:
            return False
        due = self.place.memory.chores.next_due()
        late = due is not None and due <= self.place.memory.now()
        return late or self.engine.is_asked or self.engine.next_time() <= 0 or self.world.has_chores()

    def next_time(self, *, everything: bool) -> int | None:
        """When there is something to do, whatever anybody says. Without `everything` chores don't count that come again
        and again, and change nothing."""
        time = self.world.time
        times = [self.task_loop.earliest]
        if everything or self.engine.is_asked:
            times.append(self.engine_loop.earliest)
        if (pause := self.engine.next_time()) != NEVER:
            times.append(time.seconds + max(0.0, pause))
        found = [time.at(seconds) for seconds in times if seconds != NEVER]
        if (waking := self.crew.earliest()) is not None:
            found.append(waking)
        return min(found, default=None)

    # --- what becomes of it ----------------------------------------------------------------------------------------

    def kill(self) -> None:
        """At once, without a word. Its lease has lapsed: time is not what a test of this is about."""
        self.dead = self.engine.is_killed = True
        self.store.part()
        row = self.place.memory.tables.workers.get(self.engine.worker_id)
        if row is not None:
            row.lease = self.place.memory.now() if row.lease is not None else None
        self.engine_loop.abandon()
        self.task_loop.abandon()
        self.place.note_death(self)

    def end(self) -> None:
        """The world is over, for this one as well."""
        self.engine.is_killed = True
        if self.executor is not None:
            for attempt in self.executor._running.values():  # nobody asks what becomes of them
                attempt.interruption = Failure("cancelled", message="the test is over")
        self.crew.end()
        self.task_loop.end()
        self.engine_loop.end()

    def close(self) -> None:
        """In good order: what executes is handed back."""
        engine, executor = self.engine, self.executor
        if executor is not None and engine.alive:
            engine.pause()
            executor.begin_stop()
            executor.hand_back_all()
            try:
                retired = engine.retire()
                self.world.drive(retired.done)
            except EngineClosedError:
                pass
        if engine.alive:
            engine._stopping = engine._commits.hurried = True
            engine._ticks.stop()
            self.world.drive(lambda: engine._over)
        self.dead = True
        self.place.note_death(self)

    # --- points at which it may die --------------------------------------------------------------------------------

    def _after(self, handle: asyncio.Handle) -> None:
        """Something was done on the loop of the tasks. If it was a step of a task that waits now, that is a point."""
        owner: Any = getattr(getattr(handle, "_callback", None), "__self__", None)
        if not isinstance(owner, asyncio.Task) or self.executor is None:
            return
        task = cast("asyncio.Task[Any]", owner)
        if task.done():
            return
        attempts = {attempt.coroutine_task: attempt for attempt in self.executor._running.values()}
        attempt = attempts.get(task)
        if attempt is None and not attempts:  # our own, as it begins
            return
        for watcher in list(self.world.watchers):
            watcher.at_await(self, attempt, task)

    def _note_wait(self, hand: Hand) -> None:
        if not self.dead:
            for watcher in list(self.world.watchers):
                watcher.at_wait(self, hand)

    def attempts(self) -> list[Attempt]:
        """What executes here."""
        return [] if self.dead or self.executor is None else list(self.executor._running.values())
