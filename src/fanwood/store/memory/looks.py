"""What a lens asks, of the tables in memory: see `store/looks.py`."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING

from msgspec.structs import replace

from fanwood.model.looks import (
    LAST_ID,
    SEGMENT,
    Besides,
    Bond,
    Cell,
    FailedRow,
    Kin,
    LastRow,
    ParentRow,
    Part,
    RecentRow,
    Running,
    duration_class,
)
from fanwood.model.states import FIRST_WAIT, RunKind, RunState, Waits
from fanwood.store.looks import FEW, MOST, MOST_QUEUED, Looks
from fanwood.store.memory import budgets
from fanwood.store.memory.reading import record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from fanwood.model.records import RunRecord
    from fanwood.store.memory.tables import Run, Tables

ERROR = 2000
"""Characters of one."""
_Key = tuple[str, int, bool, int, int]


class MemoryLooks(Looks):
    """The verbs."""

    def reading(self) -> AbstractContextManager[Tables]:
        """The tables, while nobody changes them."""
        raise NotImplementedError

    def now(self) -> int:
        """See `Store.now`."""
        raise NotImplementedError

    async def segment_end(self, root: bytes, parent: bytes, after: bytes, size: int = SEGMENT) -> bytes | None:
        with self.reading() as tables:
            part = Part(root, parent, after)
            return next((run.id for run in islice(_runs(tables, part), size - 1, None)), None)

    async def cube(self, part: Part, shift: int) -> list[Cell]:
        groups: dict[_Key, list[Run]] = {}
        with self.reading() as tables:
            for run in _runs(tables, part):
                groups.setdefault(_key(run, shift), []).append(run)
            return [_cell(key, group) for key, group in groups.items()]

    async def next_parent(self, root: bytes, after: bytes, until: bytes) -> bytes | None:
        with self.reading() as tables:
            following = next(iter(tables.order("below", root).after((after, LAST_ID))), None)
        return following[0] if following is not None and following[0] <= until else None

    async def parents(self, part: Part, few: int = FEW) -> list[ParentRow]:
        with self.reading() as tables:
            return [row for run in _runs(tables, part) if (row := _parent(tables, run, few)).size]

    async def sizes(self, root: bytes, ids: Sequence[bytes], few: int) -> list[ParentRow]:
        with self.reading() as tables:
            runs = [tables.runs[id_] for id_ in ids if id_ in tables.runs and tables.runs[id_].root_id == root]
            return [row for run in runs if (row := _parent(tables, run, few)).size]

    async def running(self, after: tuple[int, bytes], limit: int) -> list[Running]:
        with self.reading() as tables:
            begun = [(worker, id_) for worker in sorted(tables.workers) for id_ in tables.order("running", worker)]
            found = [tables.runs[id_] for worker, id_ in begun if (worker, id_) > after][:limit]
            return [Running(run.worker_id or 0, run.id, run.root_id, run.parent_id, run.attempt) for run in found]

    async def failed(self, root: bytes, after: bytes, limit: int, *, links: bool = False) -> list[FailedRow]:
        with self.reading() as tables:
            failed = (tables.runs[id_] for id_ in tables.order("failed", root).after(after))
            wanted = (run for run in failed if run.kind < FIRST_WAIT or (links and run.kind == RunKind.SHARE))
            return [_failed(run) for run in islice(wanted, limit)]

    async def failed_at(self, after: tuple[int, bytes], before: int, limit: int) -> list[FailedRow]:
        with self.reading() as tables:
            failed = (tables.runs[id_] for at, id_ in tables.order("failed").after(after) if at < before)
            return [_failed(run) for run in islice((run for run in failed if run.kind < FIRST_WAIT), limit)]

    async def briefs(self, ids: Sequence[bytes]) -> list[RunRecord]:
        with self.reading() as tables:
            return [_brief(tables.runs[id_]) for id_ in ids if id_ in tables.runs]

    async def below(self, root: bytes, after: tuple[bytes, bytes], limit: int) -> list[RunRecord]:
        with self.reading() as tables:
            runs = [run for run in tables.runs.values() if run.root_id == root and run.parent_id is not None]
            found = sorted((run.parent_id or b"", run.id) for run in runs)
            return [_brief(tables.runs[id_]) for parent, id_ in found if (parent, id_) > after][:limit]

    async def longest(self, part: Part, task: str | None, limit: int) -> list[LastRow]:
        with self.reading() as tables:
            found = [_last(run) for run in _runs(tables, part) if task is None or run.task == task]
        ended = [row for row in found if row.took is not None]
        return sorted(ended, key=lambda row: (-(row.took or 0), row.id))[:limit]

    async def serving(self, limit: int) -> list[tuple[str, int]]:
        with self.reading() as tables:
            live = [
                worker
                for worker in tables.workers.values()
                if worker.lease is not None and worker.lease > self.now() and worker.info.slots
            ]
            return sorted((task, worker.id) for worker in live for task in worker.serves)[:limit]

    async def latest(self, part: Part) -> LastRow | None:
        with self.reading() as tables:
            found = [_last(run) for run in _runs(tables, part)]
        last = min(found, key=_lateness, default=None)
        return None if last is None else replace(last, among=len(found))

    # --- run by run ------------------------------------------------------------------------------------------------

    async def picked(self, part: Part, task: str | None, state: RunState | None, limit: int) -> list[RunRecord]:
        with self.reading() as tables:
            fitting = (
                run for run in _runs(tables, part)
                if (task is None or run.task == task) and (state is None or run.state == state)
            )  # fmt: skip
            return [_brief(run) for run in islice(fitting, limit)]

    async def picked_before(self, root: bytes, parent: bytes, run_id: bytes, limit: int) -> list[RunRecord]:
        with self.reading() as tables:
            siblings = (tables.runs[id_] for id_ in tables.order("children", parent).before(run_id))
            return [_brief(run) for run in islice(siblings, limit) if run.root_id == root]

    async def above(self, run_id: bytes, limit: int) -> list[RunRecord]:
        found: list[RunRecord] = []
        with self.reading() as tables:
            run = tables.runs.get(run_id)
            while run is not None and run.parent_id is not None and len(found) < limit:
                run = tables.runs.get(run.parent_id)
                if run is not None:
                    found.append(_brief(run))
        return found[::-1]

    async def besides(self, run_id: bytes) -> Besides | None:
        with self.reading() as tables:
            run = tables.runs.get(run_id)
        return None if run is None else Besides(run.deadline_by, run.output is not None, run.error, run.life)

    async def suspended(self, ids: Sequence[bytes]) -> list[bytes]:
        with self.reading() as tables:
            there = [tables.runs[id_] for id_ in ids if id_ in tables.runs]
            return [run.id for run in there if run.state == RunState.WAITING and run.waits == Waits.CHILDREN]

    async def kin(self, ids: Sequence[bytes]) -> list[Kin]:
        with self.reading() as tables:
            there = [tables.runs[id_] for id_ in dict.fromkeys(ids) if id_ in tables.runs]
            return [found for run in there if (found := kin_of(tables, run)) is not None]

    async def spends(self, root_id: bytes, most: int) -> int:
        with self.reading() as tables:
            return budgets.spends(tables, root_id, most)

    async def holder(self, namespace: str, key: str) -> bytes | None:
        with self.reading() as tables:
            found = tables.keys.get((namespace, key))
        return None if found is None else found.run_id

    async def recent(self, after: bytes, until: bytes, limit: int) -> list[RecentRow]:
        with self.reading() as tables:
            runs = [tables.runs[id_] for id_ in sorted(id_ for id_ in tables.runs if after < id_ < until)[:limit]]
        return [
            RecentRow(
                run.id, run.root_id, run.task, run.state, run.kind >= FIRST_WAIT, run.started_at, run.finished_at
            )
            for run in runs
        ]  # fmt: skip

    async def queues(self, few: int = MOST_QUEUED) -> list[tuple[str, int]]:
        with self.reading() as tables:
            queued = Counter(run.task for run in tables.runs.values() if run.state == RunState.QUEUED)
            return [(task, min(few, queued[task])) for task in sorted(tables.tasks)]

    async def tree_sample(self, root: bytes, limit: int) -> list[tuple[int, bool, int]]:
        with self.reading() as tables:
            runs = [tables.runs[id_] for _, id_ in islice(tables.order("below", root), limit)]
        counts = Counter((run.state, run.kind >= FIRST_WAIT) for run in runs)
        return [(*key, count) for key, count in counts.items()]


def kin_of(tables: Tables, run: Run) -> Kin | None:
    """What a run has to do with another that is not above or below it."""
    if run.awaits is not None and (run.kind == RunKind.SHARE or run.kind < FIRST_WAIT):
        bond, other = Bond.SHARES if run.kind == RunKind.SHARE else Bond.HELPS, tables.runs.get(run.awaits[:16])
    elif run.id in tables.shared_of:
        bond, other = Bond.SHARED, run
    else:
        bond, other = Bond.HELPED, tables.runs.get(tables.hedged.get(run.id, b""))
    return None if other is None else Kin(run.id, bond, other.id, other.task, RunState(other.state))


def _brief(run: Run) -> RunRecord:
    return replace(record(run, whole=False), error=None if run.error is None else run.error[:ERROR])


def _runs(tables: Tables, part: Part) -> Iterator[Run]:
    """Those of a part."""

    def all_of_them() -> Iterator[Run]:
        for at in range(0, len(part.parents), 16):
            parent = part.parents[at : at + 16]
            for id_ in tables.order("children", parent).after(part.after):
                if id_ > part.until:
                    break
                yield tables.runs[id_]

    return islice(all_of_them(), MOST)


def _parent(tables: Tables, run: Run, few: int) -> ParentRow:
    size = min(few, len(tables.order("children", run.id)))
    return ParentRow(run.id, run.parent_id or b"", run.task, run.state, run.attempt, size)


def _took(run: Run) -> int | None:
    return None if run.finished_at is None or run.started_at is None else run.finished_at - run.started_at


def _key(run: Run, shift: int) -> _Key:
    took = _took(run)
    at = run.finished_at if run.is_over else run.started_at if run.state == RunState.RUNNING else run.created_at
    class_ = -1 if took is None else duration_class(took)
    return run.task, run.state, run.kind >= FIRST_WAIT, (at or 0) >> shift, class_


def _cell(key: _Key, group: list[Run]) -> Cell:
    times = [took for run in group if (took := _took(run)) is not None]
    ends = [run.finished_at for run in group if run.finished_at is not None]
    since = [at for run in group if (at := _since(run)) is not None]
    busy = sum(run.busy for run in group)
    return Cell(
        *key, len(group), sum(times), max(times, default=0), busy, max(ends, default=None), min(since, default=None)
    )


def _since(run: Run) -> int | None:
    if run.state == RunState.QUEUED:
        return run.created_at
    if run.state == RunState.RUNNING:
        return run.started_at
    return run.due_at if run.state == RunState.WAITING else None


def _failed(run: Run) -> FailedRow:
    return FailedRow(
        run.id, run.root_id, run.parent_id, run.task, run.attempt, run.finished_at or 0, (run.error or "")[:ERROR],
        run.ended_by,
        run.started_at, run.busy,
    )  # fmt: skip


def _lateness(row: LastRow) -> tuple[int, int, bytes]:
    """What is looked for first, comes first: what runs, then what has not ended either, then what ended last."""
    return 0 if row.state == RunState.RUNNING else 1 if row.finished_at is None else 2, -(row.finished_at or 0), row.id


def _last(run: Run) -> LastRow:
    return LastRow(run.id, run.state, run.finished_at, _took(run))
