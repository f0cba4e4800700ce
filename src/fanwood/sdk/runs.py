"""`fanwood.runs`: looking at runs, and doing things to them, from anywhere."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from fanwood import checks
from fanwood.engine.signals import block
from fanwood.errors import RunNotFoundError, UsageError
from fanwood.ids import id_bytes
from fanwood.model.states import TERMINAL, RunState
from fanwood.sdk.infos import AttemptInfo, attempt_info, run_info
from fanwood.sdk.listing import PAGE, collect, filter_of, microseconds_of, place
from fanwood.sdk.refs import untyped_ref
from fanwood.sdk.waiting import called
from fanwood.store.cancelling import cancel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from fanwood.durations import Duration
    from fanwood.model.records import Page, RunFilter, RunRecord
    from fanwood.sdk.host import Host
    from fanwood.sdk.infos import RunInfo
    from fanwood.sdk.refs import TaskRunRef
    from fanwood.store.store import Store

T = TypeVar("T")


class Runs:
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
            limit: at most so many.
            all_runs: children as well. With `status` FAILED they come in the order of their ends, the last one first.
            metadata: only those whose metadata has all of this.
            after: go on after this run: the id of the last one that the call before gave.

        Raises:
            UsageError: something that can't be asked for.
        """
        return block(self._list(task_name, status, since, limit, all_runs, metadata, after), "runs.list")

    async def aio_list(
        self,
        *,
        task_name: str | None = None,
        status: RunState | str | None = None,
        since: datetime | Duration | None = None,
        limit: int = 50,
        all_runs: bool = False,
        metadata: dict[str, Any] | None = None,
        after: str | None = None,
    ) -> list[RunInfo]:
        """As `list`."""
        return await self._list(task_name, status, since, limit, all_runs, metadata, after)

    def children(self, run_id: str, *, limit: int = 1000) -> list[RunInfo]:
        """A run's children, oldest first."""
        return block(self._children(run_id, limit), "runs.children")

    async def aio_children(self, run_id: str, *, limit: int = 1000) -> list[RunInfo]:
        """As `children`."""
        return await self._children(run_id, limit)

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

    def get_run_ref(self, run_id: str) -> TaskRunRef[Any]:
        """A reference to a run, rebuilt from its id."""
        return untyped_ref(self._host, id_bytes(run_id), "")

    # --- the one implementation ------------------------------------------------------------------------------------

    async def _get(self, run_id: str) -> RunInfo:
        return run_info(await self._record(run_id))

    async def _record(self, run_id: str) -> RunRecord:
        id_ = id_bytes(run_id)
        return await self._ask(lambda store: store.get(id_))

    async def _ask(self, verb: Callable[[Store], Awaitable[T]]) -> T:
        return await called(self._host.engine().call(verb))

    async def _list(
        self,
        task_name: str | None,
        status: RunState | str | None,
        since: datetime | Duration | None,
        limit: int,
        all_runs: bool,  # noqa: FBT001  (named where it is given)
        metadata: dict[str, Any] | None,
        after: str | None,
    ) -> list[RunInfo]:
        namespace = self._host.settings.namespace
        filter_ = filter_of(
            namespace,
            task=_whole_name(namespace, task_name),
            status=status,
            since=microseconds_of(since, self._host.clock.now()),
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

    async def _children(self, run_id: str, limit: int) -> list[RunInfo]:
        id_, after = id_bytes(run_id), b""
        found: list[RunRecord] = []
        checks.whole(limit, "limit", 0, math.inf)
        while size := min(PAGE, limit - len(found)):
            page = await self._ask(lambda store: store.children(id_, after=after, limit=size))  # noqa: B023
            found += page
            if len(page) < size:
                break
            after = page[-1].id
        return [run_info(record) for record in found]

    async def _attempts(self, run_id: str) -> list[AttemptInfo]:
        id_ = (await self._record(run_id)).id
        return [attempt_info(each) for each in await self._ask(lambda store: store.attempts(id_))]

    async def _cancel(self, run_id: str) -> int:
        id_ = id_bytes(run_id)
        return await called(self._host.engine().call(lambda store: cancel(store, id_, "by request"), changes=True))

    async def _replay(self, run_id: str) -> bool:
        record = await self._record(run_id)
        await self._host.prepare((record.task,))
        return await called(self._host.engine().call(lambda store: store.replay(record.id, TERMINAL), changes=True))


def _whole_name(namespace: str, task_name: str | None) -> str | None:
    if task_name is None:
        return None
    if not isinstance(task_name, str) or not task_name:  # pyright: ignore[reportUnnecessaryIsInstance]  # callers need not be typed
        raise checks.refused("task_name", "must be a task's name", task_name)
    checks.storable(task_name, "task_name", checks.MAX_TEXT_LENGTH)
    return f"{namespace}/{task_name}" if namespace else task_name
