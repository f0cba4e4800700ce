"""A world: memories, processes, and the time in which they live. Who waits for something in it drives it.

All `Fanwood` objects of this process are in it while it is there, whatever their URLs. Nothing in it runs by itself:
a test's thread steps it as long as it waits for something (`drive`), or a test's event loop does, when it has nothing
else to do (`loops.Guest`). Time stands still while there is anything to do, and then goes on to what comes next.
"""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import contextlib
import threading
import time as machine
from typing import TYPE_CHECKING, Any
from unittest import mock

from fanwood import home as homes
from fanwood.clock import MICROSECONDS, SystemClock
from fanwood.engine.signals import Signal
from fanwood.errors import UsageError
from fanwood.sdk.running.current import current_attempt
from fanwood.store.memory.memory import Memory
from fanwood.store.opening import place_of
from fanwood.testing import telling
from fanwood.testing.errors import StuckError
from fanwood.testing.ground import Ground, current
from fanwood.testing.hosts import LEASE
from fanwood.testing.loops import FILE_PATIENCE, TICK, Guest, VirtualLoop
from fanwood.testing.places import Place, stand_ins

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from fanwood.engine.waits import Collector
    from fanwood.home import Home, Member
    from fanwood.testing.threads import Crew

BY_TASKS = "travel(), drain() and the like are called by a test, and not by code of a task"
MOMENT = 1.0
"""Seconds, in reality, before a wait is given up that nothing could end."""
LOOK = 64
"""Turns between two looks at how long it takes."""


