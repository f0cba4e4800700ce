"""Recorded durable runs, against the code that there is now: it is run from the top, is given what is recorded, and
goes no further than that. Nothing is executed, and nothing written.

What it asks for first that is not recorded, or has not ended, stops it. By then it must have asked for all that is.
Where it has branches, each goes so far by itself.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, cast

import msgspec

from fanwood import checks
from fanwood.engine.signals import block, running_loop
from fanwood.errors import InputValidationError, RunNotFoundError, RunStartsOver
from fanwood.ids import id_text
from fanwood.model.commands import ClaimedRun, Finished
from fanwood.model.lives import life_of
from fanwood.model.naming import VERSION
from fanwood.model.records import RunFilter
from fanwood.model.states import RunKind, RunState
from fanwood.sdk.children.mock_host import MockedError, MockHost
from fanwood.sdk.children.refs import TaskRunRef
from fanwood.sdk.declaring.identity import content_digest
from fanwood.sdk.declaring.outcomes import error_of, parts_of, typed_output
from fanwood.sdk.declaring.versions import UnservedError, began, code_for
from fanwood.sdk.recording.losing import losing_a_run
from fanwood.sdk.recording.once import Doing
from fanwood.sdk.recording.outlasting import is_given_up
from fanwood.sdk.recording.patience import patience
from fanwood.sdk.recording.replaying import recall_version
from fanwood.sdk.running.attempt import Attempt, registering
from fanwood.sdk.running.current import current_attempt, current_run_id
from fanwood.sdk.running.parts import Parts
from fanwood.sdk.running.reading import Reading
from fanwood.sdk.running.sameness import Sameness, asked_with
from fanwood.sdk.running.unloading import timers_of, waits_for
from fanwood.sdk.running.waiting import called, timed_out
from fanwood.sdk.tasks.context import Context
from fanwood.sdk.tasks.mock import NoSlots

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Sequence

    from fanwood.durations import Duration
    from fanwood.model.records import RunRecord
    from fanwood.sdk.declaring.host import Host
    from fanwood.sdk.declaring.items import BulkRunItem
    from fanwood.sdk.declaring.spec import TaskSpec
    from fanwood.store.store import Store

_Ended = tuple[bool, BaseException | None]
"""Whether code was stopped, or has come to its end; and what it failed with."""

PAGE = 200
PATIENCE = 5.0
"""Seconds for which code may do something else, before it is taken to go no further; a tenth of that where a branch was
stopped, for which it may wait."""
LOOK, TURNS = 0.001, 6
WAITS = {"watch", "waiting"}
"""What is asked of an engine by who waits for the end of something that is recorded."""
THREAD = "fanwood-check"
STUCK = 3


class Stop(BaseException):
    """It goes no further. (A `BaseException`, so that `except Exception` can't swallow it.)"""


class Rehearsed(NamedTuple):
    """One run. `text`: what it would ask for, and had asked for; None: the code is the same. `followed`: whether that
    could be told."""

    run: RunRecord
    text: str | None
    followed: bool = True


async def runs_of(host: Host, spec: TaskSpec, limit: int) -> AsyncGenerator[RunRecord]:
    """The newest runs of a durable task that have begun."""
    engine, filter_ = host.engine(), RunFilter(task=spec.name, every=True, limit=min(limit, PAGE))
    while limit > 0:
        of = filter_
        page = await called(engine.call(lambda store: store.listing(of)))  # noqa: B023
        for run in page.runs[:limit]:
            limit -= 1
            if run.attempt > 0:
                yield run
        if page.after is None:
            return
        filter_ = msgspec.structs.replace(filter_, after=page.after)


async def waiting_for(host: Host, names: Collection[str], limit: int) -> Counter[str]:
    """Of the newest runs that are suspended: how many are of tasks that are not among `names`."""
    engine, namespace, found = host.engine(), host.settings.namespace, Counter[str]()
    filter_ = RunFilter(
        prefix=f"{namespace}/" if namespace else None, state=RunState.WAITING, every=True, limit=min(limit, PAGE)
    )
    while limit > 0:
        of = filter_
        page = await called(engine.call(lambda store: store.listing(of)))  # noqa: B023
        limit -= PAGE
        for run in page.runs:
            if run.kind is RunKind.TASK and run.task not in names and run.task.rpartition("/")[0] == namespace:
                found[run.task] += 1
        if page.after is None:
            break
        filter_ = msgspec.structs.replace(filter_, after=page.after)
    return found


def rehearse(host: Host, spec: TaskSpec, run: RunRecord) -> Rehearsed:
    """What the code of `spec` makes of a run."""
    attempt, same, whole = block(_recalled(host, spec, run.id), "rehearse")
    try:
        if spec.versions is not None:
            assert attempt.parts is not None
            spec = attempt.spec = code_for(spec, attempt.parts.version)
    except UnservedError as error:  # of what has ended nobody needs it
        lost = None if run.state.is_terminal else f"{run.task} {id_text(run.id)} {began(error.version)}: it would wait"
        return Rehearsed(run, lost, followed=lost is not None)
    try:
        arguments = (spec.read(whole.input or "null"), Context(attempt))[: spec.arity]
    except InputValidationError as error:
        return Rehearsed(run, str(error))
    tokens = current_attempt.set(attempt), current_run_id.set(id_text(run.id))
    try:
        stopped, failed = _within(lambda: _called(attempt, same, spec, arguments))
    finally:
        current_attempt.reset(tokens[0])
        current_run_id.reset(tokens[1])
    if _is_mocked(failed):  # a group
        return Rehearsed(run, None, followed=False)
    asks_for_more = same.stopped_by is not None and run.state is RunState.COMPLETED
    if not asks_for_more and not same.unasked():
        return Rehearsed(run, None, followed=stopped or same.stopped_by is None)
    if same.stopped_by is None and (same.is_lost or not stopped):  # it might have asked for the rest later
        return Rehearsed(run, None, followed=False)
    return Rehearsed(run, str(same.error()) + _why(failed))


def _why(failed: BaseException | None) -> str:
    """Code that fails sooner than it did asks for nothing more."""
    return "" if failed is None else f"\nIt failed: {type(failed).__name__}: {failed}"


def _within(call: Callable[[], _Ended]) -> _Ended:
    """Not for ever, whatever it does: it has a thread of its own, which ends with the process. (Where several did not
    come to an end, others would not either.)"""
    if sum(thread.name == THREAD for thread in threading.enumerate()) >= STUCK:
        return False, None
    ended: list[_Ended] = []
    context = contextvars.copy_context()
    thread = threading.Thread(target=lambda: ended.append(context.run(call)), name=THREAD, daemon=True)
    thread.start()
    thread.join(3 * PATIENCE)
    return ended[0] if ended else (False, None)


def _is_mocked(error: BaseException | None) -> bool:
    return error is not None and any(isinstance(one, MockedError) for one in parts_of(error))


def _called(attempt: Attempt, same: _Recorded, spec: TaskSpec, arguments: tuple[Any, ...]) -> _Ended:
    try:
        if spec.is_async:
            return asyncio.run(_followed(attempt, same, spec.function(*arguments)))
        attempt.thread = threading.get_ident()
        spec.function(*arguments)
    except (Stop, RunStartsOver):
        return True, None
    except BaseException as error:  # noqa: BLE001  (`SystemExit`, say: it is the code's, and not ours)
        return True, error
    return True, None


async def _followed(attempt: Attempt, same: _Recorded, code: Coroutine[Any, Any, Any]) -> _Ended:
    """A branch that is stopped waits from then on: raised in whoever waits for it (a `TaskGroup`, say) it would end its
    siblings before they have asked for what is recorded of them."""
    held, loop = set[asyncio.Task[Any]](), asyncio.get_running_loop()

    async def branch(coroutine: Coroutine[Any, Any, Any]) -> Any:
        try:
            return await coroutine
        except (Stop, RunStartsOver):
            held.add(cast("asyncio.Task[Any]", asyncio.current_task()))
            await loop.create_future()

    def made(loop: asyncio.AbstractEventLoop, coroutine: Any, **how: Any) -> asyncio.Task[Any]:
        return asyncio.Task(branch(_as_one(coroutine)), loop=loop, **how)

    loop.set_task_factory(made)
    task = attempt.coroutine_task = asyncio.ensure_future(code)
    current_attempt.set(None)  # the timers that are set here are not the code's
    until, last = loop.time() + PATIENCE, 0
    while not task.done() and not await _rests(task, held) and loop.time() < until:
        await asyncio.wait([task], timeout=LOOK)
        if (count := len(held) + len(same.recorded) - len(same.unasked())) != last and held:
            until, last = loop.time() + PATIENCE / 10, count
    same.is_over = True  # what `finally` blocks do from here on does not count
    ended = task.done() or await _rests(task, held)
    if not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=PATIENCE)
        return ended, None
    return True, None if task.cancelled() else task.exception()


