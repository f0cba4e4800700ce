"""`hatchet.runs`: listings with `rows`, details with `task_runs`, and doing things to many runs."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeAlias

from fanwood import checks
from fanwood.clock import moment
from fanwood.engine.signals import block
from fanwood.errors import RunNotFoundError, UsageError
from fanwood.model.states import RunState
from fanwood.sdk.client.runs import Runs
from fanwood.sdk.running.infos import RunInfo

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

DAY = timedelta(days=1)
MOST = 1_000_000
"""Of how many runs a filter may ask something: all."""


class RunStatus(StrEnum):
    """A run's state. One that waits for its retry is QUEUED, too."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @classmethod
    def of(cls, state: RunState) -> RunStatus:
        """Of one of Fanwood's."""
        return cls.QUEUED if state is RunState.WAITING else cls(state.name)


V1TaskStatus: TypeAlias = RunStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Which runs. `workflow_ids`: names of tasks and workflows."""

    since: datetime
    until: datetime | None = None
    statuses: Sequence[RunStatus | RunState | str] | None = None
    workflow_ids: Sequence[str] | None = None
    additional_metadata: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkCancelReplayOpts:
    """Runs, by their ids or by a filter."""

    ids: Sequence[str] | None = None
    filters: RunFilter | None = None

    def __post_init__(self) -> None:
        if (not self.ids) == (self.filters is None):
            raise UsageError("Give BulkCancelReplayOpts either ids or filters")


@dataclass(frozen=True, slots=True)
class Metadata:
    """What Hatchet's answers call themselves by."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A run of a listing. `children`: of a workflow its steps, unless the listing is one without payloads."""

    metadata: Metadata
    task_external_id: str
    workflow_run_external_id: str
    workflow_id: str
    workflow_name: str
    display_name: str
    status: RunStatus
    input: Any
    output: Any
    error_message: str | None
    additional_metadata: dict[str, Any]
    retry_count: int
    attempt: int
    parent_task_external_id: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    children: list[RunRow] = field(default_factory=list["RunRow"])


@dataclass(frozen=True, slots=True, repr=False)
class RunFound(RunInfo):
    """One run, also as Hatchet's answer has it: `run` is itself, `tasks` are a workflow's steps, or else itself."""

    run: RunRow = field(kw_only=True)
    tasks: list[RunRow] = field(kw_only=True)


@dataclass(frozen=True, slots=True)
class RunList:
    """A listing, the newest run first."""

    rows: list[RunRow]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRunDetail:
    """One task of a run. A cancelled one has no error."""

    external_id: str
    readable_id: str
    status: RunStatus
    output: Any
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDetails:
    """A run, and its tasks by name: those that have been spawned."""

    external_id: str
    status: RunStatus
    input: Any
    additional_metadata: dict[str, Any]
    task_runs: dict[str, TaskRunDetail]
    done: bool


