"""The engine: one thread, one loop, one store; and a tick that commits what everybody asked for.

Callers on any thread put commands into the engine's inbox and are told later. A *tick* (`ticks.py`) empties the inbox
into one `Batch`, commits it, and hands out what came of it: acknowledgements to those who spawned, results to those who
wait, runs to those who execute. Under load a tick carries hundreds of commands, idle it carries one; either way it
is one transaction and one fsync. Nothing is acknowledged before its tick is committed.

    any thread                 the engine's thread                               the store
    ----------                 -------------------                               ---------
    spawn()    --+
    report()   --+--> inbox --> fill --> Batch --> commit ---------------------> commit(batch)
    watch()    --+                                    |
    waiters    <--------------- deliver <------- Committed <--------------------
    executors  <---------------

Claims ride along: a tick asks for as many runs as the executors can take. And there is a short cut, *local
dispatch*: when nothing else is queued, a spawned run is born already claimed by this worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

from fanwood import logs
from fanwood.engine import membership
from fanwood.engine.calls import Calls
from fanwood.engine.claims import Claims
from fanwood.engine.commits import Commits, Patience
from fanwood.engine.delivery import Delivery
from fanwood.engine.health import Health, as_told
from fanwood.engine.housekeeping import Housekeeping
from fanwood.engine.inbox import Inbox, Joint, Limit, SpawnRequest, SuspendRequest
from fanwood.engine.latencies import Latencies
from fanwood.engine.littles import Littles
from fanwood.engine.membership import Membership
from fanwood.engine.signals import Signal, new_loop, running_loop
from fanwood.engine.spending import Together
from fanwood.engine.ticks import Ticks
from fanwood.engine.waits import Waiting
from fanwood.engine.waking import Waker
from fanwood.errors import EngineClosedError
from fanwood.model.commands import Failure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from contextlib import AbstractContextManager

    from fanwood.engine.dispatcher import Dispatcher, NoDispatcher
    from fanwood.engine.lease import Lease
    from fanwood.engine.waits import Collector
    from fanwood.ids import SystemIds
    from fanwood.model.commands import LogLine, Outcome, Record
    from fanwood.model.records import Few
    from fanwood.settings import Settings
    from fanwood.store.store import Store

T = TypeVar("T")

logger = logs.logger("fanwood.engine")

LOG_PATIENCE = 1.0
"""Seconds that a line of a log may hold up an event loop."""
RECHECKED = 200
"""How many of the runs that are waited for are looked at again at a time."""


class Engine:
    """See the module's essay. Public methods may be called from any thread, unless they say otherwise."""

    def __init__(self, store: Store, settings: Settings, name: str) -> None:
        self.store = store
        self.settings = settings
        self.secret = ""  # of the store, once that is open
        self.failure: BaseException | None = None
        self._stopping = False
        self._over = False  # nothing is taken from the inbox any more
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._inbox = Inbox()
        self._waker = Waker()
        self._claims = Claims(one_at_a_time=store.embedded)
        self.latencies = Latencies(lambda: store.now() / 1e6)
        self._delivery = Delivery(store.url, self.latencies)
        self._health = Health(store.now)
        self._membership = Membership(store, settings, name, self._claims, self.report, self._watch_all_again)
        self._housekeeping = Housekeeping(store, settings, self._membership, self._health, self.look, self._recheck)
        self._commits = Commits(store, settings, self._inbox, self._health)
        self.spends = Together()
        self._calls = Calls(store, self._commits, self._tell_ended, self.look)
        self._littles = Littles(store)
        self._ticks = Ticks(
            store,
            self._inbox,
            self._membership,
            self._claims,
            self._commits,
            self._delivery,
            self._housekeeping,
            self._waker,
        )

    # --- its life --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Open the store and begin. Returns when both are done.

        Raises:
            StoreError: the store can't be opened.
        """
        started: Future[None] = Future()
        self._thread = threading.Thread(target=self._main, args=(started,), name="fanwood-engine", daemon=True)
        try:
            self._thread.start()
            started.result()
        except KeyboardInterrupt:  # nobody has it: it ends as soon as it could begin
            started.add_done_callback(self._leave)
            raise

    def _leave(self, started: Future[None]) -> None:
        if started.exception() is None:
            self._stopping = self._commits.hurried = True
            self._ticks.stop()

    def stop(self) -> None:
        """Commit what is in the inbox, let go of the store, end the thread. Executors must have stopped before."""
        if self._thread is None or self._loop is None or self._stopping:
            return
        self._stopping = self._commits.hurried = True
        self._ticks.stop()
        self._thread.join()

    def stand_still(self, patience: float) -> Callable[[], None]:
        """Returns when the engine does nothing, or after `patience` seconds. What is returned lets it go on."""
        reached, go_on = threading.Event(), threading.Event()

        def stand() -> None:
            reached.set()
            go_on.wait(patience)

        if self._loop is not None and self.alive and self._thread is not threading.current_thread():
            with contextlib.suppress(RuntimeError):  # it has ended meanwhile
                self._loop.call_soon_threadsafe(stand)
                reached.wait(patience)
        return go_on.set

    @property
    def members(self) -> int | None:
        """How often workers had come or gone when this engine, as a worker, looked last."""
        return self._housekeeping.members

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
                started.set_exception(as_told(error, self.store.url))
            else:
                logger.exception("the engine has stopped; runs of this process will go on elsewhere")
        finally:
            self._stopping = self._over = True
            self._answer_all()

    async def _run(self, started: Future[None]) -> None:
        self._loop = asyncio.get_running_loop()
        await self.store.open(self.look)
        try:
            self.secret = await self.store.secret()
            await self._membership.enter()
            started.set_result(None)
            self._housekeeping.start()
            try:
                await self._ticks.run()
                await self._calls.finish()
            finally:
                await self._housekeeping.stop()
            await self._membership.leave()
        finally:
            await self.store.close()

    def _answer_all(self) -> None:
        """The engine is over, well or not: whoever waits for it is told, and what executes for it is stopped. Also for
        those who came in the last moment, on their own threads."""
        why = f"the engine failed: {self.failure!r}" if self.failure else "this Fanwood object was closed"
        error = EngineClosedError(f"Nobody waits for this run any more: {why}")
        self._ticks.fail_all(error)
        self._delivery.fail_all(error)
        self._calls.fail_all(error)
        self._littles.close()
        if self.failure is not None:
            self.dispatcher.abandon(Failure("cancelled", message=f"{why}; the run goes on elsewhere"))

    # --- what it is ------------------------------------------------------------------------------------------------

    @property
    def worker_id(self) -> int:
        """Its id in the store; another one after each change of what it serves."""
        return self._membership.worker_id

    @property
    def dispatcher(self) -> Dispatcher:
        """Who executes what it claims."""
        return self._membership.dispatcher

    @property
    def lease(self) -> Lease:
        """By which runs may begin here."""
        return self._membership.lease

    # --- what callers ask for --------------------------------------------------------------------------------------

    def spawn(self, request: SpawnRequest) -> None:
        """Have runs born."""
        self._must_take(request)
        self._inbox.spawns.append(request)
        self._waker.wake()
        self._answer_if_over()

    def record(self, request: SpawnRequest) -> None:
        """Have what no worker executes written: nothing holds it back."""
        self._must_take(request)
        self._inbox.add_record(request)
        self._waker.wake()
        self._answer_if_over()

    def join(self, joint: Joint, record: Record, tell: Callable[[BaseException | None], None]) -> bool:
        """Have one more written with what was handed in; whether it was in time for that. `tell` is called then."""
        return self._inbox.join(joint, record, tell)

    def report(self, outcomes: list[Outcome]) -> None:
        """Attempts have ended."""
        if outcomes:
            self._inbox.outcomes.append(outcomes)
            self._waker.wake()

    def log(self, line: LogLine) -> None:
        """A task has logged a line. Waits if more is logged than the store takes; not for long on an event loop, which
        would stand still: the line is left out then."""
        if self._inbox.add_log(line, None if running_loop() is None else LOG_PATIENCE):
            self._waker.wake()
        elif not self._over:
            logger.warning("run %s logs more than the store takes: a line was left out", line.run_id.hex())

    def put_chunk(self, line: LogLine, patience: float | None) -> bool:
        """A task has put something into its stream; whether there was room for it, after so many seconds at most (None:
        any number)."""
        self._must_live()
        taken = self._inbox.add_log(line, patience)
        if taken:
            self._waker.wake()
        return taken

    def note_progress(self, line: LogLine) -> None:
        """A task says how far it is. What it said before, and is not committed yet, is let go of."""
        anew = not self._inbox.progress
        self._inbox.progress[line.run_id] = line
        if anew:
            self._waker.wake()

    def watch(self, run_id: bytes, collector: Collector, index: int) -> None:
        """Tell `collector` when any run, of any process, ends."""
        self.watch_all((run_id,), collector, (index,))

    def watch_all(self, ids: Sequence[bytes], collector: Collector, indexes: Sequence[int]) -> None:
        """The same, of any number: they are asked for together."""
        self._must_live()
        self._inbox.watches.append((ids, collector, indexes))
        self._waker.wake()
        self._answer_if_over()

    def looked(self) -> Signal:
        """Is fired when the store was asked about all that was watched before: what had ended is told by then."""
        signal = Signal()
        self._inbox.looks.append(signal)
        self._waker.wake()
        self._answer_if_over()
        return signal

    def waiting(self, collector: Collector, ids: Iterable[bytes]) -> AbstractContextManager[None]:
        """While inside, somebody waits for the ends of these. Afterwards nobody does, of those that are not there."""
        return Waiting(collector, ids, self.give_up)

    def give_up(self, collector: Collector, ids: Iterable[bytes]) -> None:
        """Nobody waits for these any more."""
        collector.given_up = True
        self._inbox.given_up.append((ids, collector))
        self._waker.wake()

    def suspend(self, request: SuspendRequest) -> None:
        """Have an attempt suspended whose code waits."""
        self._inbox.suspends.append(request)
        self._waker.wake()

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """`call` on the engine's thread, after so many seconds."""
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # it is over
                loop.call_soon_threadsafe(loop.call_later, seconds, call)

    def set_limit(self, run: str, attempt: int, when: int | None) -> None:
        """A run that executes here must end by `when` (None: it has ended)."""
        self._inbox.limits.append(Limit(run, attempt, when))
        self._waker.wake()

    def move_deadline(self, run_id: bytes, attempt: int, when: int) -> None:
        """The limit of a run was moved, and with it that of the subtree that inherited it."""
        self._inbox.deadlines.append((run_id, attempt, when))
        self._waker.wake()

    def call(
        self,
        verb: Callable[[Store], Awaitable[T]],
        *,
        changes: bool = False,
        steadfast: bool = False,
        inside: bool = False,
    ) -> Future[T]:
        """Run a cold verb beside the ticks; `changes`: it may have written mail or queued something.

        A server that is away is waited for: for a while, or (`steadfast`: a run needs it) as long as it takes, whatever
        the trouble; with `inside`, as code that runs asks, what is known to pass that long, and anything else a while.
        """
        self._must_live()
        assert self._loop is not None
        patience = Patience(None if steadfast else self.settings.outage_patience, inside=inside)
        result = self._calls.begin(self._loop, verb, changes=changes, patience=patience)
        self._answer_if_over()
        return result

    async def little(self, run_id: bytes, after: bytes) -> Few:
        """What a run recorded after this, if that is little: it is read with that of others. None: nobody knows."""
        assert self._loop is not None
        return await self._littles.read(self._loop, run_id, after)

    def _answer_if_over(self) -> None:
        """What was asked for after the last look gets its answer from who asked."""
        if self._over:
            self._answer_all()

    def _must_take(self, request: SpawnRequest) -> None:
        try:
            self._must_live()
        except EngineClosedError as error:
            request.answer(error)  # else who gives it up, as this is raised, waits for that for ever
            raise

    def _must_live(self) -> None:
        if not self.alive:
            why = f": {self.failure}" if self.failure else ""
            raise EngineClosedError(f"This Fanwood object is closed, or its store is gone{why}. Make a new one.")

    def keep_in_time(self, ids: SystemIds) -> None:
        """These go by the store's time from now on, for as long as somebody has them."""
        self._housekeeping.ids.add(ids)
        ids.follow(self.store.now())

    # --- its executors ---------------------------------------------------------------------------------------------

    def employ(self, dispatcher: Dispatcher) -> Future[None]:
        """From now on claim runs for `dispatcher`. Done when its tasks are published."""
        return self.call(lambda _: self._membership.employ(dispatcher), changes=True)

    def serve_more(self) -> Future[None]:
        """The dispatcher has got more tasks; done when they are published."""
        return self.call(lambda _: self._membership.serve_more(), changes=True)

    def look_around(self) -> Future[None]:
        """What the dead have left goes back to the queue: now, not at the next turn, as much as a moment allows."""
        return self.call(lambda _: self._housekeeping.look_around_briefly())

    def stand_in(self, dispatcher: NoDispatcher) -> None:
        """Of a client, which claims nothing: who knows what is served for it."""
        self._membership.dispatcher = dispatcher

    def room(self) -> None:
        """The executors can take more runs."""
        self._ticks.wake_for_room()

    def pause(self) -> None:
        """Claim no more."""
        self._claims.pause()
        self._waker.wake()

    def retire(self) -> Future[None]:
        """Be a client again; what the executors reported before is committed first."""

        async def end(_: Store) -> None:
            with contextlib.suppress(TimeoutError):  # a store that can't be written to must not keep us from stopping
                async with asyncio.timeout(membership.RETIRE_SECONDS):
                    await self._ticks.committed()
            await self._membership.retire()

        return self.call(end)

    # --- on the engine's thread ------------------------------------------------------------------------------------

    def look(self, *, mail: bool = True) -> None:
        """The store was changed, by others or by a cold verb: look at the queue, and into the mailbox."""
        self._ticks.look(mail=mail)

    def _tell_ended(self) -> bool:
        """Whether a verb that was called here has ended what may be waited for here; who does is told."""
        ended = self.store.take_ended()
        self._delivery.tell_ended(ended)
        return bool(ended)

    def is_owned(self, run_id: bytes) -> bool:
        """Whether anybody here who has asked for a run waits for it."""
        return self._delivery.is_owned(run_id)

    def _watch_all_again(self) -> None:
        """Watches went with the worker that we were."""
        self._delivery.watch_all_again()
        self.look()

    def _recheck(self, some: bool) -> None:  # noqa: FBT001  (a callback)
        """Look again at ends that were held, and now and then at some of the runs that are waited for."""
        self._delivery.look_at_held()
        if some:
            self._delivery.look_again(RECHECKED)
        if self._delivery.has_work:
            self.look()
