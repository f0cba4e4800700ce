"""Waiting for the ends of runs, and for answers of the engine, in either colour; inside a task without a slot."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, TypeVar

from fanwood import logs
from fanwood.engine.signals import Signal, running_loop
from fanwood.errors import TooManyWaitingThreadsError, WaitTimeoutError
from fanwood.sdk.running.beginning import Beginning
from fanwood.sdk.running.current import current_attempt

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable
    from concurrent.futures import Future

    from fanwood.engine.engine import Engine
    from fanwood.engine.waits import Collector
    from fanwood.sdk.declaring.host import Host
    from fanwood.sdk.running.attempt import Attempt
    from fanwood.store.store import Store

T = TypeVar("T")

logger = logs.logger("fanwood")

ROOM_SECONDS = 0.005
"""How long to wait between two tries, while others are unloaded to make room."""

IN_A_TURN = 100
"""So much that was recorded is given to code in one turn of its loop: some milliseconds."""

WAITS_IN_A_TURN = 250
"""So many waits begin in one: some ten milliseconds."""

LOOK = 1.0
"""Seconds for which a store is waited for by who only looks."""


async def wait_for(
    collector: Collector,
    host: Host,
    timeout: float | None,
    what: str,
    tasks: Collection[str] = (),
    limit: Collector | None = None,
) -> None:
    """Wait until `collector` is ready; inside a task, without holding a slot. If nobody serves one of `tasks`, that is
    said after a while. `limit` makes it ready, if nothing else does.

    Raises:
        WaitTimeoutError: not within `timeout` seconds; what is waited for goes on.
    """
    attempt = current_attempt.get()
    if attempt is not None and attempt.code_ended:
        attempt = None  # what that left behind waits by itself
    if not collector.ready:
        if attempt is None:
            await _wait_outside(collector, host, timeout, what, tasks)
        elif attempt.unloading is None:
            await _wait_inside(collector, attempt, timeout, what, tasks)
        else:
            awaited = (collector,) if limit is None else (collector, limit)
            with attempt.unloading.waiting(*awaited, timed=timeout is not None):
                await _wait_inside(collector, attempt, timeout, what, tasks)
    if attempt is not None:
        attempt.check()
        attempt.given(collector.runs)
    if collector.error is not None:
        raise collector.error


async def looked(engines: Iterable[Engine], timeout: float | None) -> None:
    """Before a wait for what is watched: one that may be over before the store has answered, as it is there to look and
    not to wait, waits until it was asked once (or can't be, for now)."""
    if timeout is None or timeout >= LOOK:
        return
    for engine in set(engines):
        with interruptible(current_attempt.get(), signal := engine.looked()):
            await signal.wait(LOOK)


async def _wait_outside(
    collector: Collector, host: Host, timeout: float | None, what: str, tasks: Collection[str]
) -> None:
    signal = Signal()
    collector.when_ready(signal.fire)
    if not await _fired(signal, host, timeout, tasks):
        raise timed_out(timeout, what)


async def _fired(signal: Signal, host: Host, timeout: float | None, tasks: Collection[str]) -> bool:
    """Wait for a signal, at most `timeout` seconds; whether it was fired."""
    patience, serves = host.settings.no_worker_warning, host.engine().dispatcher.serves
    foreign = [task for task in tasks if not serves(task)]
    if not foreign or (timeout is not None and timeout <= patience):
        return await signal.wait(timeout)
    if await signal.wait(patience):
        return True
    with contextlib.suppress(Exception):  # then there is worse to be told, and others do
        await _warn_unserved(host, foreign)
    return await signal.wait(None if timeout is None else timeout - patience)


async def _warn_unserved(host: Host, tasks: list[str]) -> None:
    engine = host.engine()
    for task in tasks:
        if not await called(engine.call(lambda store, task=task: store.served(engine.worker_id, task))):
            logger.warning(
                "No live worker serves %s: its run stays queued until one does. Start one with "
                "`fanwood worker module:app`, or check that it imports this task.",
                task,
            )


async def _wait_inside(
    collector: Collector, attempt: Attempt, timeout: float | None, what: str, tasks: Collection[str]
) -> None:
    attempt.check()
    signal = Signal()
    once = threading.Lock()  # the slot is asked for once, by the engine's thread or by this one

    def resume() -> None:
        if once.acquire(blocking=False):
            attempt.share.resume(attempt, signal.fire)

    if not await _parked(attempt, collector):
        return
    attempt.listen(signal)
    try:
        collector.when_ready(resume)
        if not await _fired(signal, attempt.host, timeout, tasks) and attempt.interruption is None:
            if once.acquire(blocking=False):
                attempt.share.unpark(attempt)  # at once: what it gives up on may be what holds the slots
            else:
                await signal.wait()  # the result came meanwhile, and a slot is coming
    finally:
        attempt.unlisten(signal)
        if once.acquire(blocking=False):  # cancelled or interrupted: it goes on, to its end, without asking
            attempt.share.unpark(attempt)
    if not collector.ready and attempt.interruption is None:
        raise timed_out(timeout, what)


async def _parked(attempt: Attempt, collector: Collector) -> bool:
    """Give the slot back; False: what is waited for has come. Where as many threads wait as may, those of durable tasks
    are unloaded first; it may be this one.

    Raises:
        TooManyWaitingThreadsError: there are none of those.
        RunInterrupted: the attempt is over.
    """
    while True:
        try:
            attempt.share.park(attempt)
        except TooManyWaitingThreadsError:
            if not attempt.share.make_room():
                raise
        else:
            return True
        with interruptible(attempt, signal := Signal()):
            collector.when_ready(signal.fire)
            await signal.wait(ROOM_SECONDS)
        attempt.check()
        if collector.ready:
            return False


def timed_out(timeout: float | None, what: str) -> WaitTimeoutError:
    """What is raised where a wait has taken too long."""
    return WaitTimeoutError(
        f"{what} did not end within the wait's timeout of {timeout:g} s; the wait ended, they go on"
    )


async def heard(attempt: Attempt, signal: Signal) -> None:
    """Wait for a signal.

    Raises:
        RunInterrupted: the attempt is over.
    """
    with interruptible(attempt, signal):
        await signal.wait()
    attempt.check()


async def in_turns(attempt: Attempt) -> None:
    """Before something that was recorded is given to code: who asks for very much of that waits for nothing, and lets
    others on its loop have their turns.

    Raises:
        RunInterrupted: the attempt is over.
    """
    if (loop := running_loop()) is None:
        return
    giving = attempt.giving
    if giving is None or giving.loop is not loop:
        giving = attempt.giving = Beginning(loop, IN_A_TURN)
    if (place := giving.place()) is not None:
        await giving.come(place)
        attempt.check()


async def begins(attempt: Attempt) -> None:
    """Before a wait begins: on a loop on which as many have begun in this turn as may, a turn later.

    Raises:
        RunInterrupted: the attempt is over.
    """
    if (loop := running_loop()) is None:
        return
    beginning = attempt.beginning
    if beginning is None or beginning.loop is not loop:
        beginning = attempt.beginning = Beginning(loop, WAITS_IN_A_TURN)
    if (place := beginning.place()) is not None:
        await beginning.come(place)
        attempt.check()


async def pause(attempt: Attempt, seconds: float) -> None:
    """Wait for so long, without holding a slot.

    Raises:
        RunInterrupted: the attempt is over.
    """
    await parked(attempt, Signal(), seconds)
    attempt.check()


async def parked(attempt: Attempt, signal: Signal, timeout: float | None = None) -> None:
    """Wait for the signal, or for the attempt's end, without holding a slot: what was spawned before, and will be
    waited for, may need it to make room for more (`engine/admission.py`)."""
    go_on = Signal()
    try:
        attempt.share.park(attempt)
    except TooManyWaitingThreadsError:  # it ends by itself: until then it holds its slot
        with interruptible(attempt, signal):
            await signal.wait(timeout)
        return
    try:
        with interruptible(attempt, signal):
            await signal.wait(timeout)
    except BaseException:
        attempt.share.unpark(attempt)
        raise
    attempt.share.resume(attempt, go_on.fire)
    with interruptible(attempt, go_on):
        await go_on.wait()


class interruptible:  # noqa: N801  (reads as the statement that it is)
    """While inside, the end of the attempt fires the signal."""

    __slots__ = ("_attempt", "_signal")

    def __init__(self, attempt: Attempt | None, signal: Signal) -> None:
        self._attempt = attempt
        self._signal = signal

    def __enter__(self) -> None:
        if self._attempt is not None:
            self._attempt.listen(self._signal)

    def __exit__(self, *_: object) -> None:
        if self._attempt is not None:
            self._attempt.unlisten(self._signal)


async def asked(
    engine: Engine, verb: Callable[[Store], Awaitable[T]], *, changes: bool = False, by: Attempt | None = None
) -> T:
    """What a store answers. Who asks from outside of any task is told of its trouble; code that runs waits for better
    times. `by`: that attempt asks, whoever calls."""
    inside = by is not None or current_attempt.get() is not None
    return await called(engine.call(verb, changes=changes, inside=inside))


async def called(future: Future[T]) -> T:
    """The result of a cold verb, awaited in either colour."""
    signal = Signal()
    future.add_done_callback(lambda _done: signal.fire())
    await signal.wait()
    return future.result()
