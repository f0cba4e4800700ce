"""Streams: any number of runs by one call, spawned as their results are taken.

At no time are more inputs asked for, or results kept, than the window allows. So a million children need no more memory
than a thousand, in the parent and in the engine.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypeVar, Unpack, cast, overload

from fanwood import checks
from fanwood.engine.signals import block, running_loop
from fanwood.errors import (
    BlockingCallError,
    FanwoodError,
    PayloadError,
)
from fanwood.model.states import RunState
from fanwood.sdk.children.endless import OVER, REFUSED, StreamSpawner
from fanwood.sdk.children.interrupted import tell_loop_interrupted
from fanwood.sdk.children.mock_host import MockHost
from fanwood.sdk.children.mocked_flow import MockedFlow
from fanwood.sdk.children.owning import abandon, owning
from fanwood.sdk.children.sources import Source, source_of
from fanwood.sdk.children.spawning import CHUNK, WINDOW
from fanwood.sdk.declaring.items import BulkRunItem
from fanwood.sdk.declaring.options import NOT_GIVEN, RunOptions, TriggerWorkflowOptions, known_only, merged
from fanwood.sdk.declaring.outcomes import error_of, typed_output
from fanwood.sdk.running.current import current_attempt
from fanwood.sdk.running.interrupting import INTERRUPTIONS

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterable,
        AsyncIterator,
        Callable,
        Generator,
        Iterable,
        Mapping,
    )

    from fanwood.model.commands import Ended
    from fanwood.sdk.children.planned import Planned
    from fanwood.sdk.declaring.host import Host

In = TypeVar("In")
Out = TypeVar("Out")
T = TypeVar("T")

Input: TypeAlias = "T | Mapping[str, Any] | BulkRunItem[Any, Any]"
Inputs: TypeAlias = "Iterable[Input[T]] | AsyncIterable[Input[T]]"
"""What a stream may read."""

DEFAULT_WINDOW = CHUNK * WINDOW
"""As many as back-pressure lets a bulk have on their way."""


class Options:
    """How a stream is to go; checked.

    Raises:
        UsageError: an option that can't be.
    """

    def __init__(self, window: Any, ordered: Any, return_exceptions: Any) -> None:
        self.window = DEFAULT_WINDOW if window is None else checks.whole(window, "window", 1)
        self.ordered = checks.flag(ordered, "ordered")
        self.keep_errors = checks.flag(return_exceptions, "return_exceptions")


class Flow:
    """One stream, as its generator drives it."""

    def __init__(self, host: Host, source: Source, item: Callable[[Any], BulkRunItem[Any, Any]], how: Options) -> None:
        self._source = source
        self._item = item
        self._how = how
        self._spawner = StreamSpawner(host)
        self._begun = False
        self._next = 0  # whose turn it is, if they are ordered
        self._ended: dict[int, tuple[Planned, Ended]] = {}  # and not given out yet, as they came
        self._unsent: list[BulkRunItem[Any, Any]] = []  # that were taken, when the wait was cancelled
        self._cancelled = False
        self._error: BaseException | None = None  # which ends it, when what came before was given out
        self._last: Exception | None = None  # which ends what is asked for: told when all of that was given out
        source.on_arrival(self._spawner.stream.nudge)

    async def more(self) -> list[Any]:
        """The next results, at least one; none at the end.

        Raises:
            TaskRunError: it is the turn of a run that has no output.
            Exception: what came before was given out, and the source has raised this; or the next input can't be.
        """
        with owning(self._spawner):
            async with self._leaving():
                return await self._more()

    async def _more(self) -> list[Any]:
        if not self._begun:
            await self._spawner.begin()
            self._begun = True
        while self._error is None:
            self._collect()
            full = await self._fill()
            if values := self._values():
                return values
            if self._error is None and self._source.ended and await self._is_over():
                return []
            if full and self._error is None:
                await self._spawner.wait_for_some()
        raise self._error

    async def close(self) -> None:
        """Nobody wants any more: what is under way is cancelled."""
        self._source.close()
        if self._spawner.under_way and not self._cancelled:
            await abandon(self._spawner)

    @contextlib.asynccontextmanager
    async def _leaving(self) -> AsyncGenerator[None]:
        """While inside, a cancellation is one of the wait: in a task, `owning` decides what comes of it."""
        try:
            yield
        except INTERRUPTIONS as error:
            self._cancelled = self._spawner.attempt is not None and isinstance(error, asyncio.CancelledError)
            tell_loop_interrupted(error, self._spawner.under_way)
            if self._cancelled:
                with contextlib.suppress(FanwoodError):
                    await self._spawner.ask_again(self._rest())
            raise

    async def _rest(self) -> AsyncIterator[list[BulkRunItem[Any, Any]]]:
        """What is still to be asked for, up to the first that can't be; as far as it is there."""
        if self._unsent:
            yield self._unsent
        async for values in self._source.rest(CHUNK):
            items: list[BulkRunItem[Any, Any]] = []
            with contextlib.suppress(Exception):
                for value in values:
                    items.append(self._item(value))  # noqa: PERF401  (those before one that raises are needed)
            yield items
            if len(items) < len(values):
                return

    async def _is_over(self) -> bool:
        """Whether nothing is under way any more; if an error has ended what was asked for, it is that one's turn."""
        if not self._spawner.under_way:
            with self._held_back():
                await self._spawner.all_answered()
        if self._spawner.under_way or self._ended:
            return False  # (ended: behind one that is refused now)
        self._error = self._last or self._source.error
        return self._error is None

    @contextlib.contextmanager
    def _held_back(self) -> Generator[None]:
        """While inside, what refuses a run ends what is asked for, and not what was asked for before."""
        try:
            yield
        except REFUSED as error:
            if isinstance(error, OVER) or self._spawner.is_torn:
                raise
            self._last = self._last or error
            self._source.close()

    def _collect(self) -> None:
        """Take what has come. (What comes later wakes who waits.)"""
        under_way = self._spawner.under_way
        for index, ended in self._spawner.stream.take():
            self._ended[index] = (under_way.pop(index), ended)

    async def _fill(self) -> bool:
        """Ask for as many as there is room for, and the source has. False if the source has more, and was only slow."""
        spawner = self._spawner
        while spawner.is_answered:  # (each of them may be refused, and nobody nudges for what was there)
            with self._held_back():
                await spawner.check_answers()
        while (room := self._how.window - len(spawner.under_way) - len(self._ended)) > 0 and not self._source.ended:
            wanted = min(room, CHUNK)
            inputs = self._source.take(wanted)
            with self._held_back():
                await self._spawn(inputs)
            if not self._source.arrives and len(inputs) < wanted:
                return self._source.ended
            if not inputs:
                break  # it calls when there is more
        return True

    async def _spawn(self, inputs: list[Any]) -> None:
        """As one request; up to the first that can't be."""
        items: list[BulkRunItem[Any, Any]] = []
        try:
            for value in inputs:
                items.append(self._item(value))  # noqa: PERF401  (those before one that raises are needed)
        finally:
            if items:
                await self._spawn_items(items)

    async def _spawn_items(self, items: list[BulkRunItem[Any, Any]]) -> None:
        count = self._spawner.count
        try:
            await self._spawner.spawn_some(items)
        except asyncio.CancelledError:
            self._unsent = items if self._spawner.count == count else []
            raise
        except PayloadError:  # of one of them, and none was sent
            if len(items) == 1:
                raise
            for item in items:
                await self._spawner.spawn_some([item])

    def _values(self) -> list[Any]:
        """Of what has come, what may be given out."""
        values: list[Any] = []
        while self._error is None:
            index = self._next if self._how.ordered else next(iter(self._ended), -1)
            if index not in self._ended:
                self._error = self._spawner.refused.get(index)
                break
            self._next += 1
            run, ended = self._ended.pop(index)
            if self._spawner.attempt is not None:
                self._spawner.attempt.given((run.id,))
            if ended.state is RunState.COMPLETED:
                values.append(typed_output(ended.output, run.spec.output, run.spec.name))
            elif self._how.keep_errors:
                values.append(error_of(ended, run.id, run.spec.name))
            else:
                self._error = error_of(ended, run.id, run.spec.name)
        return values


