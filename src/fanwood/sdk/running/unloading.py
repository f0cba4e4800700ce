"""Unloading the code of a durable task while it waits.

An attempt of such a task keeps account of its waits for Fanwood (`Unloading.waiting`). When nothing has come for its
policy's `ttl`, at once if it only sleeps for longer than that, or when its worker asks for it, it is looked whether it
is *quiet*: each asyncio task of it waits for Fanwood, or for another of them; in a sync task its own thread does. Then
the engine is asked to suspend it. The store decides: it may have what is waited for. Until it has decided nothing is
changed here; afterwards the attempt is over, and its code is unwound as that of a cancelled one is.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary, ref

from fanwood import checks
from fanwood.engine.inbox import SuspendRequest
from fanwood.engine.signals import port_of, running_loop
from fanwood.errors import EngineClosedError, RunInterrupted, SettingsError
from fanwood.model.commands import Suspend
from fanwood.model.states import Awaited
from fanwood.sdk.running.current import current_attempt
from fanwood.sdk.running.holding import Holding
from fanwood.sdk.running.sameness import told

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Sequence
    from concurrent.futures import Future

    from fanwood.durations import Duration
    from fanwood.engine.waits import Collector
    from fanwood.sdk.running.attempt import Attempt
    from fanwood.store.store import Store

MOST_AWAITED = 10_000
"""A run that waits for more than so many others stays in memory: each would be a row."""
MOST_PENDING = 250
"""So many are noted whose ends its code had not been given."""
MOST_TIMERS = 100
"""So many that were set are noted before those that are over are left out."""
AGAIN = 1.0
"""Seconds after which it is looked again, at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvictionPolicy:
    """When the code of a durable task that waits is unloaded. It is run from the top when it goes on.

    Args:
        ttl: after so long in which nothing came that it waits for (and at once, if it sleeps for longer). None: never
            by time.
        allow_capacity_eviction: also before that, if its worker holds too many that wait.
        priority: which go first then: lower ones.
    """

    ttl: Duration | None = 60.0
    allow_capacity_eviction: bool = True
    priority: int = 0

    def __post_init__(self) -> None:
        if self.ttl is not None:
            object.__setattr__(self, "ttl", checks.seconds(self.ttl, "ttl", zero=True, error=SettingsError))
        checks.flag(self.allow_capacity_eviction, "allow_capacity_eviction")
        object.__setattr__(self, "priority", checks.whole(self.priority, "priority", error=SettingsError))

    @property
    def seconds(self) -> float | None:
        """The `ttl`."""
        ttl: Any = self.ttl
        return ttl


class Wait(NamedTuple):
    """One wait for Fanwood: who waits (an asyncio task, or a thread), for what, and whether only for a time."""

    who: object
    collector: Collector
    timed: bool


