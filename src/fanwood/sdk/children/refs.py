"""References to runs: an id, and what can be asked of the run behind it. Can be rebuilt from the id anywhere."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from fanwood import checks
from fanwood.codec import codec_for
from fanwood.engine.signals import block
from fanwood.engine.waits import Collector, to_keep
from fanwood.ids import id_text
from fanwood.model.states import RunState
from fanwood.sdk.children.chunks import ChunkStream
from fanwood.sdk.children.reforking import fork_run
from fanwood.sdk.declaring.outcomes import result_of
from fanwood.sdk.recording.losing import losing_a_run
from fanwood.sdk.recording.once import once
from fanwood.sdk.recording.patience import patience, wait_at_most
from fanwood.sdk.running.circles import refuse_circle
from fanwood.sdk.running.current import current_attempt
from fanwood.sdk.running.infos import table, type_name
from fanwood.sdk.running.interrupting import interruption_told
from fanwood.sdk.running.waiting import asked, looked
from fanwood.store.cancelling import cancel

if TYPE_CHECKING:
    from collections.abc import Generator

    from fanwood.codec import Codec
    from fanwood.durations import Duration
    from fanwood.model.commands import Ended
    from fanwood.sdk.children.births import Birth
    from fanwood.sdk.children.planned import PlannedRuns
    from fanwood.sdk.declaring.budget import Budget
    from fanwood.sdk.declaring.host import Host
    from fanwood.sdk.declaring.spec import TaskSpec

T = TypeVar("T")


class TaskRunRef(Generic[T]):
    """A run, by its id. `await ref` is its result."""

    __slots__ = ("_asks", "_birth", "_end", "_host", "_id", "_output", "_task")

    def __init__(self, host: Host, run_id: bytes, task: str, output: Codec[Any]) -> None:
        self._host = host
        self._id = run_id
        self._task = task
        self._output = output
        self._end: Ended | None = None  # if it came with it
        self._birth: Birth | None = None  # of a member of a group
        self._asks = 0  # how often it was waited for

    @property
    def id(self) -> str:
        """The run's id."""
        return id_text(self._id)

    @property
    def workflow_run_id(self) -> str:
        """The same as `id`."""
        return self.id

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id!r}, task={self._task!r})"

    def __str__(self) -> str:
        return self.id

    def _repr_html_(self) -> str:
        """Without a look at the store."""
        return table((("run", self.id), ("task", self._task or None), ("output", type_name(self._output.declared))))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TaskRunRef) and self._id == other._id

    def __hash__(self) -> int:
        return hash(self._id)

    def __await__(self) -> Generator[Any, None, T]:
        return self.aio_result().__await__()

    def result(self, timeout: Duration | None = None) -> T:
        """The output, waited for at most `timeout`. A reference that has it with it answers on any thread.

        Raises:
            TaskRunError: the run ended without one; its subclasses say why.
            WaitTimeoutError: it didn't end in time; it goes on.
            RunNotFoundError: there is no such run.
            BlockingCallError: it isn't here yet, and an event loop runs on this thread; use `aio_result`, or `await`.
        """
        if self._end is not None:
            checks.waiting(timeout)
            return self._given(self._end)
        return block(self._result(timeout), "result")

    async def aio_result(self, timeout: Duration | None = None) -> T:
        """As `result`."""
        return await self._result(timeout)

    def stream(self, *, after: int = -1) -> ChunkStream:
        """What the run gives out with `ctx.put_stream`, from its first chunk on, or from the one after number `after`
        (`chunk.seq`): for `for`, and for `async for`. Ends with the run."""
        return ChunkStream(self._host, self._id, after)

    def status(self) -> RunState:
        """The state that the run is in now."""
        return block(self._status(), "status")

    async def aio_status(self) -> RunState:
        """As `status`."""
        return await self._status()

    def cancel(self) -> None:
        """Cancel the run and its whole subtree. Once this returns, nothing below it starts; of a large subtree the
        rest is ended afterwards."""
        block(self._cancel(), "cancel")

    async def aio_cancel(self) -> None:
        """As `cancel`."""
        await self._cancel()

    def fork(
        self, *, input: Any = ..., at: str | None = None, budget: Budget | None = None, by: str | None = None
    ) -> Self:
        """A new run, with a tree of its own, made from this one, which has ended: see `fanwood.runs.fork`."""
        return block(self._fork(input, at, budget, by), "fork")

    async def aio_fork(
        self, *, input: Any = ..., at: str | None = None, budget: Budget | None = None, by: str | None = None
    ) -> Self:
        """As `fork`."""
        return await self._fork(input, at, budget, by)

    # --- for those who wait for many -------------------------------------------------------------------------------

    @property
    def host(self) -> Host:
        """Whose run it is."""
        return self._host

    @property
    def key(self) -> bytes:
        """The run's id, as it is stored."""
        return self._id

    @property
    def task_name(self) -> str:
        """The task's name, if it is known here; else empty."""
        return self._task

    @property
    def has_end(self) -> bool:
        """Whether the result is here, so that nobody has to be asked."""
        return self._end is not None

    @property
    def mark(self) -> bytes:
        """By what it is told from others: its id; or what is the same in each attempt, also if it never was stored."""
        return self._id if self._birth is None else self._birth.mark

    @property
    def comes_last(self) -> bool:
        """Whether the end that is here is to be told after all others."""
        return self._birth is not None and self._birth.comes_last

    @property
    def is_held(self) -> bool:
        """Whether there is no such run yet, as its group has no room for it."""
        return self._birth is not None and self._birth.is_held

    def comes_by(self, birth: Birth) -> None:
        """It is a group's member, and may be there later, or never."""
        self._birth = birth

    def watch(self, collector: Collector, number: int) -> None:
        """`collector` hears of the run's end, as its number `number`."""
        engine, birth = self._host.engine(), self._birth
        if birth is None or not birth.watch(engine, self._id, collector, number):
            engine.watch(self._id, collector, number)

    @property
    def has_failed(self) -> bool:
        """Whether it is here, and no output."""
        return self._end is not None and self._end.state is not RunState.COMPLETED

    def with_end(self, ended: Ended) -> Self:
        """An equal reference that has the result with it."""
        ref = type(self)(self._host, self._id, self._task, self._output)
        ref._end = to_keep(ended)  # noqa: SLF001  (one of us)
        return ref

    def take_end(self, ended: Ended) -> None:
        """It is decided how it ended, whatever its row says."""
        self._end = ended

    # --- what the methods do ---------------------------------------------------------------------------------------

    async def _result(self, timeout: Duration | None) -> T:
        seconds = checks.waiting(timeout)
        if self._end is not None:
            return self._given(self._end)
        if (attempt := current_attempt.get()) is not None:
            await refuse_circle(attempt, self._id, self._host.engine())
        elif self._task:
            await self._host.prepare((self._task,))
        collector = Collector(fail_fast=False)
        collector.grow(1)
        collector.close()
        engine, asks = self._host.engine(), self._asks
        self._asks += 1
        self.watch(collector, 0)
        with engine.waiting(collector, (self._id,)), interruption_told(self._id, self._task):
            async with losing_a_run(self.mark, self._id, f"run {self.id}", asks):
                limit = await patience(seconds, (self.mark,))
                await looked((engine,), seconds if limit is None else 0)
                await wait_at_most(collector, self._host, limit, seconds, f"run {self.id}")
        finished = collector.results[0]
        assert finished is not None
        return self._given(finished)

    def _given(self, ended: Ended) -> T:
        return result_of(ended, self._id, self._task or ended.task, self._output)

    async def _status(self) -> RunState:
        birth = self._birth
        if birth is not None and (birth.is_held or birth.is_on_its_way):
            return RunState.QUEUED
        if birth is not None and birth.end is not None:
            return birth.end.state
        return (await asked(self._host.engine(), lambda store: store.get(self._id))).state

    async def _cancel(self) -> None:
        if self._birth is not None and not await self._birth.come():
            return  # it came to nothing
        await once("cancel", self.id, self._id, lambda _: cancelled(self._host, self._id))

    async def _fork(self, given: Any, at: str | None, budget: Budget | None, by: str | None) -> Self:
        made = await fork_run(self._host, self._id, given, at, budget, by)
        return type(self)(self._host, made.id, made.task, self._output)


