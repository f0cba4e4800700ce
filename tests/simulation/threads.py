"""Threads of a world: real ones, that hand over a baton. One goes on at a time, and the scheduler says which; one that
waits for a lock, an event or a time gives the baton back. So sync tasks run as they are, and a seed says their order.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from functools import partial
from random import Random
from types import SimpleNamespace
from typing import Any

from tests.simulation.loops import Scheduler, Strand

SWITCHES = 0.2
"""How often a thread that takes a lock, and has none, is overtaken by others just before."""


ours: set[int] = set()
"""Threads of the system that live through worlds. A process may have others, as of an engine that a test before has
left behind: what they do is real, and none of it is of a seed."""


class OverError(BaseException):
    """The world is over, and with it whatever waits."""


class _Carrier:
    """A thread of the system, which carries those of worlds, one after another."""

    idle: list[_Carrier] = []  # noqa: RUF012  (of the process, whatever world it lives through)

    def __init__(self) -> None:
        self.carried: VirtualThread
        self.bell = _taken()
        threading.Thread(target=self._main, name="world", daemon=True).start()

    def _main(self) -> None:
        ours.add(threading.get_ident())
        while True:
            self.bell.acquire()
            contextvars.Context().run(self._taken_up().live, self)

    def _taken_up(self) -> VirtualThread:
        """It is not kept: the world that it is of would be, for as long as this waits for another."""
        carried = self.carried
        del self.carried
        return carried


def _taken() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


class VirtualThread(Strand):
    """One thread of control that may block."""

    def __init__(self, scheduler: Scheduler, name: str, number: int, target: Callable[[], None]) -> None:
        super().__init__(scheduler, name, number)
        self.holds = 0  # locks
        self.failure: BaseException | None = None
        self._target = target
        self._carrier: _Carrier | None = None
        self._baton, self._back = _taken(), _taken()
        self._goes_on = False
        self._is_over = False
        self.ends = False  # the world is over: what is left of it is unwound
        self._rests = 0

    def step(self) -> bool:
        if self._carrier is None:
            self._carrier = _Carrier.idle.pop() if _Carrier.idle else _Carrier()
            self._carrier.carried = self
            self._carrier.bell.release()
        else:
            self._baton.release()
        self._back.acquire()
        return self._goes_on

    def wake(self) -> None:
        """What it waits for is there."""
        if not self.is_queued:
            self.scheduler.queue(self)

    def end(self) -> None:
        """The world is over: it ends, in good order or not."""
        self.die()
        if self._carrier is not None and not self._is_over:
            self.ends = True
            self.scheduler.running = self
            self.step()

    # --- on it -----------------------------------------------------------------------------------------------------

    def live(self, carrier: _Carrier) -> None:
        """All of it, on a carrier, which is free afterwards."""
        try:
            self._target()
        except OverError:
            pass
        except BaseException as error:
            self.failure = error
        self._is_over, self._goes_on = True, False
        _Carrier.idle.append(carrier)
        self._back.release()

    def let_others(self) -> None:
        """It could go on, and others may come first."""
        self._hand_over(goes_on=True)

    def rest(self, seconds: float | None) -> None:
        """Until it is woken, or so many seconds have gone by."""
        self._rests += 1
        if seconds is not None:
            when = self.scheduler.time.now + max(1, int(seconds * 1e6))
            self.scheduler.remember(when, None, partial(self._alarm, self._rests))
        self._hand_over(goes_on=False)
        self._rests += 1

    def _alarm(self, rest: int) -> None:
        if rest == self._rests:
            self.wake()

    def _hand_over(self, *, goes_on: bool) -> None:
        if self.ends:
            raise OverError
        self._goes_on = goes_on
        self._back.release()
        self._baton.acquire()
        if self.ends:
            raise OverError


class _Waited:
    """What threads wait for."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._waiting: list[VirtualThread] = []

    def _wait(self, timeout: float | None) -> None:
        thread = self._scheduler.running
        if not isinstance(thread, VirtualThread):
            raise TypeError("a loop blocks: all that is on it would stand still")
        self._waiting.append(thread)
        try:
            thread.rest(timeout)
        finally:
            if thread in self._waiting:
                self._waiting.remove(thread)

    def _wake_all(self) -> None:
        for thread in self._waiting:
            thread.wake()
        self._waiting.clear()


class WorldEvent(_Waited):
    """As `threading.Event`."""

    def __init__(self, scheduler: Scheduler) -> None:
        super().__init__(scheduler)
        self._is_set = False

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        self._wake_all()

    def clear(self) -> None:
        self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        if not self._is_set:
            self._wait(timeout)
        return self._is_set


class WorldLock(_Waited):
    """As `threading.Lock`."""

    def __init__(self, scheduler: Scheduler, random: Random) -> None:
        super().__init__(scheduler)
        self._random = random
        self._holder: Strand | None = None
        self._is_held = False

    def locked(self) -> bool:
        return self._is_held

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        thread = self._scheduler.running
        if isinstance(thread, VirtualThread):
            if not thread.ends and not thread.holds and self._random.random() < SWITCHES:
                thread.let_others()
            while self._is_held and blocking:
                before = self._scheduler.time.now
                self._wait(None if timeout < 0 else timeout)
                if timeout >= 0:
                    timeout -= (self._scheduler.time.now - before) / 1e6
                    blocking = timeout > 0
        elif self._is_held and blocking:
            self._wait(None)
        if self._is_held:
            return False
        self._is_held, self._holder = True, thread
        if isinstance(thread, VirtualThread):
            thread.holds += 1
        return True

    def release(self) -> None:
        if not self._is_held:
            raise RuntimeError("release unlocked lock")
        if isinstance(self._holder, VirtualThread):
            self._holder.holds -= 1
        self._is_held, self._holder = False, None
        self._wake_all()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class WorldCondition:
    """As `threading.Condition`."""

    def __init__(self, scheduler: Scheduler, random: Random) -> None:
        self._lock = WorldLock(scheduler, random)
        self._event = WorldEvent(scheduler)
        self._time = scheduler.time

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def wait_for(self, predicate: Callable[[], bool], timeout: float) -> bool:
        until = self._time.now + timeout * 1e6
        while not predicate() and self._time.now < until:
            self._event.clear()
            self._lock.release()
            self._event.wait((until - self._time.now) / 1e6)
            self._lock.acquire()
        return predicate()

    def notify_all(self) -> None:
        self._event.set()


def module(scheduler: Scheduler, random: Random, begin: Callable[[str, Callable[[], None]], Any]) -> SimpleNamespace:
    """What modules take for `threading`; `begin` has a thread begin."""

    def thread(*, target: Callable[[], None], name: str = "", daemon: bool = True) -> SimpleNamespace:
        return SimpleNamespace(start=partial(begin, name, target))

    def number() -> int:
        return threading.get_ident() if scheduler.running is None else scheduler.running.number

    mine = {
        "get_ident": number,
        "Thread": thread,
        "Event": partial(WorldEvent, scheduler),
        "Lock": partial(WorldLock, scheduler, random),
        "Condition": partial(WorldCondition, scheduler, random),
    }
    return SimpleNamespace(**{**vars(threading), **mine})
