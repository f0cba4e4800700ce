"""What goes wrong, once, inside of a block. A block in which it did not come to pass fails: it has tested nothing."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from fanwood import checks
from fanwood.clock import MICROSECONDS
from fanwood.durations import LONGEST
from fanwood.errors import StoreUnavailableError, UsageError
from fanwood.testing.ground import here

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Generator

    from fanwood.sdk.running.attempt import Attempt
    from fanwood.testing.hosts import Host
    from fanwood.testing.threads import Hand


class Fault:
    """Something that goes wrong with the worker's commits."""

    def __init__(self, kind: str, commit: int, times: int, *, before: bool) -> None:
        checks.whole(commit, "commit", 1)
        checks.whole(times, "times", 1)
        checks.flag(before, "before")
        self.happened = 0
        """How often it has come to pass."""
        self._kind = kind
        self._left = commit
        self._times = times
        self._before = before

    def at_commit(self, host: Host, what: Any, done: Any) -> None:  # noqa: ARG002
        """As of a `Watcher`."""
        if not host.slots or (done is None) is not self._before or self.happened >= self._times:
            return
        self._left -= 1
        if self._left > 0:
            return
        self.happened += 1
        if self._kind == "worker":
            host.kill()
        else:
            raise StoreUnavailableError("a fault of this test: the answer was lost")

    def at_await(self, host: Host, attempt: Attempt | None, task: asyncio.Task[Any]) -> None:
        """As of a `Watcher`."""

    def at_wait(self, host: Host, hand: Hand) -> None:
        """As of a `Watcher`."""

    @contextlib.contextmanager
    def inside(self) -> Generator[Fault]:
        """The block."""
        watchers = here().watchers
        watchers.append(self)
        try:
            yield self
        finally:
            watchers.remove(self)
        if not self.happened:
            raise AssertionError(
                f"the fault (lose the {self._kind}) never came to pass: the worker has committed too little"
            )


@contextlib.contextmanager
def lose_worker(*, commit: int = 1, times: int = 1, before: bool = False) -> Generator[Fault]:
    """The worker's process is gone with its first commit inside of the block (or that of that number): after it, or
    `before` it. There is another one at once, which goes on with what was recorded; that is lost in the same way, if it
    is to happen several `times`."""
    with Fault("worker", commit, times, before=before).inside() as fault:
        yield fault


@contextlib.contextmanager
def lose_answer(*, commit: int = 1, times: int = 1, before: bool = False) -> Generator[Fault]:
    """The store's answer to the worker's first commit inside of the block (or that of that number) is lost, after it
    was done; or it is not even done (`before`)."""
    with Fault("answer", commit, times, before=before).inside() as fault:
        yield fault


@contextlib.contextmanager
def jump_clock(by: timedelta | float | None = None, /, **units: float) -> Generator[None]:
    """Somebody has set the wall clock, forward or back, for as long as the block lasts: by seconds, a timedelta, or the
    units of one (`hours=-1`). The time that passes does so as ever: what is due is due.

    Raises:
        UsageError: no time, or none that a clock can be set by; or this is no test.
    """
    time = here().time
    if (by is None) == (not units):
        raise UsageError("jump_clock() takes seconds, a timedelta, or units such as hours=-1")
    try:
        length = by if isinstance(by, timedelta) else timedelta(seconds=by) if by is not None else timedelta(**units)
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"jump_clock(): {error}") from None
    if abs(length.total_seconds()) > LONGEST:
        raise UsageError("jump_clock() takes at most a hundred years (36,500 days)")
    jump = round(length.total_seconds() * MICROSECONDS)
    time.ahead += jump
    try:
        yield
    finally:
        time.ahead -= jump


@contextlib.contextmanager
def no_worker() -> Generator[None]:
    """There is no worker inside of the block: what is begun is queued. What executed is lost, as by `lose_worker`."""
    world = here()
    world.workers_away = True
    for host in world.hosts:
        if host.slots:
            host.kill()
    try:
        yield
    finally:
        world.workers_away = False