class Unloading:
    """Of one attempt of a durable task. Calls may come from any thread of its."""

    def __init__(
        self,
        attempt: Attempt,
        policy: EvictionPolicy,
        unload: Callable[[Attempt], None],
        decided: Callable[[], None],
        leave: Callable[[Attempt, bool], None],
    ) -> None:
        self.policy = policy
        self.is_suspending = False
        self.since = attempt.host.clock.monotonic()  # when anything came, or a wait began, last
        self.tasks: WeakKeyDictionary[asyncio.Task[Any], None] = WeakKeyDictionary()  # that its code has made, in order
        self.timers: list[asyncio.TimerHandle] = []  # that its code has set, on a loop that does not show them
        self._most_timers = MOST_TIMERS
        self.resting: set[object] = set()  # tasks that wait for others of the same run
        self._holding: Holding | None = None
        self._attempt = attempt
        self._unload = unload
        self._decided = decided
        self._leave = leave
        self._waits: dict[object, Wait] = {}
        self._changes = 0  # of its waits
        self._wanted = False  # it is to be looked whether it is quiet
        self._asked = False  # the store decides
        self._timer = False
        self._looks_on: asyncio.AbstractEventLoop | None = None  # it is looked there in a moment, for all that begin

    # --- its waits -------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def waiting(self, *collectors: Collector, timed: bool) -> Generator[None]:
        """While inside, somebody of it waits for Fanwood: for any of these."""
        numbers = [object() for _ in collectors]
        self._changed()
        self._waits.update((number, Wait(_who(), one, timed)) for number, one in zip(numbers, collectors, strict=True))
        self._begin(collectors)
        try:
            yield
        finally:
            for number in numbers:
                del self._waits[number]
            self._changed()

    @contextlib.contextmanager
    def among(self) -> Generator[None]:
        """While inside, this asyncio task waits for others of the same run."""
        who = _who()
        self.resting.add(who)
        try:
            yield
        finally:
            self.resting.discard(who)

    def note(self, timer: asyncio.TimerHandle) -> None:
        """Its code has set a timer."""
        if len(self.timers) >= self._most_timers:
            self.timers = [one for one in self.timers if _is_to_come(one)]
            self._most_timers = max(MOST_TIMERS, 2 * len(self.timers))
        self.timers.append(timer)

    async def hold(self) -> None:
        """Wait to be cancelled, as this asyncio task was when the code was run before."""
        if self._holding is None:
            self._holding = Holding(self._attempt, self)
        await self._holding.hold()

    @property
    def changes(self) -> int:
        """How often a wait of it has begun or ended."""
        return self._changes

    @property
    def idle_since(self) -> float | None:
        """Since when it waits; None: it does not."""
        return self.since if self._waits else None

    @property
    def may_be_evicted(self) -> bool:
        """Whether it is a sync task's, and would be suspended for lack of threads."""
        if self._attempt.spec.is_async or not self.policy.allow_capacity_eviction or self._is_over():
            return False
        waits = list(self._waits.values())
        few = sum(len(wait.collector.results) for wait in waits) <= MOST_AWAITED
        return few and not any(wait.timed for wait in waits)

    def _changed(self) -> None:
        self._changes += 1
        self.since = self._attempt.host.clock.monotonic()

    def _begin(self, collectors: Sequence[Collector]) -> None:
        """Of ten thousand that begin in one turn of a loop each looks at itself, and one at all."""
        ttl = self.policy.seconds
        if ttl is None:
            return
        if ttl != 0 and not self._are_sleeps(collectors, ttl):
            self._wind(max(ttl, AGAIN))
        elif (loop := running_loop()) is None or not self._attempt.spec.is_async:
            self._look_at_sleeps(ttl)
        elif self._looks_on is not loop:
            self._looks_on = loop
            loop.call_soon(self._look_soon, ttl)  # once the task has begun to wait

    def _look_soon(self, ttl: float) -> None:
        self._looks_on = None
        with contextlib.suppress(EngineClosedError):
            self._look_at_sleeps(ttl)

    def _look_at_sleeps(self, ttl: float) -> None:
        if ttl == 0 or self._are_sleeps([wait.collector for wait in list(self._waits.values())], ttl):
            self._look()
        else:
            self._wind(max(ttl, AGAIN))

    def _are_sleeps(self, collectors: Sequence[Collector], ttl: float) -> bool:
        until = self._attempt.host.engine().store.now() + round(ttl * 1e6)
        return all(one.due is not None and one.due > until for one in collectors)

    def _wind(self, seconds: float) -> None:
        if not self._timer and self.policy.seconds is not None:
            self._timer, me = True, ref(self)  # (it may be over long before that)
            self._attempt.host.engine().later(seconds, lambda: _look_at(me()))

    def due(self) -> None:
        """On the engine's thread: it is time to look."""
        self._timer = False
        ttl = self.policy.seconds
        if self._is_over() or not self._waits or ttl is None:
            return
        idle = self._attempt.host.clock.monotonic() - self.since
        if idle >= ttl:
            self.ask()
        self._wind(max(ttl - idle, AGAIN))

    # --- asking ----------------------------------------------------------------------------------------------------

    def ask(self) -> None:
        """Have it suspended, if it is quiet. From any thread."""
        self._wanted = True
        task = self._attempt.coroutine_task
        if not self._attempt.spec.is_async:
            self._look()
        elif task is not None:
            port_of(task.get_loop()).post(self._look)

    def _is_over(self) -> bool:
        return self._attempt.interruption is not None or self._attempt.code_ended

    @property
    def is_undecided(self) -> bool:
        """Whether it was asked for, and has had no answer."""
        return (self._wanted or self._asked) and not self._is_over()

    def _look(self, *, again: bool = False) -> None:
        with contextlib.suppress(EngineClosedError):  # the program ends, and has handed it back
            self._look_closely(again=again)

    def _look_closely(self, *, again: bool) -> None:
        self._wanted, changes = False, self._changes
        if self._asked or self._is_over() or not self._waits or not self.is_quiet():
            self._decided()
            if not self._is_over() and self._waits:
                self._wind(max(self.policy.seconds or 0.0, AGAIN))
            return
        if not again and (loop := running_loop()) is not None:
            self._wanted = True  # of a branch that has just raised, and of a timer that is due, others hear in a turn
            loop.call_soon(partial(self._look, again=True))
            return
        self._asked = True
        same, engine = self._attempt.same, self._attempt.host.engine()
        if same is not None and same.is_other():
            engine.call(self._named, steadfast=True).add_done_callback(lambda done: self._judge(changes, done))
            return
        self._leave(self._attempt, True)
        engine.suspend(SuspendRequest(lambda: self._command(changes), self._answered))

    async def _named(self, store: Store) -> dict[bytes, str] | None:
        """The children in words, if nothing that is waited for has ended."""
        return await told(store, self._attempt) if await self.nothing_has_come(store) else None

    async def nothing_has_come(self, store: Store) -> bool:
        """Whether nothing that is waited for has ended."""
        waits = list(self._waits.values())
        missing = [[] if wait.collector.ready else wait.collector.awaited()[0] for wait in waits]
        if not all(missing):  # that has come, and its code is about to go on
            return False
        ids = [id_ for left in missing for id_ in left][:MOST_PENDING]
        found = await store.briefs(ids)
        return len(found) == len(ids) and not any(run.state.is_terminal for run in found)

    def _judge(self, changes: int, done: Future[dict[bytes, str] | None]) -> None:
        """On the engine's thread: its code waits, and has not asked for all that is recorded."""
        named, same = None if done.exception() is not None else done.result(), self._attempt.same
        self._asked = False
        waits = list(self._waits.values())
        stays = not any(wait.collector.ready for wait in waits) and changes == self._changes and not self._is_over()
        if named is not None and same is not None and stays:
            for wait in waits:
                wait.collector.fail(same.error(named))
        elif not self._is_over():
            self._wind(max(self.policy.seconds or 0.0, AGAIN))
        self._decided()

    def _command(self, changes: int) -> Suspend | None:
        """On the engine's thread: what is asked of the store, if it is as it was looked at."""
        waits = list(self._waits.values())
        if self._is_over() or not waits:
            return None
        awaited: dict[bytes, int] = {}
        missing: list[int] = []
        pending: list[str] = []
        for wait in waits:
            left, weight, enough = wait.collector.awaited()
            if wait.collector.ready or not left:
                return None
            for id_ in left:
                awaited[id_] = int(Awaited.WAKES if awaited.get(id_, weight) != weight else weight)
            missing.append(enough)
            pending += [id_.hex() for id_ in (left if weight is Awaited.WAKES else left[:1])]
        # Looked at last: who has taken what had come meanwhile is not ready any more, and goes on.
        if len(awaited) > MOST_AWAITED or changes != self._changes:
            return None
        attempt = self._attempt
        return Suspend(
            attempt.id, attempt.run.attempt, list(awaited.items()), min(missing), attempt.limit, attempt.busy,
            "".join(pending) if len(pending) <= MOST_PENDING else None,
        )  # fmt: skip

    def _answered(self, suspended: bool) -> None:  # noqa: FBT001  (a callback)
        """On the engine's thread."""
        self._asked = False
        self._leave(self._attempt, False)
        if suspended and not self._is_over():
            self.is_suspending = True
            if self._attempt.same is not None:
                self._attempt.same.note()
            self._unload(self._attempt)
        elif not self._is_over():
            self._wind(max(self.policy.seconds or 0.0, AGAIN))
        self._decided()

    def cancel(self) -> None:
        """On the loop: what its code has begun ends, as well as the code itself."""
        for task in list(self.tasks):
            task.add_done_callback(_hear)
            task.cancel()

    # --- whether it is quiet ---------------------------------------------------------------------------------------

    def is_quiet(self, *, but_for: Collection[object] = ()) -> bool:
        """Whether all of it (but for these tasks) waits for Fanwood. Of an async task on its loop."""
        if self._attempt.beginning or self._attempt.giving:
            return False  # some of its waits are about to begin
        waits = list(self._waits.values())
        who = {wait.who for wait in waits} | self.resting | set(but_for)
        if any(wait.timed for wait in waits):
            return False
        if not self._attempt.spec.is_async:
            return self._attempt.thread in who
        own = self._attempt.coroutine_task
        tasks: set[asyncio.Task[Any]] = {task for task in self.tasks if not task.done()}
        if own is not None:
            tasks.add(own)
        if any(_goes_on(task) for task in tasks) or not all(task in who or waits_for(task, tasks) for task in tasks):
            return False
        return self.last_timer() is None

    def last_timer(self) -> float | None:
        """When the last of the timers comes that its code has set on the loop, as by `asyncio.timeout`; where that can
        be seen."""
        self.timers = [timer for timer in self.timers if _is_to_come(timer)]
        return max((timer.when() for timer in (*timers_of(self._attempt), *self.timers)), default=None)