class World(Ground):
    """See the module's essay."""

    def __init__(self, *, patience: float = 10.0, outer: Ground | None = None) -> None:
        super().__init__(patience)
        if outer is not None:
            self.lifespan, self.stubs = outer.lifespan, outer.stubs
        self.bystanders = VirtualLoop(self.time, self.outside)  # code that is of no process of ours
        self.crews: list[Crew] = []
        self._busy_since: dict[Collector, float] = {}  # who waits on somebody else's loop
        self._guests: list[Guest] = []
        self._looks_until = 0
        self._in_vain = False  # nothing has come of that
        self._idle = _Patience(self)  # of other loops
        self._turns = 0
        self._lock = threading.RLock()
        self._stepped_by = 0
        self._adopted: list[tuple[Any, Any, Any]] = []
        self._sleep = machine.sleep

    # --- from its beginning to its end -----------------------------------------------------------------------------

    @contextlib.contextmanager
    def there(self) -> Generator[World]:
        """While inside, all `Fanwood` objects are in this world."""
        with contextlib.ExitStack() as stack:
            for home in homes.all_homes():
                stack.callback(home.set_aside())
                for member in home.members:
                    self.adopt(member)
            stack.enter_context(mock.patch.object(homes, "begin", self._begin))
            stack.enter_context(mock.patch.object(Signal, "blocker", self._block))
            stack.enter_context(mock.patch.object(machine, "sleep", self._slept))
            stack.enter_context(mock.patch.object(asyncio.BaseEventLoop, "run_forever", self._running()))
            current.append(self)
            stack.callback(self._end)
            yield self

    def adopt(self, member: Any) -> None:
        """From now on it goes by this world's clock, and makes its ids."""
        self._adopted.append((member, member.clock, member.ids))
        member.clock, member.ids = self.clock, self.ids

    def _begin(self, home: Home, member: Member) -> tuple[Any, Any]:
        """In the place of `home.begin`."""
        for each in home.members:
            if each.clock is not self.clock:
                self.adopt(each)
        where = place_of(member.settings)
        memory = self.memories.get(where)
        if memory is None:
            memory = self.memories[where] = Memory(self.clock)
        place = self.places[home] = Place(self, home, member, memory)
        return stand_ins(place)

    def _end(self) -> None:
        self.over = True
        for guest in self._guests:
            guest.leave()
        with self._lock:
            for host in [*self.dead, *(host for place in self.places.values() for host in place.hosts)]:
                host.end()
            for crew in self.crews:
                crew.end()
            self.bystanders.end()
        for home in homes.all_homes():  # those that have come since
            if home in self.places:
                home.set_aside()
        for member, clock, ids in reversed(self._adopted):
            member.clock, member.ids = clock, ids
        current.remove(self)

    # --- its steps -------------------------------------------------------------------------------------------------

    def turn(self) -> bool:
        """All that is ready, once; whether anything was."""
        with self._lock:
            if self._stepped_by:
                raise UsageError(BY_TASKS)
            self._stepped_by = threading.get_ident()
            try:
                for place in list(self.places.values()):
                    place.revive()
                did = self.bystanders.turn()
                for crew in self.crews:
                    did = crew.turn(lambda: False) or did
                for host in self.hosts:
                    if not host.dead:
                        did = host.turn() or did
                if did and not self.looks_twice:
                    self._in_vain = False
                return did
            finally:
                self._stepped_by = 0

    def has_chores(self) -> bool:
        """Whether what engines do again and again may change something."""
        live = {host.engine.worker_id for host in self.hosts}
        return self.looks_twice or any(
            memory.tables.gates or memory.tables.moved or not memory.tables.workers.keys() <= live
            for memory in self.memories.values()
        )

    def next_time(self) -> int | None:
        """When there is something to do, whatever anybody says."""
        everything = self.has_chores()
        found = [host.next_time(everything=everything) for host in self.hosts]
        found += [memory.chores.next_due() for memory in self.memories.values()]
        found += [crew.earliest() for crew in self.crews]
        if (earliest := self.bystanders.earliest) != float("inf"):
            found.append(self.time.at(earliest))
        times = [time for time in found if time is not None]
        return max(min(times), self.time.now + 1) if times else None

    def pass_time(self, until: int | None) -> bool:
        """To what comes next, but not beyond `until`; False if nothing comes, and who looks for something now and then
        has found nothing."""
        with self._lock:
            if self._is_ready():  # another thread has done something meanwhile
                return True
            if self.looks_twice and self.time.now >= self._looks_until:
                self.looks_twice, self._in_vain = False, True
            following = self.next_time()
            if following is None and until is None:
                if self._in_vain:
                    return False
                self._looks_until, self.looks_twice = self.time.now + round(2 * LEASE * MICROSECONDS), True
                following = self.next_time()
                if following is None:  # nobody is there who would look
                    self.looks_twice = False
                    return False
            self.set_time(min(time for time in (following, until) if time is not None))
            return True

    def _is_ready(self) -> bool:
        crews = [*self.crews, *(host.crew for host in self.hosts)]
        loops = [*self._loops, *(host.engine_loop for host in self.hosts)]
        return any(loop.is_ready for loop in loops) or any(crew.is_ready() for crew in crews)

    def set_time(self, now: int) -> None:
        """It is later now. Processes that live have kept their leases meanwhile."""
        self.time.now = max(now, self.time.now)
        for host in self.hosts:
            row = host.place.memory.tables.workers.get(host.engine.worker_id)
            if row is not None and row.lease is not None:
                row.lease = max(row.lease, now + round(LEASE * MICROSECONDS))
                host.engine.stay_leased(self.time.seconds + LEASE)

    # --- driven by a thread that waits -----------------------------------------------------------------------------

    def drive(self, done: Callable[[], bool], until: int | None = None, *, passes: bool = True) -> bool:
        """Until it is done, or that time has come; without `passes` no time goes by, and it ends when there is nothing
        left to do now. Whether it is done.

        Raises:
            StuckError: it will not be.
        """
        if threading.get_ident() in self.hands:
            raise UsageError(BY_TASKS)
        ours = self.outside.waiting(waits=threading.current_thread() is not threading.main_thread())
        patience = _Patience(self)
        with ours:
            while not done():
                if self.turn():
                    patience.note_work()
                    continue
                if done():
                    return True
                if self.outside.jobs > 0:
                    patience.check_reality()
                    self.outside.bell.wait(TICK)
                    self.outside.bell.clear()
                    continue
                if self._wait_for_files():
                    continue
                if not passes or (until is not None and self.time.now >= until):
                    return False
                if self.pass_time(until):
                    patience.note_work()
                    continue
                patience.check_reality(nothing_known=not self._has_files)
                self.outside.bell.wait(TICK)
                self.outside.bell.clear()
        return True

    @property
    def _loops(self) -> list[VirtualLoop]:
        return [self.bystanders, *(host.task_loop for host in self.hosts)]

    @property
    def _has_files(self) -> bool:
        return any(loop.has_files for loop in self._loops)

    def _wait_for_files(self) -> bool:
        """Sockets have a moment, in reality, before time passes; whether anything came."""
        loops = [loop for loop in self._loops if loop.has_files]
        return sum(loop.wait_for_files(FILE_PATIENCE / len(loops)) for loop in loops) > 0

    def stuck(self, why: str) -> StuckError:
        """What is said of a wait that will not end."""
        return StuckError(f"{telling.waits_for(self)}, {why}:\n{telling.unfinished(self)}")

    def _block(self, signal: Signal) -> bool:
        """In the place of `Signal.block`: a thread waits."""
        hand = self.hands.get(threading.get_ident())
        if hand is not None:
            hand.wait(lambda: signal.fired, signal.timeout)
            return True
        if current_attempt.get() is not None:  # a thread that a task has made
            with self.outside.waiting():
                signal._lock = lock = threading.Lock()
                lock.acquire()
                if not signal.fired:
                    lock.acquire(timeout=self.patience)
            return True
        timeout = signal.timeout
        until = None if timeout is None else self.time.at(self.time.seconds + timeout)
        self.drive(lambda: signal.fired, until)
        return True

    def _slept(self, seconds: float) -> None:
        """In the place of `time.sleep`: for code of tasks it passes at once."""
        hand = self.hands.get(threading.get_ident())
        if hand is not None:
            hand.wait(None, seconds)
        elif self._stepped_by == threading.get_ident():  # of an async task, whose loop stands still meanwhile
            self.set_time(self.time.at(self.time.seconds + seconds))
        else:
            self._sleep(seconds)

    # --- driven by somebody else's loop ----------------------------------------------------------------------------

    def _running(self) -> Callable[[asyncio.BaseEventLoop], None]:
        """In the place of `run_forever`: a loop on a test's thread is on virtual time from its beginning."""
        mine, run_forever = threading.get_ident(), asyncio.BaseEventLoop.run_forever

        def run(loop: asyncio.BaseEventLoop) -> None:
            me = threading.get_ident()
            if (me == mine or me in self.hands) and hasattr(loop, "_selector"):
                self.be_guest_of(loop)
            run_forever(loop)

        return run

    def be_guest_of(self, loop: asyncio.AbstractEventLoop) -> None:
        """A test runs on that loop.

        Raises:
            UsageError: it is none that can be on virtual time.
        """
        if any(guest.loop is loop for guest in self._guests):
            return
        if not hasattr(loop, "_selector"):
            raise UsageError(
                f"the test runs on a loop of {type(loop).__module__}, and virtual time needs asyncio's own: run it "
                f"with that one, or make the test a plain function"
            )
        self._guests.append(Guest(self, loop, self.hands.get(threading.get_ident())))

    @contextlib.contextmanager
    def awaited(self, collector: Collector) -> Generator[None]:
        """While inside, somebody waits; it may be on another loop than ours."""
        if current_attempt.get() is None:
            self._busy_since[collector] = machine.thread_time()
        try:
            yield
        finally:
            self._busy_since.pop(collector, None)

    def turn_beside(self) -> bool:
        """As of `GuestOf`."""
        if self.over or self._stepped_by:
            return False
        try:
            did = self.turn()
        except StuckError as error:
            self._fail_all(error)
            return True
        self._turns += 1
        if self._turns % LOOK == 0 and self._busy_since and self._works_too_long():
            self._fail_all(self.stuck(f"and it has gone on for {self.patience:g} s of work"))
        return did

    def _works_too_long(self) -> bool:
        now = machine.thread_time()
        return any(now - since > self.patience for since in self._busy_since.values())

    def idle_beside(self, until: int | None) -> bool:
        """As of `GuestOf`."""
        awaited = bool(self._busy_since) or any(host.engine.is_asked for host in self.hosts)
        if self.over or (until is None and not awaited):
            return False
        if self._wait_for_files() or self.pass_time(until):
            self._idle.forget()
            return True
        try:
            self._idle.check_reality(nothing_known=not self._has_files)
        except StuckError as error:
            self._fail_all(error)
        return False

    def _fail_all(self, error: StuckError) -> None:
        """Who waits on other loops is told."""
        for collector in list(self._busy_since):
            collector.fail(error)
        self._busy_since.clear()


class _Patience:
    """Of one who waits: for how long work may go on, and for how long something real."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._begun = machine.thread_time()
        self._since: float | None = None
        self._turns = 0
        self._clock = SystemClock()

    def forget(self) -> None:
        """Something has come of it."""
        self._since = None

    def note_work(self) -> None:
        """Raises StuckError: it goes on and on."""
        self._since = None
        self._turns += 1
        if self._turns % LOOK == 0 and machine.thread_time() - self._begun > self._world.patience:
            days = self._world.time.seconds / 86400
            raise self._world.stuck(
                f"and goes on and on: {self._world.patience:g} s of work, and {days:,.1f} days of its own time"
            )

    def check_reality(self, *, nothing_known: bool = False) -> None:
        """Raises StuckError: what is real takes too long; or nothing will come, as far as anybody knows, and threads
        that nobody knows of have had a moment."""
        now = self._clock.monotonic()
        self._since = now if self._since is None else self._since
        if nothing_known and now - self._since > min(self._world.patience, MOMENT):
            raise self._world.stuck("and nothing is left that could end it")
        if now - self._since > self._world.patience:
            raise self._world.stuck(
                f"on something real (a thread, a socket), which has taken {self._world.patience:g} s"
            )