class HatchetRuns(Runs):
    """As Fanwood's `runs`, whose `get`, `get_result`, `cancel`, `replay` and the rest are here as well."""

    def get_status(self, run_id: str) -> RunStatus:  # pyright: ignore[reportIncompatibleMethodOverride]  # their states
        """A run's state."""
        return RunStatus.of(super().get_status(run_id))

    async def aio_get_status(self, run_id: str) -> RunStatus:  # pyright: ignore[reportIncompatibleMethodOverride]  # as above
        """As `get_status`."""
        return RunStatus.of(await super().aio_get_status(run_id))

    def get(self, run_id: str) -> RunFound:
        """One run, also as a row, with the rows of its tasks."""
        return block(self.aio_get(run_id), "runs.get")

    async def aio_get(self, run_id: str) -> RunFound:
        """As `get`."""
        info = await self._get(run_id)
        row = await self._row(info)
        tasks = row.children if self._kind(info) == "workflow" else [row]
        return RunFound(**{each.name: getattr(info, each.name) for each in fields(RunInfo)}, run=row, tasks=tasks)

    def get_details(self, external_id: str) -> RunDetails:
        """A run with its tasks."""
        return block(self.aio_get_details(external_id), "runs.get_details")

    async def aio_get_details(self, external_id: str) -> RunDetails:
        """As `get_details`."""
        run = await self._get(external_id)
        steps = [run]
        if self._kind(run) == "workflow":
            steps = [await self._get(step.id) for step in await self._steps(run)]
        return RunDetails(
            external_id=run.id,
            status=RunStatus.of(run.status),
            input=run.input,
            additional_metadata=run.additional_metadata,
            task_runs={name: _detail(name, step) for step in steps for name in [_last(step.task_name)]},
            done=run.status.is_terminal,
        )

    def list(self, **filters: Any) -> RunList:  # pyright: ignore[reportIncompatibleMethodOverride]  # theirs
        """Runs of tasks and workflows, wherever in a tree; the keywords are those of `aio_list`."""
        return block(self.aio_list(**filters), "runs.list")

    async def aio_list(  # pyright: ignore[reportIncompatibleMethodOverride]  # as above
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
        offset: int | None = None,
        statuses: Sequence[RunStatus | RunState | str] | None = None,
        workflow_ids: Sequence[str] | None = None,
        additional_metadata: dict[str, Any] | None = None,
        parent_task_external_id: str | None = None,
        only_tasks: bool = False,
        include_payloads: bool = True,
    ) -> RunList:
        """Runs, newest first.

        Args:
            since: created then or later; default: within the last day.
            until: created before.
            limit: at most so many; default 50.
            offset: leave out so many.
            statuses: in one of these states.
            workflow_ids: of these tasks and workflows, by name.
            additional_metadata: whose metadata has all of this.
            parent_task_external_id: children of this run; of a workflow, what its steps spawned.
            only_tasks: tasks, and the steps of workflows instead of the workflows.
            include_payloads: with input and output.
        """
        wanted = RunFilter(
            since=since or moment(self._host.engine().store.now()) - DAY,
            until=until,
            statuses=statuses,
            workflow_ids=workflow_ids,
            additional_metadata=additional_metadata,
        )
        start = 0 if offset is None else checks.whole(offset, "offset", 0)
        count = start + (50 if limit is None else checks.whole(limit, "limit", 0))
        found = (await self._matching(wanted, count, parent_task_external_id, only_tasks=only_tasks))[start:count]
        if include_payloads:
            return RunList([await self._row(await self._get(run.id)) for run in found])
        return RunList([_row(run) for run in found])

    def list_with_pagination(self, **filters: Any) -> Sequence[RunRow]:
        """As `list`, without a limit, and as rows; the keywords are those of `aio_list`."""
        return block(self.aio_list_with_pagination(**filters), "runs.list_with_pagination")

    async def aio_list_with_pagination(self, **filters: Any) -> Sequence[RunRow]:
        """As `list_with_pagination`."""
        asked: dict[str, Any] = {"limit": MOST, **filters}
        return (await self.aio_list(**asked)).rows

    def get_task_run(self, task_run_id: str) -> RunRow:
        """One run as a row."""
        return block(self.aio_get_task_run(task_run_id), "runs.get_task_run")

    async def aio_get_task_run(self, task_run_id: str) -> RunRow:
        """As `get_task_run`."""
        return await self._row(await self._get(task_run_id))

    def bulk_cancel_by_filters_with_pagination(self, **filters: Any) -> None:
        """Cancel all runs of a filter: `since` (else within the last day), and the other keywords of `RunFilter`."""
        block(self.aio_bulk_cancel_by_filters_with_pagination(**filters), "runs.bulk_cancel_by_filters_with_pagination")

    async def aio_bulk_cancel_by_filters_with_pagination(self, **filters: Any) -> None:
        """As `bulk_cancel_by_filters_with_pagination`."""
        await self.aio_bulk_cancel(self._by(**filters))

    def bulk_replay_by_filters_with_pagination(self, **filters: Any) -> None:
        """As `bulk_cancel_by_filters_with_pagination`: queue those that have ended again."""
        block(self.aio_bulk_replay_by_filters_with_pagination(**filters), "runs.bulk_replay_by_filters_with_pagination")

    async def aio_bulk_replay_by_filters_with_pagination(self, **filters: Any) -> None:
        """As `bulk_replay_by_filters_with_pagination`."""
        await self.aio_bulk_replay(self._by(**filters))

    def _by(
        self, *, since: datetime | None = None, sleep_time: object = None, chunk_size: object = None, **filters: Any
    ) -> BulkCancelReplayOpts:  # how many at a time, and the pauses between, are our own
        del sleep_time, chunk_size
        since = since or moment(self._host.engine().store.now()) - DAY
        return BulkCancelReplayOpts(filters=RunFilter(since=since, **filters))

    def bulk_cancel(self, opts: BulkCancelReplayOpts) -> None:
        """Cancel all these runs, with what is below them."""
        block(self.aio_bulk_cancel(opts), "runs.bulk_cancel")

    async def aio_bulk_cancel(self, opts: BulkCancelReplayOpts) -> None:
        """As `bulk_cancel`."""
        await self._each(opts, self.aio_cancel)

    def bulk_replay(self, opts: BulkCancelReplayOpts) -> None:
        """Queue those of these runs that have ended again."""
        block(self.aio_bulk_replay(opts), "runs.bulk_replay")

    async def aio_bulk_replay(self, opts: BulkCancelReplayOpts) -> None:
        """As `bulk_replay`."""
        await self._each(opts, self.aio_replay)

    async def _each(self, opts: BulkCancelReplayOpts, act: Callable[[str], Awaitable[object]]) -> None:
        if opts.ids:
            for run_id in opts.ids:
                await act(run_id)
            return
        for run in await self._matching(opts.filters, MOST):
            with contextlib.suppress(RunNotFoundError):  # it was deleted meanwhile
                await act(run.id)

    async def _matching(
        self, wanted: RunFilter | None, count: int, parent_id: str | None = None, *, only_tasks: bool = False
    ) -> list[RunInfo]:
        assert wanted is not None
        statuses = {_status(status) for status in wanted.statuses or RunStatus}
        until = _aware(wanted.until) or datetime.max.replace(tzinfo=UTC)
        left_out = "workflow" if only_tasks else "step"
        found: list[RunInfo] = []
        if not count:
            return found
        async for run in self._candidates(wanted, parent_id):
            if run.created_at < until and RunStatus.of(run.status) in statuses and self._kind(run) != left_out:
                found.append(run)
                if len(found) == count:
                    break
        return found

    async def _candidates(self, wanted: RunFilter, parent_id: str | None) -> AsyncIterator[RunInfo]:
        """All that may match, newest first."""
        space = self._host.settings.namespace
        names = {f"{space}/{_last(name)}" if space else name for name in wanted.workflow_ids or ()}
        asked = wanted.additional_metadata or {}
        if parent_id is not None:
            for run in await self._below(parent_id):
                if (not names or run.task_name in names) and asked.items() <= run.additional_metadata.items():
                    yield run
            return
        only, after = (_last(next(iter(names))) if len(names) == 1 else None), None
        while page := await super().aio_list(
            task_name=only, since=_aware(wanted.since), limit=1000, all_runs=True, metadata=asked or None, after=after
        ):
            for run in page:
                if not names or run.task_name in names:
                    yield run
            after = page[-1].id

    async def _below(self, parent_id: str) -> Sequence[RunInfo]:
        """What a task spawned, or the steps of a workflow: newest first. A workflow's own children are its steps."""
        children = await self.aio_children(parent_id, limit=MOST)
        steps = [child for child in children if self._kind(child) == "step"]
        below = [found for step in steps for found in await self.aio_children(step.id, limit=MOST)]
        return sorted([*children, *below], key=lambda run: run.id, reverse=True)

    async def _steps(self, run: RunInfo) -> Sequence[RunInfo]:
        return [child for child in await self.aio_children(run.id) if self._kind(child) == "step"]

    async def _row(self, run: RunInfo) -> RunRow:
        """With a workflow's steps."""
        steps = await self._steps(run) if self._kind(run) == "workflow" else ()
        return _row(run, [_row(await self._get(step.id)) for step in steps])

    def _kind(self, run: RunInfo) -> str:
        spec = self._host.spec(run.task_name)
        return spec.kind if spec is not None else "step" if ":" in run.task_name else "task"