async def _as_one(coroutine: Any) -> Any:
    """Also what is only a generator."""
    return await coroutine


async def _rests(task: asyncio.Task[Any], held: set[asyncio.Task[Any]]) -> bool:
    """Whether none of it will go on: each branch was stopped, or waits for such ones; and still does some turns of the
    loop later, in which who waited for what has ended would have heard of it."""
    before = None
    for _ in range(TURNS):
        tasks = {each for each in asyncio.all_tasks() if each is not asyncio.current_task()}
        if task not in tasks or not all(each in held or waits_for(each, tasks) for each in tasks):
            return False
        waits = {each: getattr(each, "_fut_waiter", None) for each in tasks}
        if before is not None and waits != before:
            return False
        before = waits
        await asyncio.sleep(0)
    return True


async def _recalled(host: Host, spec: TaskSpec, run_id: bytes) -> tuple[Attempt, _Recorded, RunRecord]:
    """An attempt that has all that is recorded."""
    engine = host.engine()
    run = await called(engine.call(lambda store: store.get(run_id)))
    id_, root, parent = (each.hex().upper() for each in (run.id, run.root_id, run.parent_id or b""))
    life = life_of(run.life)
    claimed = ClaimedRun(
        id_, 2 if life is None else life.since + 1, parent, root, run.depth, run.task, None, run.child_key,
        run.input or "null", run.metadata, run.priority, run.retry_count, 0, None, "", life=run.life,
    )  # fmt: skip
    recorded = _RecordedHost(host, spec.name)
    attempt = recorded.attempt = Attempt(claimed, spec, recorded, NoSlots())
    attempt.worker_id = 1  # it is no mock run
    attempt.replay = frozenset()
    same = attempt.same = recorded.same = _Recorded(attempt)
    if attempt.fork is not None:
        attempt.fork.learn([])  # what it would copy is new
    await called(engine.call(same.learn))
    attempt.parts = Parts(Reading(is_read=True))
    after = attempt.floor
    while True:
        start = after
        page = await called(engine.call(lambda store: store.recorded(run_id, start, PAGE)))  # noqa: B023
        attempt.parts.found.update((each.identity, each) for each in page if each.asked >= attempt.since)
        if len(page) < PAGE:
            recall_version(attempt, attempt.parts)
            same.recorded.pop(attempt.mine(VERSION), None)
            return attempt, same, run
        after = page[-1].id


