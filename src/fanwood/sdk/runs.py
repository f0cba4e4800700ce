"""`fanwood.runs`: looking at runs, and doing things to them, from anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from fanwood.engine.signals import block
from fanwood.errors import UsageError
from fanwood.ids import id_bytes, id_text
from fanwood.model.commands import Finished
from fanwood.model.records import RunFilter
from fanwood.model.states import TERMINAL, RunState
from fanwood.sdk.outcomes import error_of
from fanwood.sdk.refs import untyped_ref
from fanwood.sdk.spawning import called

if TYPE_CHECKING:
    from fanwood.model.records import RunRecord
    from fanwood.sdk.host import Host
    from fanwood.sdk.refs import TaskRunRef


@dataclass(frozen=True, slots=True)
class RunInfo:
    """A run, as it stands. In listings `input` and `output` are left out (None)."""

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

    def get_result(self, run_id: str, timeout: float | None = None) -> Any:
        """Wait for a run's output.

        Raises:
            TaskRunError: it ended without one.
        """
        return block(self.get_run_ref(run_id).aio_result(timeout), "runs.get_result")

    async def aio_get_result(self, run_id: str, timeout: float | None = None) -> Any:
        """As `get_result`."""
        return await self.get_run_ref(run_id).aio_result(timeout)

    def list(
        self,
        *,
        task_name: str | None = None,
        status: RunState | str | None = None,
        since: datetime | None = None,
        limit: int = 50,
    ) -> list[RunInfo]:
        """Roots, newest first.

        Args:
            task_name: of this task only.
            status: a RunState, or its name.
            since: created at this time or later.
            limit: at most so many.
        """
        return block(self._list(task_name, status, since, limit), "runs.list")

    async def aio_list(
        self,
        *,
        task_name: str | None = None,
        status: RunState | str | None = None,
        since: datetime | None = None,
        limit: int = 50,
    ) -> list[RunInfo]:
        """As `list`."""
        return await self._list(task_name, status, since, limit)

    def children(self, run_id: str, *, limit: int = 1000) -> list[RunInfo]:
        """A run's children, oldest first."""
        return block(self._children(run_id, limit), "runs.children")

    async def aio_children(self, run_id: str, *, limit: int = 1000) -> list[RunInfo]:
        """As `children`."""
        return await self._children(run_id, limit)

    def cancel(self, run_id: str) -> int:
        """Cancel a run and its subtree; how many runs it were. Once this returns, nothing below it starts."""
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
        self, task_name: str | None, status: RunState | str | None, since: datetime | None, limit: int
    ) -> list[RunInfo]:
        namespace = self._host.settings.namespace
        prefix = f"{namespace}/" if namespace else None
        filter_ = RunFilter(
            task=f"{prefix or ''}{task_name}" if task_name else None,
            prefix=prefix,
            state=state_named(status),
            since=0 if since is None else round(since.timestamp() * 1e6),
            limit=limit,
        )
        return [_info(r) for r in await called(self._host.engine().call(lambda store: store.roots(filter_)))]

    async def _children(self, run_id: str, limit: int) -> list[RunInfo]:
        id_ = id_bytes(run_id)
        records = await called(self._host.engine().call(lambda store: store.children(id_, limit=limit)))
        return [_info(record) for record in records]

    async def _cancel(self, run_id: str) -> int:
        id_ = id_bytes(run_id)
        return await called(self._host.engine().call(lambda store: store.cancel(id_, "by request"), changes=True))

    async def _replay(self, run_id: str) -> bool:
        id_ = id_bytes(run_id)
        record = await called(self._host.engine().call(lambda store: store.get(id_)))
        self._host.prepare((record.task,))
        return await called(self._host.engine().call(lambda store: store.replay(id_, TERMINAL), changes=True))


def state_named(status: RunState | str | None) -> RunState | None:
    """A state by its name, in any case.

    Raises:
        UsageError: there is no such state.
    """
    if status is None or isinstance(status, RunState):
        return status
    try:
        return RunState[status.upper()]
    except KeyError:
        names = ", ".join(state.name for state in RunState)
        raise UsageError(f"There is no state {status!r}; there are {names}") from None


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
    )


def record_end(record: RunRecord) -> Any:
    """The part of a record that says how the run ended."""
    return Finished(record.state, record.output, record.error, record.task)


def _time(microseconds: int) -> datetime:
    return datetime.fromtimestamp(microseconds / 1e6, UTC)
