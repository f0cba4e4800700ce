"""From a claimed run to its outcome.

The executor knows which code belongs to a run, runs it on a loop or a thread, and turns whatever comes of it into an
`Outcome`, a value; the engine writes it. It is the engine's `Dispatcher`.
"""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from fanwood import logs
from fanwood.engine.signals import port_of
from fanwood.model.commands import ClaimedRun, Failure, Notice, Outcome, TaskInfo
from fanwood.model.states import RunState
from fanwood.sdk.declaring.versions import UnservedError
from fanwood.sdk.running.attempt import Attempt
from fanwood.sdk.running.strays import note_threads
from fanwood.worker import verdicts
from fanwood.worker.deadlines import Deadlines
from fanwood.worker.durables import Durables
from fanwood.worker.elsewhere import Elsewhere
from fanwood.worker.overtime import Overtime
from fanwood.worker.preparing import prepared
from fanwood.worker.sharing import SharingSlots
from fanwood.worker.slots import Slots
from fanwood.worker.taskloop import TaskLoop
from fanwood.worker.telling import said_in, tell_all, tell_of_notice
from fanwood.worker.threads import ThreadPool
from fanwood.worker.untold import Untold

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Callable, Sequence

    from fanwood.engine.engine import Engine
    from fanwood.sdk.declaring.host import Host
    from fanwood.sdk.declaring.spec import TaskSpec

logger = logs.logger("fanwood.worker")

SUSPENDED = Failure("cancelled", message="it was suspended, and goes on later")


