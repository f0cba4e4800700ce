"""`fanwood.runs`: looking at runs, and doing things to them, from anywhere."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from fanwood import checks
from fanwood.engine.signals import block
from fanwood.errors import EngineClosedError, RunNotFoundError, UsageError
from fanwood.ids import id_bytes, id_text
from fanwood.model.states import TERMINAL, RunState
from fanwood.sdk.children.refs import TaskRunRef, cancelled, untyped_ref
from fanwood.sdk.client.bulk import Bulk
from fanwood.sdk.client.forking import Forks
from fanwood.sdk.client.surgery import Surgery
from fanwood.sdk.client.watching import Watch, count, tree
from fanwood.sdk.listing import PAGE, collect, filter_of, microseconds_of, place, state_named
from fanwood.sdk.recording.once import once
from fanwood.sdk.running.infos import AttemptInfo, attempt_info, log_info, run_info
from fanwood.sdk.running.waiting import asked
from fanwood.sdk.waits import messages
from fanwood.sdk.waits.promises import Promise
from fanwood.sdk.waits.publishing import value_of
from fanwood.store.why_asked import why_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from fanwood.durations import Duration
    from fanwood.model.records import Page, RunFilter, RunRecord
    from fanwood.sdk.children.chunks import ChunkStream
    from fanwood.sdk.client.watching import RunTree
    from fanwood.sdk.declaring.host import Host
    from fanwood.sdk.running.infos import LogInfo, RunCounts, RunInfo
    from fanwood.store.store import Store
    from fanwood.store.why import Why

T = TypeVar("T")

MOST = 100_000
"""Runs or lines that one call gives, at most."""


class Runs(Surgery, Forks, Bulk):
    """The runs of one store. Every method has an `aio_` twin."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def get(self, run_id: str) -> RunInfo:
        """One run, with input, output and error.

        Raises:
            RunNotFoundError: there is none.
        """
        return block(self._get(run_id), "runs.get")

    async def aio_get(self, run_id: str) -> RunInfo:
        """As `get`."""
        return await self._get(run_id)

    def get_status(self, run_id: str) -> RunState:
        """A run's state."""
        return block(self._get(run_id), "runs.get_status").status

    async def aio_get_status(self, run_id: str) -> RunState:
        """As `get_status`."""
        return (await self._get(run_id)).status

    def get_result(self, run_id: str, timeout: Duration | None = None) -> Any:
        """Wait for a run's output.

        Raises:
            TaskRunError: it ended without one.
        """
        return block(self.get_run_ref(run_id).aio_result(timeout), "runs.get_result")

    async def aio_get_result(self, run_id: str, timeout: Duration | None = None) -> Any:
        """As `get_result`."""
        return await self.get_run_ref(run_id).aio_result(timeout)

    def list(
        self,
        *,
        task_name: str | None = None,
        status: RunState | str | None = None,
        since: datetime | Duration | None = None,
        until: datetime | Duration | None = None,
        limit: int = 50,
        all_runs: bool = False,
        metadata: dict[str, Any] | None = None,
        after: str | None = None,
    ) -> list[RunInfo]:
        """Runs, newest first: roots, or all.

        Args:
            task_name: of this task only.
            status: a RunState, or its name.
            since: created at this time or later; or so long ago at most (timedelta, seconds, text such as "1h").
            until: created before this time; or longer ago than that.
            limit: at most so many.
            all_runs: children as well. With `status` FAILED they come in the order of their ends, the last one first.
            metadata: only those whose metadata has all of this.
            after: go on after this run: the id of the last one that the call before gave.

        Raises:
            UsageError: something that can't be asked for.
        """
        return block(self._list(task_name, status, since, until, limit, all_runs, metadata, after), "runs.list")

    async def aio_list(
        self,
        *,
        task_name: str | None = None,
        status: RunState | str | None = None,
        since: datetime | Duration | None = None,
        until: datetime | Duration | None = None,
        limit: int = 50,
        all_runs: bool = False,
        metadata: dict[str, Any] | None = None,
        after: str | None = None,
    ) -> list[RunInfo]:
        """As `list`."""
        return await self._list(task_name, status, since, until, limit, all_runs, metadata, after)

    def children(
        self, run_id: str, *, limit: int = 1000, status: RunState | str | None = None, after: str | None = None
    ) -> list[RunInfo]:
        """A run's children, oldest first.

        Args:
            run_id: of the parent.
            limit: at most so many.
            status: only those in this state (a RunState, or its name), such as FAILED.
            after: go on after this child: the id of the last one that the call before gave.

        Raises:
            UsageError: something that can't be asked for.
        """
        return block(self._children(run_id, limit, status, after), "runs.children")

    async def aio_children(
        self, run_id: str, *, limit: int = 1000, status: RunState | str | None = None, after: str | None = None
    ) -> list[RunInfo]:
        """As `children`."""
        return await self._children(run_id, limit, status, after)

    def counts(self, run_id: str) -> RunCounts:
        """How many of the runs below a run are in each state, and how far it says that it is itself. Takes as long as
        there are runs below it.

        Raises:
            RunNotFoundError: there is no such run.
        """
        return block(count(self._host, id_bytes(run_id)), "runs.counts")

    async def aio_counts(self, run_id: str) -> RunCounts:
        """As `counts`."""
        return await count(self._host, id_bytes(run_id))

    def watch(self, run_id: str, *, interval: Duration = 0.5) -> Watch:
        """The counts of a run, whenever they have changed, until it has ended, for `for counts in ...` and `async for`.
        Looks every `interval`; at a large tree less often, as a look takes its time."""
        return Watch(self._host, id_bytes(run_id), checks.seconds(interval, "interval"))

    def tree(self, run_id: str, *, limit: int = 1000) -> RunTree:
        """A run and all below it, level by level, but not more than `limit` runs.

        Raises:
            RunNotFoundError: there is no such run.
        """
        return block(tree(self._host, id_bytes(run_id), checks.whole(limit, "limit", 1, MOST)), "runs.tree")

    async def aio_tree(self, run_id: str, *, limit: int = 1000) -> RunTree:
        """As `tree`."""
        return await tree(self._host, id_bytes(run_id), checks.whole(limit, "limit", 1, MOST))

    def subscribe_to_stream(self, run_id: str, *, after: int = -1) -> ChunkStream:
        """What a run gives out with `ctx.put_stream`; see `TaskRunRef.stream`.

        Raises:
            RunNotFoundError: there is no such run: said when the first chunk is asked for.
        """
        return self.get_run_ref(run_id).stream(after=after)

    def logs(self, run_id: str, *, after: int = -1, limit: int = 1000) -> list[LogInfo]:
        """What a run logged with `ctx.log`, from the line after that number (`seq`) on.

        Raises:
            RunNotFoundError: there is no such run.
        """
        return block(self._logs(run_id, after, limit), "runs.logs")

    async def aio_logs(self, run_id: str, *, after: int = -1, limit: int = 1000) -> list[LogInfo]:
        """As `logs`."""
        return await self._logs(run_id, after, limit)

    def attempts(self, run_id: str) -> list[AttemptInfo]:
        """A run's attempts, the first one first: those after which it was tried again, lost or replayed (the last 100
        of them), and the one that runs or ended it.

        Raises:
            RunNotFoundError: there is no such run.
        """
        return block(self._attempts(run_id), "runs.attempts")

    async def aio_attempts(self, run_id: str) -> list[AttemptInfo]:
        """As `attempts`."""
        return await self._attempts(run_id)

    def why(self, run_id: str) -> Why:
        """Why a run is where it is: what it waits for, or what became of it, for people and for programs.

        Raises:
            RunNotFoundError: there is no such run.
        """
        return block(self._why(run_id), "runs.why")

    async def aio_why(self, run_id: str) -> Why:
        """As `why`."""
        return await self._why(run_id)

    def cancel(self, run_id: str) -> int:
        """Cancel a run and its subtree; how many runs have ended by that so far. Once this returns, nothing below it
        starts. Of a large subtree the rest is ended afterwards, while everything else goes on."""
        return block(self._cancel(run_id), "runs.cancel")

    async def aio_cancel(self, run_id: str) -> int:
        """As `cancel`."""
        return await self._cancel(run_id)

    def replay(self, run_id: str) -> bool:
        """Queue a run that has ended again; False if it has not ended. Its completed children are not redone."""
        return block(self._replay(run_id), "runs.replay")

    async def aio_replay(self, run_id: str) -> bool:
        """As `replay`."""
        return await self._replay(run_id)

    def wake(self, run_id: str) -> bool:
        """End a sleep now, as if its time had come; False if it has ended.

        Raises:
            RunNotFoundError: there is no such run.
            UsageError: it is no sleep.
        """
        return block(self._wake(run_id), "runs.wake")

    async def aio_wake(self, run_id: str) -> bool:
        """As `wake`."""
        return await self._wake(run_id)

    def send(self, run_id: str, name: str, payload: Any = None, *, reply_to: Promise[Any] | str | None = None) -> None:
        """Send a message to a run, which gets it by `ctx.receive(name)`; until then it is kept. `reply_to`: a promise
        of the sender's, which `message.reply` settles.

        Raises:
            RunNotFoundError: there is no such run.
            RunEndedError: it has ended.
        """
        block(self._send(run_id, name, payload, reply_to), "runs.send")

    async def aio_send(
        self, run_id: str, name: str, payload: Any = None, *, reply_to: Promise[Any] | str | None = None
    ) -> None:
        """As `send`."""
        await self._send(run_id, name, payload, reply_to)

    def get_value(self, run_id: str, key: str) -> Any:
        """What a run has said of itself last (`ctx.publish(key, value)`); None if it has not.

        Raises:
            RunNotFoundError: there is no such run.
        """
        return block(self._value(run_id, key), "runs.get_value")

    async def aio_get_value(self, run_id: str, key: str) -> Any:
        """As `get_value`."""
        return await self._value(run_id, key)

    def get_run_ref(self, run_id: str) -> TaskRunRef[Any]:
        """A reference to a run, rebuilt from its id."""
        return untyped_ref(self._host, id_bytes(run_id), "")

    # --- the one implementation ------------------------------------------------------------------------------------

    async def _get(self, run_id: str) -> RunInfo:
        id_ = id_bytes(run_id)

        async def look(store: Store) -> RunInfo:
            record = await store.get(id_)
            lineage = await store.lineage(id_) if record.parent_id is None else None
            kin = await store.kin([id_]) if record.parent_id is not None else ()
            return run_info(record, await store.balances(id_), await store.spent(record.root_id, id_), lineage, kin)

        return await self._ask(look)

    async def _record(self, run_id: str) -> RunRecord:
        id_ = id_bytes(run_id)
        return await self._ask(lambda store: store.get(id_))

    async def _ask(self, verb: Callable[[Store], Awaitable[T]]) -> T:
        return await asked(self._host.engine(), verb)

    async def _list(
        self,
        task_name: str | None,
        status: RunState | str | None,
        since: datetime | Duration | None,
        until: datetime | Duration | None,
        limit: int,
        all_runs: bool,  # noqa: FBT001  (named where it is given)
        metadata: dict[str, Any] | None,
        after: str | None,
    ) -> list[RunInfo]:
        namespace, now = self._host.settings.namespace, self._host.engine().store.now()
        filter_ = filter_of(
            namespace,
            task=_whole_name(namespace, task_name),
            status=status,
            since=0 if since is None else microseconds_of(since, now, "since"),
            until=None if until is None else microseconds_of(until, now, "until"),
            limit=limit,
            every=checks.flag(all_runs, "all_runs"),
            metadata=metadata,
        )
        if after is not None:
            filter_ = msgspec.structs.replace(filter_, after=place(filter_, await self._run_before(after)))

        async def ask(of: RunFilter) -> Page:
            return await self._ask(lambda store: store.listing(of))

        return [run_info(record) for record in (await collect(ask, filter_)).runs]

    async def _run_before(self, after: str) -> RunRecord:
        try:
            return await self._record(after)
        except RunNotFoundError as error:
            raise UsageError(f"after must be the id of a run: {error}") from None

    async def _children(
        self, run_id: str, limit: int, status: RunState | str | None, after: str | None
    ) -> list[RunInfo]:
        id_, state = id_bytes(run_id), state_named(status)
        last = b"" if after is None else (await self._run_before(after)).id
        found: list[RunRecord] = []
        checks.whole(limit, "limit", 0, math.inf)
        while size := min(PAGE, limit - len(found)):
            page = await self._ask(lambda store: store.children(id_, state=state, after=last, limit=size))  # noqa: B023
            found += page
            if len(page) < size:
                break
            last = page[-1].id
        return [run_info(record) for record in found]

    async def _logs(self, run_id: str, after: int, limit: int) -> list[LogInfo]:
        checks.whole(after, "after", -1)
        checks.whole(limit, "limit", 1, MOST)
        id_ = (await self._record(run_id)).id
        return [log_info(line) for line in await self._ask(lambda store: store.logs(id_, after, limit))]

    async def _attempts(self, run_id: str) -> list[AttemptInfo]:
        id_ = (await self._record(run_id)).id
        return [attempt_info(each) for each in await self._ask(lambda store: store.attempts(id_))]

    async def _why(self, run_id: str) -> Why:
        id_ = id_bytes(run_id)
        return await self._ask(lambda store: why_of(store, id_))

    async def _cancel(self, run_id: str) -> int:
        id_ = id_bytes(run_id)
        return await once("cancel", id_text(id_), id_, lambda _: cancelled(self._host, id_))

    async def _replay(self, run_id: str) -> bool:
        record = await self._record(run_id)
        await self._host.prepare((record.task,))

        async def act(_: object) -> bool:
            return await asked(self._host.engine(), lambda store: store.replay(record.id, TERMINAL), changes=True)

        return await once("replay", id_text(record.id), record.id, act)

    async def _send(self, run_id: Any, name: str, payload: Any, reply_to: Promise[Any] | str | None) -> None:
        id_ = id_bytes(run_id.id if isinstance(run_id, TaskRunRef) else run_id)
        token = reply_to.token if isinstance(reply_to, Promise) else reply_to
        name, about, text = messages.sent(self._host, name, payload, token)

        async def act(key: bytes | None) -> None:
            engine = self._host.engine()
            if key is None and not engine.store.embedded:  # a server's answer may be lost, and it is sent once more
                key = self._host.ids.new_id()
            if await asked(engine, lambda store: store.send(id_, name, text, key), changes=True):
                # It is sent, whatever becomes of what is left to be done: that is no call of the sender's.
                with contextlib.suppress(EngineClosedError):
                    engine.call(lambda store: store.deliver(id_, name), changes=True, steadfast=True)

        await once("runs.send", name, id_ + about, act)

    async def _value(self, run_id: str, key: str) -> Any:
        id_ = id_bytes(run_id)
        return await self._ask(lambda store: value_of(store, id_, key))

    async def _wake(self, run_id: str) -> bool:
        id_ = id_bytes(run_id)
        return await asked(self._host.engine(), lambda store: store.wake(id_), changes=True)


def _whole_name(namespace: str, task_name: str | None) -> str | None:
    if task_name is None:
        return None
    if not isinstance(task_name, str) or not task_name:  # pyright: ignore[reportUnnecessaryIsInstance]  # callers need not be typed
        raise checks.refused("task_name", "must be a task's name", task_name)
    task_name = checks.storable(task_name, "task_name", checks.MAX_TEXT_LENGTH)
    return f"{namespace}/{task_name}" if namespace else task_name
