"""How long a wait of a durable run takes at most.

Its code may be unloaded while it waits, and begin again: so the time-out is a sleep of the run's own, recorded with
what is waited for, and due once, by the store's clock. What comes in time ends the sleep, in the store, if it is not
over: code that is run again finds how it came out, and gives up where it gave up before. As with sleeps, less than a
second is waited here, and recorded if it was in vain. What has come before needs no time-out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fanwood.durations import in_microseconds
from fanwood.engine.waits import Collector
from fanwood.errors import WaitTimeoutError
from fanwood.model.commands import SLEPT, Record
from fanwood.model.naming import numbered
from fanwood.model.states import Awaited, RunKind, RunState
from fanwood.sdk.declaring.identity import content_digest
from fanwood.sdk.recording.once import doing, in_a_step
from fanwood.sdk.recording.outlasting import outlast
from fanwood.sdk.recording.recording import kind_of, known_parts, write, written
from fanwood.sdk.running.attempt import registering
from fanwood.sdk.running.parts import counts
from fanwood.sdk.running.unloading import MOST_AWAITED
from fanwood.sdk.running.waiting import called, timed_out, wait_for

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from fanwood.engine.waits import Stream
    from fanwood.model.commands import Ended
    from fanwood.model.records import Recorded
    from fanwood.sdk.declaring.host import Host
    from fanwood.sdk.running.answers import Answer
    from fanwood.sdk.running.attempt import Attempt
    from fanwood.sdk.running.parts import Parts
    from fanwood.store.store import Store

SHORT = 1_000_000
"""Microseconds: less is waited here first, and recorded after."""
TRIALS = 1 << 61
"""Added to the number of a trial: beyond all numbers of equal children."""
REASON = "what it waited for has come in time"


class Patience:
    """Of one wait. `of`: the ids of what it waits for, by which it is found again."""

    def __init__(self, attempt: Attempt, parts: Parts, seconds: float, of: Iterable[bytes]) -> None:
        self._attempt = attempt
        self._seconds = seconds
        self._span = in_microseconds(seconds)
        self._shown = msgspec.json.encode({"timeout": seconds}).decode()
        self._timer: _Timer | None = None
        self._answer: Answer | None = None
        self._until: float | None = None  # by this process's clock, of what is waited here
        with registering:
            identity = attempt.identify(None, content_digest(f"~sleep {self._shown}", b"".join(of)))
            self._index = attempt.children
            attempt.children += 1
            self._identity, self._found = of_this_trial(attempt, parts, identity)
        found, trial = self._found, attempt.run.trial_start
        stands = found is not None and found.asked >= trial
        self.is_over = stands and found is not None and found.state is RunState.COMPLETED
        self._was_in_time = stands and found is not None and found.state in (RunState.CANCELLED, RunState.FAILED)
        if self.is_over and found is not None:
            attempt.given((found.id,))

    async def wait(self, collector: Collector, host: Host, what: str, tasks: Collection[str] = ()) -> None:
        """Wait until `collector` is ready, as `wait_for` does.

        Raises:
            WaitTimeoutError: not in time, now or in an attempt before.
        """
        if self.is_over:
            raise timed_out(self._seconds, what)
        if self._was_in_time or (collector.ready and self._found is None):
            await wait_for(collector, host, None, what, tasks)
        elif self._span < SHORT and self._found is None:
            await self._wait_here(collector, host, what, tasks)
        else:
            await self._wait_recorded(collector, host, what, tasks)

    async def _wait_here(self, collector: Collector, host: Host, what: str, tasks: Collection[str]) -> None:
        try:
            await wait_for(collector, host, self._seconds, what, tasks)
        except WaitTimeoutError:
            self._write(self._attempt.new_id(), RunState.COMPLETED)
            raise

    async def _wait_recorded(self, collector: Collector, host: Host, what: str, tasks: Collection[str]) -> None:
        timer = self._begin(collector)
        try:
            await wait_for(collector, host, None, what, tasks, timer)
            if timer.is_over or not await self._came_in_time(timer):
                raise timed_out(self._seconds, what)
        finally:
            self.give_up()

    async def wait_for_some(self, stream: Stream, host: Host) -> None:
        """Wait until something has come, or the time is over (`is_over`)."""
        if self._was_in_time or self.is_over:
            await wait_for(stream, host, None, "")
        elif self._span < SHORT and self._found is None:
            clock = host.clock
            self._until = clock.monotonic() + self._seconds if self._until is None else self._until
            try:
                await wait_for(stream, host, max(0.0, self._until - clock.monotonic()), "")
            except WaitTimeoutError:
                self.is_over = True
        else:
            timer = self._timer or self._begin(stream)
            await wait_for(stream, host, None, "", limit=timer)
            self.is_over = timer.is_over

    def end(self) -> None:
        """All has come: the sleep is not needed any more. (Not waited for: what has come is recorded.)"""
        timer, found = self._timer, self._found
        id_ = timer.id if timer is not None else found.id if found is not None else None
        if id_ is not None and not self.is_over and not self._was_in_time:
            self._attempt.host.engine().call(lambda store: store.cancel(id_, REASON), changes=True, steadfast=True)

    def _begin(self, collector: Collector) -> _Timer:
        """Have it recorded, or find it; `collector` is made ready when it is over."""
        attempt, found = self._attempt, self._found
        again = found is not None and not counts(found, attempt.run.trial_start)
        waits = found is not None and found.state is RunState.WAITING
        id_ = found.id if found is not None and (again or waits) else attempt.new_id()
        self._timer = timer = _Timer(id_, collector)
        attempt.spawned = attempt.cancel_children = True
        if waits:
            attempt.host.engine().watch(id_, timer, 0)
        else:
            self._write(id_, RunState.WAITING, timer, again=again)
        return timer

    def _write(self, id_: bytes, state: RunState, timer: _Timer | None = None, *, again: bool = False) -> None:
        attempt = self._attempt
        attempt.asks(f"~sleep {self._shown}", self._identity)
        attempt.replay = None  # this is new
        began, kind = attempt.host.engine().store.now(), kind_of(attempt, RunKind.SLEEP)
        record = Record(kind, id_, self._identity, self._shown, state, self._index, began=began, again=again)
        if timer is None:
            record.output = SLEPT
        else:
            record.due_at = timer.due = began + self._span
        self._answer = write(attempt, record, timer, needed=timer is None)

    async def _came_in_time(self, timer: _Timer) -> bool:
        """End the sleep, if it is not over."""
        if self._answer is not None:
            await written(self._attempt, self._answer)

        async def end(store: Store) -> bool:
            await store.cancel(timer.id, REASON)
            return (await store.get(timer.id)).state is not RunState.COMPLETED

        return await called(self._attempt.host.engine().call(end, changes=True, steadfast=True))

    def give_up(self) -> None:
        """Nobody waits any more."""
        timer, self._timer = self._timer, None
        if timer is not None and timer.results[0] is None:
            self._attempt.host.engine().give_up(timer, [timer.id])


def of_this_trial(attempt: Attempt, parts: Parts, identity: bytes) -> tuple[bytes, Recorded | None]:
    """What is recorded under an identity, and that: a trial before this one may have decided otherwise, and then this
    one decides under another. Under `registering`."""
    trials, mine = 0, identity
    while (found := parts.found.pop(mine, None)) is not None:
        attempt.asks("", mine)
        if found.asked >= attempt.run.trial_start or found.state is not RunState.COMPLETED:
            break
        trials += 1
        mine = numbered(identity, TRIALS + trials)
    return mine, found


class _Timer(Collector):
    """The end of that sleep; makes another one ready."""

    __slots__ = ("_of", "id")

    def __init__(self, id_: bytes, of: Collector) -> None:
        super().__init__(fail_fast=False)
        self.id = id_
        self._of = of
        self.grow(1)
        self.close()

    @property
    def is_over(self) -> bool:
        """Whether its time has come."""
        ended = self.results[0]
        return ended is not None and ended.state is RunState.COMPLETED

    def put(self, index: int, finished: Ended) -> None:
        super().put(index, finished)
        if self.is_over and not self._of.ready:
            self._of.be_ready()

    def fail(self, error: BaseException) -> None:
        super().fail(error)
        self._of.fail(error)

    def awaited(self) -> tuple[list[bytes], Awaited, int]:
        """As above. Of what is waited for as many may be missing as if it were not there."""
        return [self.id] if self.results[0] is None else [], Awaited.WAKES, MOST_AWAITED


async def patience(seconds: float | None, of: Iterable[bytes]) -> Patience | None:
    """That of a wait in the own code of a durable run; else None, and the wait is one of this process alone."""
    attempt = doing()
    if attempt is None or seconds is None or in_a_step():
        return None
    attempt.check()
    return Patience(attempt, await known_parts(attempt), seconds, of)


async def wait_at_most(
    collector: Collector,
    host: Host,
    limit: Patience | None,
    seconds: float | None,
    what: str,
    tasks: Collection[str] = (),
) -> None:
    """Wait until `collector` is ready: with `limit`, if there is one.

    Raises:
        WaitTimeoutError: it was not in time.
    """
    if limit is None:
        await wait_for(collector, host, seconds, what, tasks)
    else:
        await limit.wait(collector, host, what, tasks)
    if collector.owns and collector.first_failure is not None:
        await outlast(collector)