class Executor:
    """Executes runs of `specs` in `slots` slots, each in a copy of the context `base`. Methods of the `Dispatcher` are
    called by the engine's thread. `shares`: it has siblings, that take their part of what comes together."""

    def __init__(
        self,
        host: Host,
        engine: Engine,
        specs: dict[str, TaskSpec],
        slots: int,
        base: contextvars.Context,
        *,
        shares: bool = False,
    ) -> None:
        note_threads()
        self.slots = slots
        self.specs = specs
        self.lifespan: Any = None
        self.programs: Sequence[int] = ()
        self._host = host
        self._engine = engine
        self._lease = engine.lease
        of = (slots, host.settings.waiting_threads, self._changed, host.settings.deaths_limit)
        self._slots = SharingSlots(*of, on_room=engine.room, monotonic=host.clock.monotonic) if shares else Slots(*of)
        self._threads = ThreadPool("fanwood-task", self._slots.waiting_threads)
        self._place = TaskLoop(self._strand)
        self.turn, self.beside, self.moves = self._slots.turn, self._slots.beside, self._place.moves
        self._base = base
        self._running: dict[str, Attempt] = {}
        self._deadlines = Deadlines(engine, self._running, self._interrupt)
        self._unbegun: dict[asyncio.Task[None], Attempt] = {}  # before their first step
        self._on_unbegun = self._never_began  # bound once: a callback is found by what it is
        self._finished: list[tuple[Attempt, Outcome | None]] = []  # in this turn of the loop
        self._flushing = False
        self._overtime = Overtime(self._slots)
        self._untold = Untold(host, engine, lambda: self.specs)
        self.durables = Durables(host.settings.waiting_runs, self._unload, self._slots)
        self._elsewhere = Elsewhere(host)
        self._recalled = set[Attempt]()  # what goes back when it is about to begin
        self._stopping = False  # nothing begins any more
        self._closing = False  # and what has begun is handed back

    def attach(self, loop: asyncio.AbstractEventLoop, *, on_lost: Callable[[], None] | None = None) -> None:
        """Async tasks run on `loop` from now on. A loop that isn't ours may end under us: then `on_lost` is called,
        and must attach another."""
        self._slots.foreign_loop = self._slots.foreign_loop or on_lost is not None
        self._place.attach(loop, on_lost)
        self._flush()  # what the old loop may never come to
        waiting = [a for a in list(self._running.values()) if a.spec.is_async and a.coroutine_task is None]
        if waiting:
            self._place.post(self._begin, waiting)

    def _strand(self, loop: asyncio.AbstractEventLoop) -> None:
        """What has begun on it goes back, and begins anew elsewhere."""
        stranded: list[Attempt] = []
        for attempt in list(self._running.values()):
            task = attempt.coroutine_task
            if task is not None and task.get_loop() is loop:
                stranded.append(attempt)
                self._unbegun.pop(task, None)
                self._running.pop(attempt.run.id, None)  # first: once it is reported it may be here again, and run
                if attempt.interruption is None and attempt.says_its_end():
                    self._hand_back(attempt)
        if stranded:
            logger.info("the event loop was stopped: %d run(s) on it begin anew on another one", len(stranded))
            self._slots.finish(stranded)

    # --- the engine's side: Dispatcher -----------------------------------------------------------------------------

    def tasks(self) -> list[TaskInfo]:
        return [spec.info() for spec in self.specs.values()]

    def serves(self, task: str) -> bool:
        return task in self.specs

    def demand(self) -> int:
        return self._slots.demand() if self._lease.is_held else 0

    def idle(self) -> bool:
        return self._slots.idle and not self._finished

    def streams(self) -> bool:
        return self._slots.streams

    def hand_back(self, root: str | None = None) -> list[Outcome]:
        # Who has a slot, and is about to begin, goes back then. (To all others it is nothing.)
        self._recalled.update([a for a in list(self._running.values()) if root is None or a.run.root_id == root])
        return [verdicts.handed_back(run) for run in self._slots.withdraw(root=root)]

    def look_after(self, contended: frozenset[str]) -> list[Outcome]:
        self._overtime.look(self._host.clock.monotonic())
        self._untold.look(self._host.clock.monotonic())
        self._place.look()
        self._threads.look()
        self.durables.look()
        return [verdicts.handed_back(run) for run in self._slots.give_up(contended)]

    def go_on(self) -> None:
        self._changed()

    def offer(self, runs: list[ClaimedRun]) -> None:
        back = runs  # of a claim that was on its way
        if not self._stopping:
            self._slots.offer(runs)
            self._pump()
            back = self._slots.spare()
        self._engine.report([verdicts.handed_back(run) for run in back])

    def notice(self, notice: Notice) -> None:
        run = notice.run_id.hex().upper()
        attempt = self._running.get(run)
        if attempt is None:
            self._slots.withdraw(run=run, attempt=notice.over)
        elif attempt.run.attempt <= notice.over:
            if attempt.run.attempt == notice.attempt:  # else whoever has a later one tells of that
                tell_of_notice(attempt, notice)
            self._interrupt(attempt, said_in(notice))
        if notice.state is RunState.RUNNING:
            self._move_deadline(attempt, notice)

    def place(self, outcomes: list[Outcome]) -> None:
        """A parent may have been taken away since its child ended: it timed out, and goes on elsewhere, while its code
        here does not stop. Without a lease it may have been without a word."""
        running, leased = self._running, self._lease.is_held
        parents = [(parent, running.get(parent)) for parent in {outcome.parent for outcome in outcomes} if parent]
        away = {name for name, parent in parents if not leased or parent is None or parent.interruption is not None}
        if away:
            for outcome in outcomes:
                outcome.local = outcome.parent not in away

    def _move_deadline(self, attempt: Attempt | None, notice: Notice) -> None:
        if attempt is None:
            waiting = self._slots.waiting_to_begin(notice.run_id.hex().upper())
            if waiting is not None:
                waiting.deadline = notice.deadline
        elif attempt.run.attempt == notice.attempt:
            attempt.run.deadline = notice.deadline
            self._engine.set_limit(attempt.run.id, notice.attempt, attempt.deadline[0])  # its own may come sooner

    def limits_reached(self, attempts: list[tuple[str, int]]) -> None:
        self._deadlines.reached(attempts)

    def abandon(self, failure: Failure) -> None:
        self._slots.withdraw()
        for attempt in list(self._running.values()):
            self._interrupt(attempt, failure)

    # --- starting --------------------------------------------------------------------------------------------------

    def _changed(self) -> None:
        """A slot is free: for who wants to go on, for who wants to begin, or for a claim."""
        self._pump()
        self._engine.room()

    def _pump(self) -> None:
        slots = self._slots
        while slots.resuming and (go_on := slots.next_resuming()) is not None:
            go_on()
        if not slots.starting.count or not self._lease.is_held:
            return
        me = self._engine.worker_id
        attempts = [self._attempt(run, me) for run in self._slots.take()]
        if for_loop := [attempt for attempt in attempts if attempt.spec.is_async]:
            self._place.post(self._begin, for_loop)
        if len(for_loop) < len(attempts):
            self._threads.submit([partial(self.execute_sync, a) for a in attempts if not a.spec.is_async])

    def _attempt(self, run: ClaimedRun, me: int) -> Attempt:
        spec = self.specs[run.task]
        attempt = self._running[run.id] = Attempt(run, spec, spec.host or self._host, self._slots)
        attempt.worker_id = me
        attempt.lifespan = self.lifespan
        if spec.durable is not None:
            self.durables.add(attempt, spec.durable)
        if run.deadline is not None or spec.policy.execution_timeout is not None:
            self._set_limit(attempt)
        return attempt

    def _begin(self, loop: asyncio.AbstractEventLoop, attempts: list[Attempt]) -> None:
        """On the loop."""
        place, running, create_task, base = self._place, self._running, loop.create_task, self._base
        with place.lock:
            if place.loop is not loop:  # there is another one by now, which was given them as well
                return
            place.thread = threading.get_ident()
            for attempt in attempts:
                if attempt.interruption is not None and attempt.coroutine_task is None and not attempt.code_ended:
                    self._finish(attempt, None)  # also if its run is here again, as a later attempt
                    continue
                if running.get(attempt.run.id) is not attempt or attempt.coroutine_task is not None:
                    continue  # it was given twice
                if attempt.unloading is not None:
                    self.durables.begin(loop)
                coroutine = self._execute_async(attempt)
                try:
                    task = attempt.coroutine_task = create_task(coroutine, context=base.copy())
                except BaseException as error:  # noqa: BLE001  (a loop's task factory is the user's)
                    coroutine.close()
                    self._finish(attempt, self._raised(attempt, error))
                    continue
                self._unbegun[task] = attempt
                task.add_done_callback(self._on_unbegun)

    def _set_limit(self, attempt: Attempt) -> None:
        timeout = attempt.spec.policy.execution_limit
        if timeout is not None:
            until = attempt.run.until  # counted from before it was suspended
            attempt.limit = self._engine.store.now() + timeout if until is None else until
        when, _ = attempt.deadline
        self._engine.set_limit(attempt.run.id, attempt.run.attempt, when)
        if attempt.run.until is not None and attempt.run.until <= self._engine.store.now():
            self._deadlines.time_out(attempt)  # it was suspended until then

    # --- executing -------------------------------------------------------------------------------------------------

    async def _execute_async(self, attempt: Attempt) -> None:
        outcome: Outcome | None = None
        if (task := attempt.coroutine_task) is not None:  # it has begun: a callback would keep all of it a turn longer
            task.remove_done_callback(self._on_unbegun)
            self._unbegun.pop(task, None)
        try:
            function, arguments = self._prepare(attempt)
            outcome = verdicts.completed(attempt, await function(*arguments))
        except BaseException as error:  # noqa: BLE001  (whatever a task raises is an outcome, SystemExit as well)
            outcome = self._raised(attempt, error)
        finally:
            self._finish(attempt, outcome)

    def _never_began(self, task: asyncio.Task[None]) -> None:
        """A task that was cancelled before its first step has executed nothing at all, not even its end."""
        attempt = self._unbegun.pop(task, None)
        if attempt is not None and self._running.get(attempt.run.id) is attempt:
            self._by_loop_end(attempt)
            self._finish(attempt, verdicts.handed_back(attempt.run))

    def execute_sync(self, attempt: Attempt) -> None:
        """On a thread of the pool."""
        outcome: Outcome | None = None
        attempt.thread = threading.get_ident()
        try:
            outcome = self._base.copy().run(self._call, attempt)
        except BaseException as error:  # noqa: BLE001  (as above)
            outcome = self._raised(attempt, error)
        finally:
            self._finish(attempt, outcome)

    def _call(self, attempt: Attempt) -> Outcome:
        function, arguments = self._prepare(attempt)
        return verdicts.completed(attempt, function(*arguments))

    def _prepare(self, attempt: Attempt) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """The code, and what it is called with."""
        what = prepared(attempt, self._check_lease)
        self._check_lease(attempt)  # last: a large input takes a while to read
        return what

    def _check_lease(self, attempt: Attempt) -> None:
        """Its code is about to begin.

        Raises:
            UnleasedError: since it was to begin, this process stood still, and it may be another one's; or a call has
                closed something of its tree.
        """
        recalled = self._recalled and attempt in self._recalled
        if recalled or attempt.interruption is not None or not self._lease.is_held:
            raise verdicts.UnleasedError

    def _raised(self, attempt: Attempt, error: BaseException) -> Outcome | None:
        """What an exception means; None if the attempt is over anyway, and there is nothing to say."""
        if attempt.interruption is not None:
            return None
        if issubclass(type(error), verdicts.UnleasedError):
            return verdicts.handed_back(attempt.run)
        if type(error) is UnservedError and not attempt.in_function:
            return self._elsewhere.put_off(attempt.run, error)
        if issubclass(type(error), asyncio.CancelledError) and self._by_loop_end(attempt):
            return verdicts.handed_back(attempt.run)
        attempt.raised = error if attempt.host.hooks.of else None
        return verdicts.raised(attempt, error)

    def _by_loop_end(self, attempt: Attempt) -> bool:
        """Whether a task was cancelled because the user's loop ends (and not by itself): then it is handed back. The
        two can't be told apart for sure, so one run is handed back for this a few times only."""
        task = attempt.coroutine_task
        if task is None or not task.cancelling() or not (self._closing or self._place.may_have_lost(task)):
            return False
        if not self._closing:
            if not self.moves.note(attempt.run.id):
                return False
            self._place.lose()
        attempt.gave_back = True
        return True

    # --- ending ----------------------------------------------------------------------------------------------------

    def _finish(self, attempt: Attempt, outcome: Outcome | None) -> None:
        run = attempt.run
        attempt.coroutine_task = None  # task -> context -> attempt -> task: without this, only the collector ends it
        if self._running.get(run.id) is attempt:  # else it was taken away, and came back as another attempt
            del self._running[run.id]
        if attempt.limit is not None or run.deadline is not None:
            self._engine.set_limit(run.id, run.attempt, None)
        if attempt.unloading is not None:
            self.durables.remove(attempt)
        if self._recalled:
            self._recalled.discard(attempt)
        if not attempt.gave_back:
            self.moves.forget(run.id)
        if outcome is not None and attempt.interruption is None and attempt.says_its_end():
            outcome.task, outcome.busy = attempt.spec.name, attempt.busy  # (its name, once for all of its runs)
        else:
            outcome = None
        if attempt.losses is not None and outcome is not None and not attempt.gave_back:
            attempt.losses.then(partial(self._conclude, [(attempt, outcome)]))
        elif threading.get_ident() == self._place.thread and attempt.spec.is_async and self._place.loop is not None:
            self._finished.append((attempt, outcome))
            if not self._flushing:
                self._flushing = True
                self._place.loop.call_soon(self._flush)
        else:
            self._conclude([(attempt, outcome)])

    def _flush(self) -> None:
        """What ended in one turn of the loop is reported together, and its slots are given on together."""
        self._flushing = False
        if finished := self._finished:
            self._finished = []
            self._conclude(finished)

    def _conclude(self, finished: list[tuple[Attempt, Outcome | None]]) -> None:
        """Who hears of attempts is told first: once they are reported the next ones may begin, and end."""
        outcomes = [outcome for _, outcome in finished if outcome is not None]
        try:
            tell_all(finished)
        finally:
            if outcomes:
                self._engine.report(outcomes)
            self._slots.finish([attempt for attempt, _ in finished])
            self._pump()
            self._engine.room()

    def _interrupt(self, attempt: Attempt, failure: Failure) -> None:
        """The attempt is over: tell its code. What is recorded of it, is recorded elsewhere."""
        attempt.interrupt(failure)
        if not attempt.spec.is_async and not attempt.code_ended:
            self._overtime.begin(attempt, self._host.clock.monotonic())
        if attempt.spec.is_async:
            task = attempt.coroutine_task
            if task is not None:
                port_of(task.get_loop()).post(lambda: self._cancel(attempt))
            else:  # it may be about to begin
                self._place.post(lambda _loop, begun: self._cancel(begun), attempt)

    def _unload(self, attempt: Attempt) -> None:
        """It was suspended, and goes on later: all its code is unwound."""
        unloading, task = attempt.unloading, attempt.coroutine_task
        self._interrupt(attempt, SUSPENDED)
        if unloading is not None and task is not None:
            port_of(task.get_loop()).post(unloading.cancel)

    @staticmethod
    def _cancel(attempt: Attempt) -> None:
        if attempt.coroutine_task is not None and not attempt.code_ended:
            attempt.coroutine_task.cancel()

    # --- stopping --------------------------------------------------------------------------------------------------

    @property
    def running(self) -> int:
        """How many runs have begun and not ended."""
        return len(self._running)

    @property
    def executing(self) -> int:
        """How many of them execute, and don't wait for children."""
        return self._slots.busy

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop of the async tasks."""
        return self._place.loop

    def begin_stop(self) -> None:
        """Hand back what has not begun, and what may still be claimed."""
        self._stopping = True
        self._engine.report(self.hand_back())

    def hand_back_all(self) -> list[str]:
        """Hand back what has begun, and stop its code; the tasks of those runs."""
        self._closing = True
        self._flush()
        handed_back: list[str] = []
        for attempt in list(self._running.values()):
            if attempt.interruption is None and self._running.get(attempt.run.id) is attempt and attempt.says_its_end():
                self._hand_back(attempt)
                handed_back.append(attempt.run.task)
        self._threads.close()
        return handed_back

    def _hand_back(self, attempt: Attempt) -> None:
        self._interrupt(attempt, Failure("cancelled", message="its worker stopped; the run goes on elsewhere"))
        outcome = verdicts.handed_back(attempt.run)
        outcome.busy = attempt.busy
        self._engine.report([outcome])
