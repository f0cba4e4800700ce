"""From records of the store to views of single runs, tasks, workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood.ids import id_text
from fanwood.lens.views import (
    AttemptView,
    Counts,
    ErrorBrief,
    ErrorDetail,
    FamilyView,
    LogLineView,
    RunBrief,
    StoreView,
    TaskLine,
    WhyView,
    WorkerLine,
)
from fanwood.store.failures import attempt_error, decode_failure

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fanwood.model.commands import Failure, TaskInfo
    from fanwood.model.records import (
        AttemptRecord,
        LogRecord,
        RunRecord,
        StoreReport,
        TaskCount,
        Unserved,
        WorkerRecord,
    )
    from fanwood.store.why import Why

MESSAGE = 500
"""Characters of an error's message in a list."""


def brief(run: RunRecord, preview: str = "", worker: str | None = None) -> RunBrief:
    """A run in a list."""
    failure = decode_failure(run.error) if run.error is not None else None
    return RunBrief(
        id=id_text(run.id),
        root_id=id_text(run.root_id),
        task=run.task,
        state=run.state.name.lower(),
        kind=run.kind.name.lower(),
        depth=run.depth,
        created_at=run.created_at,
        parent_id=id_text(run.parent_id) if run.parent_id else None,
        key=run.child_key,
        priority=run.priority,
        attempt=run.attempt,
        retries=run.retry_count,
        deaths=run.deaths,
        worker=worker,
        started_at=run.started_at,
        finished_at=run.finished_at,
        due_at=run.due_at,
        deadline=run.deadline,
        busy=run.busy,
        error=None if failure is None else ErrorBrief(failure.kind, failure.type, failure.message[:MESSAGE]),
        preview=preview,
    )


def detail(failure: Failure | None) -> ErrorDetail | None:
    """Why, whole."""
    if failure is None:
        return None
    return ErrorDetail(failure.kind, failure.type, failure.message, failure.traceback, failure.limit, failure.owner)


def attempt(record: AttemptRecord) -> AttemptView:
    """One attempt."""
    worker = record.worker or (None if record.worker_id is None else str(record.worker_id))
    return AttemptView(
        record.number, record.state.name.lower(), worker, record.started_at, record.finished_at,
        detail(attempt_error(record)),
    )  # fmt: skip


def line(record: LogRecord) -> LogLineView:
    """One line of a log."""
    return LogLineView(record.seq, record.attempt, record.at, record.level, record.message)


def total(counts: Iterable[TaskCount]) -> Counts:
    """How many runs are in which state, of all tasks."""
    found: dict[str, int] = {}
    for each in counts:
        name = each.state.name.lower()
        found[name] = found.get(name, 0) + each.count
    return Counts(**found)


def families(counts: Sequence[TaskCount]) -> tuple[FamilyView, ...]:
    """Children by task, in the order of their names."""
    names = sorted({each.task for each in counts})
    return tuple(_family(name, [each for each in counts if each.task == name]) for name in names)


def _family(name: str, counts: Sequence[TaskCount]) -> FamilyView:
    slowest = max((each.slowest for each in counts if each.slowest is not None), default=None)
    return FamilyView(name, total(counts), slowest=slowest)


def why(said: Why) -> WhyView:
    """Why a run is where it is."""
    return WhyView(
        said.run_id, said.task_name, said.status.name.lower(), said.cause.value, said.text, said.command, said.facts
    )


def task(info: TaskInfo) -> TaskLine:
    """A task that somebody published."""
    return TaskLine(info.name, info.kind, info.description, info.priority, info.schema)


def worker(record: WorkerRecord, now: int) -> WorkerLine:
    """A worker."""
    return WorkerLine(
        record.id, record.name, record.host, record.pid, record.started_at, record.lease_expires_at, record.slots,
        record.running, is_live=record.lease_expires_at > now,
    )  # fmt: skip


def store(report: StoreReport, unserved: Sequence[Unserved]) -> StoreView:
    """What `fanwood doctor` says, in a moment."""
    return StoreView(
        url=report.url,
        kind=report.kind,
        version=report.version,
        schema=report.schema,
        now=report.now,
        size=report.size,
        durability=report.durability,
        durable=report.durable,
        counts=Counts(**{state.name.lower(): count for state, count in report.counts.items()}),
        unserved=tuple(each.task for each in unserved),
        problems=tuple(report.problems),
    )