class _Recorded(Sameness):
    """What is asked for: the first new thing stops it."""

    __slots__ = ("_stopped", "is_lost", "is_over", "stopped_by")

    def __init__(self, attempt: Attempt) -> None:
        super().__init__(attempt, is_strict=False)
        self.stopped_by: str | None = None
        self.is_lost = False  # it did what can't be followed
        self.is_over = False
        self._stopped = set[object]()

    def ask(self, identity: bytes, shown: str) -> None:
        if self.is_over or self._branch() in self._stopped:
            raise Stop
        super().ask(identity, shown)
        if identity not in self.recorded:
            self.stopped_by = shown
            raise self.stop()

    def stop(self) -> Stop:
        """What ends the branch that asks: it goes no further, whatever its `finally` blocks do."""
        branch = self._branch()
        if branch is not None:
            self._stopped.add(branch)
        if branch is None or timers_of(self._attempt):  # a thread of a pool does something else then; and so does code
            self.is_lost = True  # whose timer would come
        return Stop()

    def _branch(self) -> object | None:
        """A task, or the thread of sync code; none of either is known to end when it is stopped."""
        if running_loop() is not None:
            return asyncio.current_task()
        thread = threading.get_ident()
        return thread if thread == self._attempt.thread else None


class _Silent:
    """In the place of the engine: who asks for anything has come to the end of what is recorded."""

    def __init__(self, secret: str, same: _Recorded) -> None:
        self.secret = secret  # by which tokens of promises are those that were handed out
        self._same = same

    def __getattr__(self, name: str) -> NoReturn:
        if name not in WAITS and not self._same.is_over:
            self._same.is_lost = True
        raise self._same.stop()