def blocking_results(flow: Flow | MockedFlow, name: str) -> Generator[Any]:
    """The results of a flow, one by one."""
    try:
        while values := block(flow.more(), name):
            yield from values
    finally:
        if running_loop() is None:
            block(flow.close(), name)


async def results(flow: Flow | MockedFlow) -> AsyncGenerator[Any]:
    """As `blocking_results`, awaited."""
    try:
        while values := await flow.more():
            for value in values:
                yield value
    finally:
        await flow.close()


class Streams(Generic[In, Out]):
    """The methods of a task or workflow that make runs without end."""

    _host: Host

    @property
    def name(self) -> str:
        """The name under which runs of it are stored."""
        raise NotImplementedError

    def asked_for(self, input_: Any, options: TriggerWorkflowOptions) -> BulkRunItem[In, Out]:
        """A run that is asked for."""
        raise NotImplementedError

    @overload
    def map(
        self,
        inputs: Iterable[Input[In]],
        *,
        window: int | None = ...,
        ordered: bool = ...,
        return_exceptions: Literal[False] = ...,
        **given: Unpack[RunOptions],
    ) -> Generator[Out]: ...

    @overload
    def map(
        self,
        inputs: Iterable[Input[In]],
        *,
        window: int | None = ...,
        ordered: bool = ...,
        return_exceptions: bool,
        **given: Unpack[RunOptions],
    ) -> Generator[Out | BaseException]: ...

    def map(
        self,
        inputs: Iterable[Any],
        *,
        window: int | None = None,
        ordered: bool = True,
        return_exceptions: bool = False,
        **given: Unpack[RunOptions],
    ) -> Generator[Any]:
        """Run it for each of any number of inputs; a generator of the outputs, in memory that does not grow with them.

        Inputs are asked for only as far as the window goes, and a result is forgotten when it was given out. Whatever
        ends the generator (its end, a failure, `close()`, a `break`) cancels what is under way.

        Args:
            inputs: of the declared type, dicts that fit it, or items made by `create_bulk_run_item`.
            window: so many runs are under way, or have ended and not been given out, at most. Default: 2,000.
            ordered: in the order of the inputs; else as they end.
            return_exceptions: give out errors in the place of outputs. Without it the first failure raises.
            given: see `RunOptions`; a key is for one run, and refused. `on_parent_end` is "cancel" if it isn't given.

        Raises:
            UsageError: an option, or `inputs`, can't be.
            TaskRunError: one of the runs ended without an output.
            BlockingCallError: an event loop runs on this thread; use `aio_map`.
        """
        name = f"{self.name}.map"
        how = Options(window, ordered, return_exceptions)
        if running_loop() is not None:
            raise BlockingCallError(
                f"{name}() blocks, and an event loop runs on this thread: it, and all tasks on it, would freeze. "
                f"Use `async for result in {self.name}.aio_map(...)` here."
            )
        return blocking_results(self._flow(inputs, how, given, blocking=True), name)

    @overload
    def aio_map(
        self,
        inputs: Inputs[In],
        *,
        window: int | None = ...,
        ordered: bool = ...,
        return_exceptions: Literal[False] = ...,
        **given: Unpack[RunOptions],
    ) -> AsyncGenerator[Out]: ...

    @overload
    def aio_map(
        self,
        inputs: Inputs[In],
        *,
        window: int | None = ...,
        ordered: bool = ...,
        return_exceptions: bool,
        **given: Unpack[RunOptions],
    ) -> AsyncGenerator[Out | BaseException]: ...

    def aio_map(
        self,
        inputs: Inputs[Any],
        *,
        window: int | None = None,
        ordered: bool = True,
        return_exceptions: bool = False,
        **given: Unpack[RunOptions],
    ) -> AsyncGenerator[Any]:
        """As `map`, for `async for`; takes async iterables as well."""
        how = Options(window, ordered, return_exceptions)
        return results(self._flow(inputs, how, given, blocking=False))

    def _flow(self, inputs: Any, how: Options, given: RunOptions, *, blocking: bool) -> Flow | MockedFlow:
        for key in ("child_key", "idempotency_key"):
            if given.get(key) is not None:
                raise checks.refused(
                    key,
                    f"names one run, and {self.name}.map makes many: give items, each made by "
                    f"{self.name}.create_bulk_run_item(input, {key}=...)",
                    given.get(key),
                )
        known_only(given, RunOptions.__annotations__, f"{self.name}.map")
        options = merged(None, {"on_parent_end": "cancel", **given}, NOT_GIVEN, self.name)

        def item(value: Any) -> BulkRunItem[Any, Any]:
            return cast("Any", value) if isinstance(value, BulkRunItem) else self.asked_for(value, options)

        source = source_of(inputs, self._host.clock, self.name, blocking=blocking)
        attempt = current_attempt.get()
        if attempt is not None and isinstance(attempt.host, MockHost):
            return MockedFlow(attempt.host, inputs, item, keep_errors=how.keep_errors)
        return Flow(self._host, source, item, how)
