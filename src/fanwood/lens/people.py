"""Tasks, and who works on them."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import pairwise
from typing import TYPE_CHECKING

from fanwood.ids import first_id
from fanwood.lens.briefs import run_brief
from fanwood.lens.picture import percentile
from fanwood.lens.views import TaskLine, TasksView, WorkerLine, WorkersView
from fanwood.model.looks import FIRST_ID, duration_class
from fanwood.model.states import RunState
from fanwood.store.looks import MOST_QUEUED

if TYPE_CHECKING:
    from fanwood.model.looks import RecentRow
    from fanwood.model.records import RunRecord
    from fanwood.store.store import Store

PAIRS = 10_000
SOME = 50
"""Runs of a worker that are shown."""
HOUR, SLICES = 3_600_000_000, 16
"""Microseconds from which runs are looked at, the first `OF_SLICE` of each part of it ..."""
OF_SLICE, MORE = 128, 16
"""... and as many at so many more places, where there are more of them."""
LEAST = 4
"""Milliseconds that are not divided further."""
RUNNING = 1_000
"""RUNNING runs that are looked at."""
BESIDE, BESIDES = 100, 20
"""Siblings before one that runs, which have most likely ended; and tasks of which they are looked at."""


@dataclass(slots=True)
class Lately:
    """Runs of one task that have ended, as far as they were looked at."""

    took: Counter[int] = field(default_factory=Counter[int])
    total: int = 0
    longest: int = 0
    ended: int = 0
    failed: int = 0
    seen: set[bytes] = field(default_factory=set[bytes])

    def add(self, run: RecentRow | RunRecord, since: int) -> None:
        if run.finished_at is None or run.finished_at < since or run.id in self.seen:
            return
        self.seen.add(run.id)
        self.ended += 1
        self.failed += run.state == RunState.FAILED
        if run.started_at is not None:
            took = max(0, run.finished_at - run.started_at)
            self.took[duration_class(took)] += 1
            self.total += took
            self.longest = max(self.longest, took)

    def rate(self, running: int) -> float:
        """Ends a second, if so many run at any time."""
        return running * 1e6 * sum(self.took.values()) / self.total if self.total else 0.0


async def tasks(store: Store) -> TasksView:
    """All tasks that were ever published."""
    serving = Counter(task for task, _ in await store.serving(PAIRS))
    queued = dict(await store.queues())
    running, examples = await _running(store)
    lately = await _lately(store, examples)
    lines: list[TaskLine] = []
    for one in await store.tasks():
        runs, of_late = running[one.name], lately[one.name]
        lines.append(
            TaskLine(
                one.name, one.kind, description=one.description, priority=one.priority, schema=one.schema,
                serving=serving[one.name], queued=queued.get(one.name, 0), running=runs, ended=of_late.ended,
                failed=of_late.failed, rate=of_late.rate(runs), p50=percentile(of_late.took, 0.5, of_late.longest),
                p95=percentile(of_late.took, 0.95, of_late.longest),
            )
        )  # fmt: skip
    return TasksView(store.now(), tuple(lines), MOST_QUEUED)


async def _running(store: Store) -> tuple[Counter[str], dict[str, RunRecord]]:
    """How many of each task run (if they are very many: of the first of them), and one of each."""
    rows = await store.running((-1, FIRST_ID), RUNNING)
    runs = await store.briefs([row.id for row in rows])
    return Counter(run.task for run in runs), {run.task: run for run in runs}


async def _lately(store: Store, examples: dict[str, RunRecord]) -> defaultdict[str, Lately]:
    """What has ended in the last hour: of runs that were made in it, and of the siblings of those that run now."""
    found: defaultdict[str, Lately] = defaultdict(Lately)
    since = store.now() - HOUR
    times = [(since + HOUR * number // SLICES) // 1000 for number in range(SLICES)] + [(since + HOUR) // 1000 + 1]
    crowded: list[tuple[int, int]] = []  # from where more were made than were looked at: minus how long, and since when

    async def look(begin: int, end: int) -> None:
        rows = await store.recent(first_id(begin), first_id(end), OF_SLICE)
        for row in rows:
            if not row.is_wait:
                found[row.task].add(row, since)
        if len(rows) == OF_SLICE:
            seen = int.from_bytes(rows[-1].id[:6], "big")
            heappush(crowded, (seen - end, seen))

    for begin, end in pairwise(times):
        await look(begin, end)
    for _ in range(MORE):
        if not crowded or crowded[0][0] > -LEAST:
            break
        length, begin = heappop(crowded)
        middle = begin - length // 2
        heappush(crowded, (begin - middle, begin))  # (what was made at once is before it)
        await look(middle, begin - length)
    for run in list(examples.values())[:BESIDES]:
        if run.parent_id is not None:
            for beside in await store.picked_before(run.root_id, run.parent_id, run.id, BESIDE):
                found[beside.task].add(beside, since)
    return found


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