class _RecordedHost(MockHost):
    """In the place of the application: children are what is recorded of them."""

    attempt: Attempt
    same: _Recorded

    def __init__(self, host: Host, task: str) -> None:
        super().__init__(host, task, {})
        self._host = host

    def engine(self) -> Any:
        return _Silent(self._host.engine().secret, self.same)

    async def answer(self, item: BulkRunItem[Any, Any], *, keep_errors: bool = False) -> Any:
        """Of a stream, which has asked for more than it waits for."""
        self.same.is_lost, lost = True, self.same.is_lost
        (result,) = await self.answers((item,), keep_errors=keep_errors)
        self.same.is_lost = lost
        return result

    async def answers(
        self, items: Sequence[BulkRunItem[Any, Any]], *, keep_errors: bool = False, timeout: float | None = None
    ) -> list[Any]:
        ids = [self._asked(item) for item in items]
        await self.in_time(ids, timeout)
        runs = [await self._run(id_) for id_ in ids]
        results = [
            await self._said(run, item.spec, keep_errors=keep_errors, owned=True)
            for run, item in zip(runs, items, strict=True)
            if run.state.is_terminal
        ]
        if len(results) < len(runs):
            raise self.same.stop()
        return results

    async def in_time(self, ids: Sequence[bytes], timeout: float | None) -> None:
        """Raises if it was not."""
        limit = await patience(timeout, ids)
        if limit is not None and limit.is_over:
            raise timed_out(timeout or 0, f"{len(ids)} run(s)")

    async def ref(self, item: BulkRunItem[Any, Any]) -> TaskRunRef[Any]:
        return _RecordedRef(self, self._asked(item), item.spec)

    def _asked(self, item: BulkRunItem[Any, Any]) -> bytes:
        """The id of the run that is recorded."""
        spec, options, attempt = item.spec, item.options, self.attempt
        content = content_digest(spec.name, spec.input.canonical(spec.input.encode(item.input)))
        assert attempt.same is not None
        assert attempt.parts is not None
        if options.idempotency_key is not None:  # it is recorded nowhere
            self.same.is_lost = True
            raise self.same.stop()
        with registering:
            if options.detached:
                one = Doing(attempt, attempt.parts, "detached run", spec.name, content)
                return bytes.fromhex(msgspec.json.decode(one.done or '""'))
            identity = attempt.identify(options.effective_key, content)
        attempt.same.ask(identity, asked_with(spec.name, options.effective_key, spec.input.encode(item.input).decode()))
        return attempt.same.recorded[identity]

    async def end_of(self, run_id: bytes, spec: TaskSpec) -> Any:
        """What it returned."""
        run = await self._run(run_id)
        if not run.state.is_terminal:
            raise self.same.stop()
        return await self._said(run, spec, keep_errors=False)

    async def _run(self, run_id: bytes) -> RunRecord:
        async def look(store: Store) -> RunRecord:
            return await store.get(run_id)

        try:
            return await called(self._host.engine().call(look))
        except RunNotFoundError:
            raise self.same.stop() from None  # a root that was deleted

    async def _said(self, run: RunRecord, spec: TaskSpec, *, keep_errors: bool, owned: bool = False) -> Any:
        """What it returned. `owned`: by who would have given it up."""
        if owned and running_loop() is not None and is_given_up(run.state, run.error):
            await asyncio.sleep(2 * PATIENCE)  # a timer of the code's ended this wait, and does so again
        if run.state is RunState.COMPLETED:
            return typed_output(run.output, spec.output, spec.name)
        error = error_of(Finished(run.state, run.output, run.error, run.task), run.id, spec.name)
        if keep_errors:
            return error
        raise error


class _RecordedRef(TaskRunRef[Any]):
    """To what is recorded."""

    __slots__ = ("_recorded", "_spec")

    def __init__(self, host: _RecordedHost, run_id: bytes, spec: TaskSpec) -> None:
        as_host: Any = host
        super().__init__(as_host, run_id, spec.name, spec.output)
        self._recorded = host
        self._spec = spec

    async def _result(self, timeout: Duration | None) -> Any:
        asks, self._asks = self._asks, self._asks + 1
        async with losing_a_run(self.mark, self._id, "", asks):
            await self._recorded.in_time([self._id], checks.waiting(timeout))
            return await self._recorded.end_of(self._id, self._spec)
