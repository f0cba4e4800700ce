"""Tasks, and who works on them."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from fanwood.lens.briefs import run_brief
from fanwood.lens.views import TaskLine, TasksView, WorkerLine, WorkersView
from fanwood.model.looks import FIRST_ID

if TYPE_CHECKING:
    from fanwood.store.store import Store

PAIRS = 10_000
SOME = 50
"""Runs of a worker that are shown."""


async def tasks(store: Store) -> TasksView:
    """All tasks that were ever published."""
    serving = Counter(task for task, _ in await store.serving(PAIRS))
    lines = [
        TaskLine(
            one.name, one.kind, description=one.description, priority=one.priority, schema=one.schema,
            serving=serving[one.name],
        )
        for one in await store.tasks()
    ]  # fmt: skip
    return TasksView(store.now(), tuple(lines))


async def workers(store: Store) -> WorkersView:
    """All workers, and clients."""
    serves: defaultdict[int, list[str]] = defaultdict(list)
    for task, worker in await store.serving(PAIRS):
        serves[worker].append(task)
    now, lines = store.now(), list[WorkerLine]()
    for one in await store.workers():
        begun = [row.id for row in await store.running((one.id, FIRST_ID), SOME) if row.worker_id == one.id]
        runs = [run_brief(run, worker=one.name) for run in await store.briefs(begun)]
        runs.sort(key=lambda run: (run.started_at or 0, run.id))
        lines.append(
            WorkerLine(
                one.id, one.name, one.host, one.pid, one.started_at, one.lease_expires_at, one.slots, one.running,
                one.lease_expires_at > now, tuple(serves[one.id]), tuple(runs),
            )
        )  # fmt: skip
    return WorkersView(now, tuple(lines))