class WorkflowRunRef(TaskRunRef[T]):
    """A workflow's run, by its id; its result is `{step name: output}`."""

    __slots__ = ()


async def cancelled(host: Host, run_id: bytes) -> int:
    """Cancel a run and its subtree; how many have ended by that so far."""
    return await asked(host.engine(), lambda store: cancel(store, run_id, "by request"), changes=True)


def ref_for(host: Host, run_id: bytes, spec: TaskSpec) -> TaskRunRef[Any]:
    """A reference of the kind that fits the task."""
    return _kind_of(spec)(host, run_id, spec.name, spec.output)


def _kind_of(spec: TaskSpec) -> type[TaskRunRef[Any]]:
    # (Not `TaskRunRef[Any]`: to be called so costs each of a hundred thousand as much again.)
    return WorkflowRunRef if spec.kind == "workflow" else TaskRunRef


def refs_for(host: Host, planned: PlannedRuns) -> list[TaskRunRef[Any]]:
    """References to all of these."""
    refs: list[TaskRunRef[Any]] = []
    ids = planned.ids()
    for start, end, spec in planned.parts():
        kind, name, output = _kind_of(spec), spec.name, spec.output
        refs += [kind(host, id_, name, output) for id_ in islice(ids, end - start)]
    return refs


def untyped_ref(host: Host, run_id: bytes, task: str) -> TaskRunRef[Any]:
    """A reference to a run whose task may be known here, or not."""
    spec = host.spec(task)
    return ref_for(host, run_id, spec) if spec is not None else TaskRunRef(host, run_id, task, codec_for(Any))