def _status(given: Any) -> RunStatus:
    """One that is asked for.

    Raises:
        UsageError: there is none of that name.
    """
    name = str(given).upper()
    if name == str(RunState.WAITING):
        return RunStatus.QUEUED
    try:
        return RunStatus(name)
    except ValueError:
        raise checks.refused("statuses", f"must be some of {', '.join(RunStatus)}", given) from None


def _aware(when: datetime | None) -> datetime | None:
    """Of a time without a zone: the local one."""
    return when if when is None or when.tzinfo is not None else when.astimezone()


def _last(name: str) -> str:
    return name.rpartition("/")[2].rpartition(":")[2]


def _detail(name: str, run: RunInfo) -> TaskRunDetail:
    status = RunStatus.of(run.status)
    return TaskRunDetail(
        external_id=run.id,
        readable_id=name,
        status=status,
        output=run.output,
        error=None if status is RunStatus.CANCELLED else run.error,
    )


def _row(run: RunInfo, children: Sequence[RunRow] = ()) -> RunRow:
    return RunRow(
        metadata=Metadata(run.id),
        task_external_id=run.id,
        workflow_run_external_id=run.id,
        workflow_id=run.task_name,
        workflow_name=run.task_name,
        display_name=run.task_name,
        status=RunStatus.of(run.status),
        input=run.input,
        output=run.output,
        error_message=run.error,
        additional_metadata=run.additional_metadata,
        retry_count=max(run.retry_count, run.attempt - 1),
        attempt=run.attempt,
        parent_task_external_id=run.parent_id,
        created_at=run.created_at,
        started_at=run.started_at,
        finished_at=run.finished_at,
        children=[*children],
    )