def _hear(task: asyncio.Task[Any]) -> None:
    """That its attempt is over need not be asked of it: whoever would have done so was cancelled."""
    if isinstance(getattr(task, "_exception", None), RunInterrupted):
        task.exception()


def timers_of(attempt: Attempt) -> list[asyncio.TimerHandle]:
    """Those that its code has set on this loop, and are still to come; where that can be seen."""
    scheduled: Sequence[Any] = getattr(running_loop(), "_scheduled", ())
    return [
        timer
        for timer in list(scheduled)
        if not timer.cancelled() and timer._context.get(current_attempt) is attempt  # noqa: SLF001
    ]


def _look_at(one: Unloading | None) -> None:
    if one is not None:
        one.due()


def _who() -> object:
    return asyncio.current_task() if running_loop() is not None else threading.get_ident()


def _goes_on(task: asyncio.Task[Any]) -> bool:
    """Whether a task is about to run: what it waited for is there, or failed, or it was cancelled. (As one of others
    that it waited for raised, say: they need not have ended.)"""
    future: Any = getattr(task, "_fut_waiter", None)
    return hasattr(task, "_fut_waiter") and (future is None or future.done())


def waits_for(task: asyncio.Task[Any], tasks: set[asyncio.Task[Any]]) -> bool:
    """Whether a task waits for others of these: for one, by `gather` or `asyncio.wait`, or at a `TaskGroup`'s end."""
    future: Any = getattr(task, "_fut_waiter", None)
    if future is None:
        return False
    if isinstance(future, asyncio.Task):
        return future in tasks
    if (children := getattr(future, "_children", None)) is not None:
        return all(child in tasks or child.done() for child in children)
    inner: Any = task.get_coro()
    while (below := getattr(inner, "cr_await", None)) is not None and hasattr(below, "cr_code"):
        inner = below
    code, frame = getattr(inner, "cr_code", None), getattr(inner, "cr_frame", None)
    if code is None or frame is None:
        return False
    if code.co_filename.endswith("asyncio/taskgroups.py"):
        return True
    if code.co_name == "_wait" and code.co_filename.endswith("asyncio/tasks.py"):
        local = frame.f_locals
        return local.get("timeout_handle") is None and all(one in tasks or one.done() for one in local.get("fs", ()))
    return False


def _is_to_come(timer: asyncio.TimerHandle) -> bool:
    loop = running_loop()
    return not timer.cancelled() and loop is not None and timer.when() > loop.time()
