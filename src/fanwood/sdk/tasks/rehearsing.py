"""Recorded durable runs, against the code that there is now: it is run from the top, is given what is recorded, and
goes no further than that. Nothing is executed, and nothing written.

What it asks for first that is not recorded, or has not ended, stops it. By then it must have asked for all that is.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import msgspec

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
from fanwood.sdk.declaring.outcomes import error_of, typed_output
from fanwood.sdk.declaring.versions import UnservedError, began, code_for
from fanwood.sdk.recording.once import Doing
from fanwood.sdk.recording.outlasting import is_given_up
from fanwood.sdk.recording.replaying import recall_version
from fanwood.sdk.running.attempt import Attempt, registering
from fanwood.sdk.running.current import current_attempt, current_run_id
from fanwood.sdk.running.parts import Parts
from fanwood.sdk.running.sameness import Sameness
from fanwood.sdk.running.waiting import called
from fanwood.sdk.tasks.context import Context
from fanwood.sdk.tasks.mock import NoSlots

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection

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
"""Seconds for which code may do something else, before it is taken to go no further."""
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
    call = _followed if spec.is_async else _called
    tokens = current_attempt.set(attempt), current_run_id.set(id_text(run.id))
    try:
        stopped, failed = _within(lambda: call(spec.function, arguments))
    finally:
        current_attempt.reset(tokens[0])
        current_run_id.reset(tokens[1])
    if isinstance(failed, MockedError):  # a stream, or a group
        return Rehearsed(run, None, followed=False)
    asks_for_more = same.stopped_by is not None and run.state is RunState.COMPLETED
    if not asks_for_more and not same.unasked():
        return Rehearsed(run, None, followed=stopped or same.stopped_by is None)
    if not stopped and same.stopped_by is None:  # it might have asked for the rest later
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


def _called(function: Callable[..., Any], arguments: tuple[Any, ...]) -> _Ended:
    try:
        function(*arguments)
    except (Stop, RunStartsOver):
        return True, None
    except BaseException as error:  # noqa: BLE001  (`SystemExit`, say: it is the code's, and not ours)
        return True, error
    return True, None


def _followed(function: Callable[..., Any], arguments: tuple[Any, ...]) -> _Ended:
    async def follow() -> _Ended:
        task = asyncio.ensure_future(_caught(function, arguments))
        done, _ = await asyncio.wait([task], timeout=PATIENCE)
        if not done:
            task.cancel()
            await asyncio.wait([task], timeout=PATIENCE)
            return False, None
        return task.result()

    return asyncio.run(follow())


async def _caught(function: Callable[..., Any], arguments: tuple[Any, ...]) -> _Ended:
    try:
        await function(*arguments)
    except (Stop, RunStartsOver):
        return True, None
    except BaseException as error:  # noqa: BLE001
        return True, error
    return True, None


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
    same = attempt.same = _Recorded(attempt)
    await called(engine.call(same.learn))
    attempt.parts = Parts(ready=True)
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

    __slots__ = ("stopped_by",)

    def __init__(self, attempt: Attempt) -> None:
        super().__init__(attempt, is_strict=False)
        self.stopped_by: str | None = None

    def ask(self, identity: bytes, shown: str) -> None:
        if self.stopped_by is not None:
            raise Stop
        super().ask(identity, shown)
        if identity not in self.recorded:
            self.stopped_by = shown
            raise Stop


class _Silent:
    """In the place of the engine: who asks for anything has come to the end of what is recorded."""

    def __init__(self, secret: str) -> None:
        self.secret = secret  # by which tokens of promises are those that were handed out

    def __getattr__(self, name: str) -> NoReturn:
        raise Stop


class _RecordedHost(MockHost):
    """In the place of the application: children are what is recorded of them."""

    attempt: Attempt

    def __init__(self, host: Host, task: str) -> None:
        super().__init__(host, task, {})
        self._host = host
        self._silent = _Silent(host.engine().secret)

    def engine(self) -> Any:
        return self._silent

    async def answer(self, item: BulkRunItem[Any, Any], *, keep_errors: bool = False) -> Any:
        return await self.end_of(self._asked(item), item.spec, keep_errors=keep_errors, owned=True)

    async def ref(self, item: BulkRunItem[Any, Any]) -> TaskRunRef[Any]:
        return _RecordedRef(self, self._asked(item), item.spec)

    def _asked(self, item: BulkRunItem[Any, Any]) -> bytes:
        """The id of the run that is recorded."""
        spec, options, attempt = item.spec, item.options, self.attempt
        content = content_digest(spec.name, spec.input.canonical(spec.input.encode(item.input)))
        assert attempt.same is not None
        assert attempt.parts is not None
        if options.idempotency_key is not None:
            raise Stop  # it is recorded nowhere
        with registering:
            if options.detached:
                one = Doing(attempt, attempt.parts, "detached run", spec.name, content)
                return bytes.fromhex(msgspec.json.decode(one.done or '""'))
            identity = attempt.identify(options.effective_key, content)
        attempt.same.ask(identity, f"{spec.name} {spec.input.encode(item.input).decode()}")
        return attempt.same.recorded[identity]

    async def end_of(self, run_id: bytes, spec: TaskSpec, *, keep_errors: bool, owned: bool = False) -> Any:
        """What it returned. `owned`: by who would have given it up."""

        async def look(store: Store) -> RunRecord:
            return await store.get(run_id)

        try:
            run = await called(self._host.engine().call(look))
        except RunNotFoundError:
            raise Stop from None  # a root that was deleted
        if not run.state.is_terminal:
            raise Stop
        if owned and running_loop() is not None and is_given_up(run.state, run.error):
            await asyncio.sleep(2 * PATIENCE)  # a timer of the code's ended this wait, and does so again
        if run.state is RunState.COMPLETED:
            return typed_output(run.output, spec.output, spec.name)
        error = error_of(Finished(run.state, run.output, run.error, run.task), run_id, spec.name)
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

    async def _result(self, timeout: Duration | None) -> Any:  # noqa: ARG002
        return await self._recorded.end_of(self._id, self._spec, keep_errors=False)
