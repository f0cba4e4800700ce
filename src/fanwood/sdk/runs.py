"""`fanwood.runs`: looking at runs, and doing things to them, from anywhere."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from fanwood import checks
from fanwood.clock import MICROSECONDS
from fanwood.engine.signals import block
from fanwood.errors import RunNotFoundError, UsageError
from fanwood.ids import id_bytes, id_text
from fanwood.model.commands import Finished
from fanwood.model.states import TERMINAL, RunState
from fanwood.sdk.listing import PAGE, collect, filter_of, microseconds_of, place
from fanwood.sdk.outcomes import error_of
from fanwood.sdk.refs import untyped_ref
from fanwood.sdk.spawning import called
from fanwood.store.cancelling import cancel

if TYPE_CHECKING:
    from fanwood.durations import Duration
    from fanwood.model.records import Page, RunFilter, RunRecord
    from fanwood.sdk.host import Host
    from fanwood.sdk.refs import TaskRunRef


@dataclass(frozen=True, slots=True)
class RunInfo:
    """A run, as it stands. In listings `input` and `output` are left out (None).

    `busy_seconds`: how long it held a slot, over all attempts that have ended. `due_at`: until when it waits, if it
    is WAITING.
    """

    id: str
    task_name: str
    status: RunState
    parent_id: str | None
    root_id: str
    depth: int
    child_key: str | None
    priority: int
    additional_metadata: dict[str, Any]
    attempt: int
    retry_count: int
    input: Any
    output: Any
    error: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    due_at: datetime | None
    busy_seconds: float


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
        id_ = id_bytes(run_id)
        return _info(await called(self._host.engine().call(lambda store: store.get(id_))))

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
            return await called(self._host.engine().call(lambda store: store.listing(of)))

        return [_info(record) for record in (await collect(ask, filter_)).runs]

    async def _run_before(self, after: str) -> RunRecord:
        try:
            id_ = id_bytes(after)
            return await called(self._host.engine().call(lambda store: store.get(id_)))
        except RunNotFoundError as error:
            raise UsageError(f"after must be the id of a run: {error}") from None

    async def _children(self, run_id: str, limit: int) -> list[RunInfo]:
        id_, after = id_bytes(run_id), b""
        found: list[RunRecord] = []
        checks.whole(limit, "limit", 0, math.inf)
        while size := min(PAGE, limit - len(found)):
            page = await called(
                self._host.engine().call(lambda store: store.children(id_, after=after, limit=size))  # noqa: B023
            )
            found += page
            if len(page) < size:
                break
            after = page[-1].id
        return [_info(record) for record in found]

    async def _cancel(self, run_id: str) -> int:
        id_ = id_bytes(run_id)
        return await called(self._host.engine().call(lambda store: cancel(store, id_, "by request"), changes=True))

    async def _replay(self, run_id: str) -> bool:
        id_ = id_bytes(run_id)
        record = await called(self._host.engine().call(lambda store: store.get(id_)))
        await self._host.prepare((record.task,))
        return await called(self._host.engine().call(lambda store: store.replay(id_, TERMINAL), changes=True))


def _whole_name(namespace: str, task_name: str | None) -> str | None:
    if task_name is None:
        return None
    if not isinstance(task_name, str) or not task_name:  # pyright: ignore[reportUnnecessaryIsInstance]  # callers need not be typed
        raise checks.refused("task_name", "must be a task's name", task_name)
    checks.storable(task_name, "task_name", checks.MAX_TEXT_LENGTH)
    return f"{namespace}/{task_name}" if namespace else task_name


def _info(record: RunRecord) -> RunInfo:
    error = str(error_of(record_end(record), record.id, record.task)) if record.error is not None else None
    return RunInfo(
        id=id_text(record.id),
        task_name=record.task,
        status=record.state,
        parent_id=id_text(record.parent_id) if record.parent_id else None,
        root_id=id_text(record.root_id),
        depth=record.depth,
        child_key=record.child_key,
        priority=record.priority,
        additional_metadata=msgspec.json.decode(record.metadata) if record.metadata else {},
        attempt=record.attempt,
        retry_count=record.retry_count,
        input=msgspec.json.decode(record.input) if record.input is not None else None,
        output=msgspec.json.decode(record.output) if record.output is not None else None,
        error=error,
        created_at=_time(record.created_at),
        started_at=None if record.started_at is None else _time(record.started_at),
        finished_at=None if record.finished_at is None else _time(record.finished_at),
        due_at=None if record.due_at is None else _time(record.due_at),
        busy_seconds=record.busy / MICROSECONDS,
    )


def record_end(record: RunRecord) -> Any:
    """The part of a record that says how the run ended."""
    return Finished(record.state, record.output, record.error, record.task)


def _time(microseconds: int) -> datetime:
    return datetime.fromtimestamp(microseconds / 1e6, UTC)
