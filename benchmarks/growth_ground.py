"""A database with a history, and a worker in it: what the verbs of `growth_verbs.py` are measured on."""

from __future__ import annotations

import time
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import TypeVar

from benchmarks.databases import Database
from benchmarks.history import History, fill
from fanwood import RunState, SystemClock
from fanwood.ids import SystemIds
from fanwood.model.commands import (
    Batch,
    ClaimedRun,
    ClaimRequest,
    Committed,
    Outcome,
    Spawn,
    SpawnKind,
    TaskInfo,
    WorkerInfo,
)
from fanwood.model.records import PruneCursor
from fanwood.store.opening import store_for
from fanwood.store.store import START, Store

T = TypeVar("T")

HOST = "benchmark"
HOUR = 3_600_000_000
OURS, FOREIGN = "bench/ours", "other/task"
"""The task that is claimed, and that of others, of which a fixed number lives."""
LIVING = 50
"""So many each: queued, queued with a time at which they expire, running, and waiting for a time."""
INPUT = '{"n":1}'


@dataclass
class Ground:
    """One database."""

    store: Store
    history: History
    worker: int
    running: list[bytes]  # of another worker
    new_id: SystemIds = field(default_factory=SystemIds)
    pruned: PruneCursor = START  # up to where

    async def commit(self, batch: Batch, worker: int | None = None) -> Committed:
        answer = await self.store.commit(worker or self.worker, batch)
        assert not answer.fenced_outcomes
        assert not answer.fenced_parents
        return answer

    def spawns(self, count: int, kind: SpawnKind, *, claimed: bool = False, first: int = 0) -> list[Spawn]:
        """New runs: roots, or children with an identity each."""
        ids = [self.new_id.new_id() for _ in range(count)]
        keyed = kind.parent_id is not None
        return [
            Spawn(kind, id_, id_[::-1] if keyed else None, INPUT, first + i, claimed=claimed)
            for i, id_ in enumerate(ids)
        ]

    async def parent(self) -> SpawnKind:
        """Of the children of a new root, which runs on our worker."""
        (root,) = self.spawns(1, SpawnKind(OURS), claimed=True)
        await self.commit(Batch(spawns=[root]))
        return SpawnKind(OURS, root.id, 1, root.id, 1)

    async def claim(self, count: int) -> list[ClaimedRun]:
        return (await self.commit(Batch(claim=request(count)))).claimed

    async def end(self, runs: list[tuple[bytes, int]]) -> None:
        await self.commit(Batch(outcomes=[ended(*run) for run in runs]))


def request(count: int) -> ClaimRequest:
    """As an engine asks."""
    return ClaimRequest(f'["{OURS}"]', count, count // 8)


def ended(id_: bytes, attempt: int) -> Outcome:
    return Outcome(id_, attempt, RunState.COMPLETED, '{"n":2}', busy=1000, task=OURS)


async def timed(work: Awaitable[T]) -> tuple[float, T]:
    """Seconds, and what came of it."""
    start = time.perf_counter()
    answer = await work
    return time.perf_counter() - start, answer


async def ground(database: Database, name: str, runs: int) -> Ground:
    """A new database with that much history."""
    empty = await opened(database, name)
    await empty.close()
    history = History.until_now(runs)
    await fill(database, name, history)
    store = await opened(database, name)
    worker = await store.register(info("ours", (OURS,)), [TaskInfo(OURS, "task")])
    other = await store.register(info("other", (FOREIGN,)), [TaskInfo(FOREIGN, "task")])
    made = Ground(store, history, worker, [])
    made.running = await _living(made, other)
    return made


async def opened(database: Database, name: str) -> Store:
    store = store_for(database.settings(name), SystemClock())
    await store.open(lambda: None)
    return store


def info(name: str, tasks: tuple[str, ...]) -> WorkerInfo:
    return WorkerInfo(name, HOST, 1, 100, tasks, lease=HOUR)


async def _living(made: Ground, other: int) -> list[bytes]:
    """What lives beside the history; the ids of those that run."""
    spawns = made.spawns(LIVING, SpawnKind(FOREIGN)) + made.spawns(LIVING, SpawnKind(FOREIGN, schedule_timeout=HOUR))
    running = made.spawns(2 * LIVING, SpawnKind(FOREIGN), claimed=True)
    await made.commit(Batch(spawns=spawns + running), other)
    delayed = [Outcome(s.id, 1, RunState.QUEUED, None, "{}", retry=True, delay=HOUR) for s in running[LIVING:]]
    await made.commit(Batch(outcomes=delayed), other)
    return [s.id for s in running[:LIVING]]
