"""Forks in memory: see `store/forking.py`."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from fanwood.model.forks import Kept, Lineage
from fanwood.model.states import FIRST_WAIT, RunKind, RunState
from fanwood.store.expiry import expiry
from fanwood.store.forking import MOST, Forking, NewFork, deleted, must_fork
from fanwood.store.memory.tables import Run, Tables, check_values

if TYPE_CHECKING:
    from collections.abc import Callable

    from fanwood.store.memory.memory import Memory


class MemoryForking(Forking):
    """The verbs, on a store that has a memory."""

    url: str
    _memory: Memory
    _user: int
    _on_notify: Callable[[], None]

    def _run(self, run_id: bytes) -> Run:
        raise NotImplementedError

    async def fork(self, new: NewFork) -> bool:
        check_values(self.url, (new.input or "", new.life, new.by))
        with self._memory.transaction(self._user) as now:
            made = self._forked(new, now)
        if made:
            self._on_notify()
        return made

    def _forked(self, new: NewFork, now: int) -> bool:
        """Inside a transaction."""
        memory, of = self._memory, self._run(new.of)
        tables = memory.tables
        must_fork(new.of, of.kind, of.state)
        if memory.chores.is_pruned(of.root_id):
            raise deleted(new.of)
        if new.id in tables.runs:
            return False
        tables.add(_made(new, of, tables.runs[of.root_id], now))
        if new.part is not None:
            memory.hot.leaving.budgets.give(new.id, new.part)
        tables.forks[new.id] = Lineage(new.id, of.id, of.root_id, new.at, new.changed, now, new.by)
        return True

    async def kept(self, run_id: bytes, way: bytes | None, after: bytes, limit: int, most: int) -> list[Kept]:
        with self._memory.reading() as tables:
            before = None
            if way is not None:
                if way not in tables.runs:
                    return []
                before = _place(tables.runs[way])
            children = (tables.runs[id_] for id_ in tables.order("children", run_id).after(after))
            found = (
                run
                for run in children
                if run.identity is not None
                and (run.kind < FIRST_WAIT or run.state == RunState.COMPLETED)
                and (before is None or run.id == way or _place(run) < before)
            )
            return [_kept(run, most) for run in islice(found, limit)]

    async def lineage(self, root_id: bytes) -> Lineage | None:
        with self._memory.reading() as tables:
            return tables.forks.get(root_id)

    async def forks(self, run_id: bytes) -> list[Lineage]:
        with self._memory.reading() as tables:
            found = [fork for fork in tables.forks.values() if fork.origin_id == run_id]
        return sorted(found, key=lambda fork: (fork.made_at, fork.root_id), reverse=True)[:MOST]


def needed(tables: Tables, root_id: bytes) -> bool:
    """Whether a fork of something in this tree has not ended, or a fork of something in a fork of it."""
    later, found = {root_id}, True
    while found:
        new = {fork.root_id for fork in tables.forks.values() if fork.origin_root in later} - later
        later, found = later | new, bool(new)
    return any(id_ in tables.runs and not tables.runs[id_].is_over for id_ in later - {root_id})


def _place(run: Run) -> tuple[int, int]:
    """When it was asked for, and committed."""
    at = run.finished_at if run.kind == RunKind.RECORDED else run.created_at
    return at or 0, run.child_index or 0


def _kept(run: Run, most: int) -> Kept:
    life = run.life or ""
    given = run.kind >= FIRST_WAIT or '"changed":true' in life or life.startswith("[")
    told = run.kind >= FIRST_WAIT or len((run.output or "").encode()) <= most
    return Kept(
        run.identity or b"", run.id, RunKind(run.kind), RunState(run.state), run.asked, run.input_digest, run.child_key,
        told, run.output if told else None, run.input if given else "",
        run.life,
    )  # fmt: skip


def _made(new: NewFork, of: Run, top: Run, now: int) -> Run:
    return Run(
        id=new.id,
        parent_id=None,
        root_id=new.id,
        depth=0,
        kind=of.kind,
        task=of.task,
        identity=None,
        child_index=None,
        child_key=None,
        input_digest=None,
        input=of.input if new.input is None else new.input,
        metadata=of.metadata,
        priority=of.priority,
        on_parent_end=0,
        state=int(RunState.QUEUED),
        waits=None,
        due_at=None,
        attempt=0,
        trial_start=0,
        retry_count=0,
        deaths=0,
        asked=top.asked,
        worker_id=None,
        deadline=None,
        deadline_by=None,
        schedule_timeout=of.schedule_timeout,
        expires_at=expiry(now, of.schedule_timeout, None),
        created_at=now,
        started_at=None,
        finished_at=None,
        busy=0,
        ended_by=None,
        output=None,
        error=None,
        limit_at=None,
        awaits=None,
        life=new.life,
        budget=None if new.part is None else new.id,
    )
