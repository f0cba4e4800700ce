"""Waiting for some of many runs: in the order in which they end, or until the first has ended."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, TypeVar, cast

from fanwood import checks
from fanwood.engine.signals import block
from fanwood.engine.waits import Stream
from fanwood.errors import WaitTimeoutError
from fanwood.sdk.children.order import Order, order_of
from fanwood.sdk.children.refs import TaskRunRef
from fanwood.sdk.recording.patience import Patience, patience
from fanwood.sdk.running.circles import refuse_circles
from fanwood.sdk.running.current import current_attempt
from fanwood.sdk.running.interrupting import INTERRUPTIONS, by_hand, tell_going_on
from fanwood.sdk.running.waiting import looked, wait_for

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator

    from fanwood.durations import Duration
    from fanwood.engine.engine import Engine
    from fanwood.sdk.declaring.host import Host

T = TypeVar("T")

ReturnWhen = Literal["FIRST_COMPLETED", "FIRST_EXCEPTION", "ALL_COMPLETED"]
FIRST_COMPLETED: Literal["FIRST_COMPLETED"] = "FIRST_COMPLETED"
FIRST_EXCEPTION: Literal["FIRST_EXCEPTION"] = "FIRST_EXCEPTION"
ALL_COMPLETED: Literal["ALL_COMPLETED"] = "ALL_COMPLETED"
"""The same texts as asyncio's and concurrent.futures'."""


class Waited(NamedTuple, Generic[T]):
    """What `wait` returns. Those that are done have their results with them."""

    done: set[TaskRunRef[T]]
    not_done: set[TaskRunRef[T]]


class AsCompleted(Generic[T]):
    """References in the order in which their runs end; for `for`, and for `async for`."""

    def __init__(self, refs: Iterable[TaskRunRef[T]], timeout: Duration | None = None) -> None:
        self._refs = _checked(refs)
        self._patience = checks.waiting(timeout)

    def __iter__(self) -> Iterator[TaskRunRef[T]]:
        return self._each()

    def __aiter__(self) -> AsyncIterator[TaskRunRef[T]]:
        return self._each_awaited()

    def _each(self) -> Generator[TaskRunRef[T]]:
        ends = _Ends(self._refs, self._patience)
        try:
            while ended := block(ends.more(), "as_completed"):
                yield from ended
        finally:
            ends.close()

    async def _each_awaited(self) -> AsyncGenerator[TaskRunRef[T]]:
        ends = _Ends(self._refs, self._patience)
        try:
            while ended := await ends.more():
                for ref in ended:
                    yield ref
        finally:
            ends.close()


def as_completed(refs: Iterable[TaskRunRef[T]], *, timeout: Duration | None = None) -> AsCompleted[T]:
    """Go through references in the order in which their runs end, by `for`, or by `async for` in coroutines.

    Each one that comes is equal to the one that was given, and has its result with it: `ref.result()`, `await ref`,
    return or raise at once. Whoever leaves the loop early leaves the runs alone: awaiting a reference owns nothing.

    Args:
        refs: of runs of any tasks; of equal ones one comes.
        timeout: for all of them.

    Raises:
        WaitTimeoutError: in the loop, when the time is over.
        UsageError: there is something else among `refs`.
    """
    return AsCompleted(refs, timeout)


def wait(
    refs: Iterable[TaskRunRef[T]], *, timeout: Duration | None = None, return_when: ReturnWhen = ALL_COMPLETED
) -> Waited[T]:
    """Wait until some of these runs, or all, have ended; the runs go on whatever comes of the wait.

    Args:
        refs: of runs of any tasks.
        timeout: how long at most. When it is over, what has ended until then is returned.
        return_when: "ALL_COMPLETED"; "FIRST_COMPLETED": one has ended; "FIRST_EXCEPTION": one has ended without an
            output, or all have.

    Raises:
        UsageError: an option, or one of the references, can't be.
        BlockingCallError: an event loop runs on this thread; use `aio_wait`.
    """
    return block(_wait(refs, timeout, return_when), "wait")


async def aio_wait(
    refs: Iterable[TaskRunRef[T]], *, timeout: Duration | None = None, return_when: ReturnWhen = ALL_COMPLETED
) -> Waited[T]:
    """As `wait`, awaited."""
    return await _wait(refs, timeout, return_when)


async def _wait(refs: Iterable[TaskRunRef[T]], timeout: Duration | None, return_when: str) -> Waited[T]:
    if return_when not in (FIRST_COMPLETED, FIRST_EXCEPTION, ALL_COMPLETED):
        must = f'must be "{FIRST_COMPLETED}", "{FIRST_EXCEPTION}" or "{ALL_COMPLETED}"'
        raise checks.refused("return_when", must, return_when)
    asked = _checked(refs)
    ordered = return_when != ALL_COMPLETED
    ends, done = _Ends(asked, checks.waiting(timeout), ordered=ordered), set[TaskRunRef[T]]()
    try:
        while ended := await ends.more():
            done.update(ended)
            if return_when == FIRST_COMPLETED or (
                return_when == FIRST_EXCEPTION and any(ref.has_failed for ref in ended)
            ):
                break
    except WaitTimeoutError:
        pass
    finally:
        ends.close()
    return Waited(done, {ref for ref in asked if ref not in done})


class _Ends(Generic[T]):
    """The ends of runs as they come. `ordered`: their order matters to who asks."""

    def __init__(self, refs: list[TaskRunRef[T]], seconds: float | None, *, ordered: bool = True) -> None:
        self._refs = refs
        self._seconds = seconds
        self._ordered = ordered or seconds is not None
        self._order: Order | None = None
        self._limit: Patience | None = None
        self._stream = Stream()
        self._under_way: dict[int, TaskRunRef[T]] = {}
        self._here: dict[bytes, TaskRunRef[T]] = {}  # by their marks: they have come, and were not given out
        self._last: list[TaskRunRef[T]] = []  # whose ends are told after all others
        self._stream.under_way = lambda: [(number, ref.key) for number, ref in list(self._under_way.items())]
        self._until: float | None = None
        self._begun = False

    async def more(self) -> list[TaskRunRef[T]]:
        """Those that have ended since the last time, at least one; none when there are no more.

        Raises:
            WaitTimeoutError: the time is over.
        """
        try:
            return await self._more()
        except INTERRUPTIONS as error:
            if by_hand(error) and (ref := next(iter(self._under_way.values()), None)) is not None:
                tell_going_on(ref.key, ref.task_name, len(self._under_way))
            raise

    async def _more(self) -> list[TaskRunRef[T]]:
        if not self._begun:
            self._begun = True
            if known := await self._watch():
                return known
        if self._order is not None and (recorded := self._order.next()) is not None:
            return await self._as_recorded(recorded)
        while self._under_way or self._here:
            self._take()
            if self._here:
                refs, self._here = list(self._here.values()), {}
                if self._order is not None:
                    self._order.give([ref.mark for ref in refs])
                return self._given(refs)
            if self._limit is not None and self._limit.is_over:
                if self._order is not None:
                    self._order.give(())
                raise self._timed_out()
            await self._wait_for_some()
        last, self._last = self._last, []
        return last

    async def _as_recorded(self, ids: list[bytes]) -> list[TaskRunRef[T]]:
        if not ids:
            raise self._timed_out()
        while not all(id_ in self._here for id_ in ids):
            self._take()
            if not all(id_ in self._here for id_ in ids):
                await wait_for(self._stream, self._host, None, "")
        return self._given([self._here.pop(id_) for id_ in ids])

    def _take(self) -> None:
        for number, ended in self._stream.take():
            ref = self._under_way.pop(number)
            self._here[ref.mark] = ref.with_end(ended)

    def _given(self, refs: list[TaskRunRef[T]]) -> list[TaskRunRef[T]]:
        if (attempt := current_attempt.get()) is not None:
            attempt.given(ref.key for ref in refs)
        if self._limit is not None and not self._under_way and not self._here:
            self._limit.end()
        return refs

    def close(self) -> None:
        """Nobody waits any more."""
        engines: dict[Engine, list[bytes]] = {}
        for ref in self._under_way.values():
            engines.setdefault(ref.host.engine(), []).append(ref.key)
        for engine, ids in engines.items():
            engine.give_up(self._stream, ids)
        if self._limit is not None:
            self._limit.give_up()

    async def _watch(self) -> list[TaskRunRef[T]]:
        """Ask for the ends; those whose end is known are returned, but for those that come last."""
        attempt, known = current_attempt.get(), [ref for ref in self._refs if ref.has_end]
        asked = [ref for ref in self._refs if not ref.has_end] if known else self._refs
        engines = {host: host.engine() for host in {ref.host for ref in asked}}
        if attempt is not None:
            await refuse_circles(attempt, ((ref.key, engines[ref.host]) for ref in asked))
        else:
            for host, names in self._tasks_of(asked).items():
                await host.prepare(names)
        if asked and self._ordered:
            self._order = await order_of(ref.mark for ref in asked)
            self._limit = await patience(self._seconds, sorted(ref.mark for ref in asked))
        self._stream.grow(len(asked))
        self._under_way = dict(enumerate(asked))
        held = {number for number, ref in enumerate(asked) if ref.is_held}
        for number in held:
            asked[number].watch(self._stream, number)
        for host, engine in engines.items():
            numbers = range(len(asked))
            if held or len(engines) > 1:
                numbers = [n for n, ref in enumerate(asked) if ref.host is host and n not in held]
            engine.watch_all([asked[n].key for n in numbers], self._stream, numbers)
        await looked(engines.values(), self._seconds if self._limit is None else 0)
        if self._seconds is not None and asked:
            self._until = asked[0].host.clock.monotonic() + self._seconds
        self._last = [ref for ref in known if ref.comes_last]
        return [ref for ref in known if not ref.comes_last] if self._last else known

    def _tasks_of(self, refs: list[TaskRunRef[T]]) -> dict[Host, dict[str, None]]:
        """By their hosts, the tasks that are known."""
        found: dict[Host, dict[str, None]] = {}
        for ref in refs:
            if ref.task_name:
                found.setdefault(ref.host, {})[ref.task_name] = None
        return found

    @property
    def _host(self) -> Host:
        return next(iter(self._under_way.values())).host

    async def _wait_for_some(self) -> None:
        if self._limit is not None:
            await self._limit.wait_for_some(self._stream, self._host)
            return
        host = self._host
        left = None if self._until is None else max(0.0, self._until - host.clock.monotonic())
        try:
            await wait_for(self._stream, host, left, "")
        except WaitTimeoutError:
            raise self._timed_out() from None

    def _timed_out(self) -> WaitTimeoutError:
        return WaitTimeoutError(
            f"{len(self._under_way) + len(self._here)} of {len(self._refs)} run(s) did not end within the wait's "
            f"timeout of {self._seconds or 0:g} s; the wait ended, they go on"
        )


def _checked(refs: Any) -> list[TaskRunRef[Any]]:
    """The references, each once.

    Raises:
        UsageError: there is something else among them.
    """
    how = "such as task.run_no_wait(...) returns"
    if isinstance(refs, TaskRunRef) or not isinstance(refs, Iterable):
        raise checks.refused("refs", f"must be a list, or something to iterate over, of references, {how}", refs)
    found: dict[TaskRunRef[Any], None] = {}
    for number, ref in enumerate(cast("Iterable[Any]", refs)):
        if not isinstance(ref, TaskRunRef):
            raise checks.refused(f"refs[{number}]", f"must be a reference, {how}", ref)
        found[ref] = None
    return list(found)
