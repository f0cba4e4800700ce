"""The verbs of `looks.py`, on a store that knows SQL: one statement of `sql/lens.sql` each."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from fanwood.model.budgets import Balance, Counted
from fanwood.model.looks import (
    FIRST_ID,
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
    before,
)
from fanwood.model.states import RunState
from fanwood.store import rows
from fanwood.store.finding import Ends
from fanwood.store.looks import FEW, MOST, MOST_QUEUED, Looks
from fanwood.store.spending import SPENDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fanwood.model.records import RunRecord


NEAR = 2 * SEGMENT
"""Rows among which those of a segment are looked for, if it is one range of ids."""
PLACES = 10_000
"""Segments that are known to be scattered among others' runs."""


class SqlLooks(Looks):
    """The verbs, on a store that knows SQL."""

    def __init__(self) -> None:
        self._scattered = set[tuple[bytes, bytes]]()
        self._ends = Ends()

    @abstractmethod
    async def looked(self, name: str, /, **bindings: Any) -> list[Any]:
        """The rows of a statement of `sql/lens.sql`."""

    @abstractmethod
    def now(self) -> int:
        """See `Store.now`."""

    async def segment_end(self, root: bytes, parent: bytes, after: bytes, size: int = SEGMENT) -> bytes | None:
        found = await self.looked("segment_end", root=root, parent=parent, after=after, most=size - 1)
        return found[0][0] if found else None

    async def cube(self, part: Part, shift: int) -> list[Cell]:
        place = (part.parents, part.after)
        is_segment = part.count == 1 and (part.after != FIRST_ID or part.until != LAST_ID)  # else they may be few
        if is_segment and place not in self._scattered:
            after = part.after
            if after == FIRST_ID:
                first = await self.looked("segment_end", root=part.root, parent=part.parents, after=after, most=0)
                if not first:
                    return []
                after = before(first[0][0])
            about = {"parents": part.parents, "after": after, "until": part.until}
            found = await self.looked("cube_near", **about, near=NEAR, shift=shift)
            if sum(row[_COUNT] for row in found) < NEAR:
                return [_cell(row) for row in found if row[_KEY] is not None]
            if len(self._scattered) >= PLACES:
                self._scattered.clear()
            self._scattered.add(place)
        found = await self.looked("cube", **_bindings(part), shift=shift)
        return [_cell(row) for row in found if row[_KEY] is not None]  # null: ended at no time, as only a hand writes

    async def next_parent(self, root: bytes, after: bytes, until: bytes) -> bytes | None:
        found = await self.looked("next_parent", root=root, after=after, until=until)
        return found[0][0] if found else None

    async def parents(self, part: Part, few: int = FEW) -> list[ParentRow]:
        return [ParentRow(*row) for row in await self.looked("parents", **_bindings(part), few=few)]

    async def sizes(self, root: bytes, ids: Sequence[bytes], few: int) -> list[ParentRow]:
        found = await self.looked("sizes", root=root, parents=b"".join(ids), count=len(ids), few=few) if ids else []
        return [ParentRow(*row) for row in found if row[-1]]

    async def running(self, after: tuple[int, bytes], limit: int) -> list[Running]:
        worker, id_ = after
        return [Running(*row) for row in await self.looked("running", worker=worker, after=id_, limit=limit)]

    async def failed(self, root: bytes, after: bytes, limit: int, *, links: bool = False) -> list[FailedRow]:
        found = await self.looked("failed", root=root, after=after, limit=limit, links=int(links))
        return [FailedRow(*row) for row in found]

    async def failed_at(self, after: tuple[int, bytes], before: int, limit: int) -> list[FailedRow]:
        at, id_ = after
        found = await self.looked("failed_at", at=at, after=id_, before=before, limit=limit)
        return [FailedRow(*row) for row in found]

    async def briefs(self, ids: Sequence[bytes]) -> list[RunRecord]:
        if not ids:
            return []
        return [rows.record(row) for row in await self.looked("briefs", parents=b"".join(ids), count=len(ids))]

    async def longest(self, part: Part, task: str | None, limit: int) -> list[LastRow]:
        found = await self.looked("longest", **_bindings(part), task=task, limit=limit)
        return [LastRow(*row) for row in found]

    async def serving(self, limit: int) -> list[tuple[str, int]]:
        return [(task, worker) for task, worker in await self.looked("serving", now=self.now(), limit=limit)]

    async def below(self, root: bytes, after: tuple[bytes, bytes], limit: int) -> list[RunRecord]:
        parent, id_ = after
        return [rows.record(row) for row in await self.looked("below", root=root, parent=parent, id=id_, limit=limit)]

    async def picked(self, part: Part, task: str | None, state: RunState | None, limit: int) -> list[RunRecord]:
        found = await self.looked(
            "picked", root=part.root, parent=part.parents, after=part.after, until=part.until, task=task, state=state,
            limit=limit,
        )  # fmt: skip
        return [rows.record(row) for row in found]

    async def picked_before(self, root: bytes, parent: bytes, run_id: bytes, limit: int) -> list[RunRecord]:
        found = await self.looked("picked_before", root=root, parent=parent, id=run_id, limit=limit)
        return [rows.record(row) for row in found]

    async def above(self, run_id: bytes, limit: int) -> list[RunRecord]:
        found = [rows.record(row) for row in await self.looked("above", id=run_id, limit=limit)]
        return sorted(found, key=lambda run: run.depth)

    async def besides(self, run_id: bytes) -> Besides | None:
        found = await self.looked("besides", id=run_id)
        return Besides(found[0][0], bool(found[0][1]), *found[0][2:]) if found else None

    async def suspended(self, ids: Sequence[bytes]) -> list[bytes]:
        found = await self.looked("suspended_of", parents=b"".join(ids), count=len(ids)) if ids else []
        return [row[0] for row in found]

    async def kin(self, ids: Sequence[bytes]) -> list[Kin]:
        found = await self.looked("kin_of", parents=b"".join(ids), count=len(ids)) if ids else []
        return [Kin(id_, Bond(bond), other, task, RunState(state)) for id_, bond, other, task, state in found]

    async def holder(self, namespace: str, key: str) -> bytes | None:
        found = await self.looked("holder", namespace=namespace, key=key)
        return found[0][0] if found else None

    async def recent(self, after: bytes, until: bytes, limit: int) -> list[RecentRow]:
        found = await self.looked("recent", after=after, until=until, limit=limit)
        return [
            RecentRow(id_, root, task, state, bool(wait), begun, over)
            for id_, root, task, state, wait, begun, over in found
        ]

    async def queues(self, few: int = MOST_QUEUED) -> list[tuple[str, int]]:
        return [(task, count) for task, count in await self.looked("queues", few=few)]

    async def tree_sample(self, root: bytes, limit: int) -> list[tuple[int, bool, int]]:
        found = await self.looked("tree_sample", root=root, limit=limit)
        return [(state, bool(is_wait), count) for state, is_wait, count in found]

    async def latest(self, part: Part) -> LastRow | None:
        found = await self.looked("latest", **_bindings(part))
        return LastRow(*found[0]) if found else None

    # --- budgets ---------------------------------------------------------------------------------------------------

    async def balances(self, run_id: bytes) -> list[Balance]:
        rows = await self.looked("balances", id=run_id)
        return [Balance(*row[:5], open=bool(row[5])) for row in rows]

    async def spent(
        self, root_id: bytes, run_id: bytes | None = None, limit: int = 1000
    ) -> list[tuple[bytes, str, int]]:
        if run_id is None:
            rows = await self.looked("spent_in", root=root_id, limit=limit, most=SPENDS)
        else:
            rows = await self.looked("spent_by", id=run_id, limit=limit)
        return [(id_, unit, millions * 1_000_000 + rest) for id_, unit, millions, rest in rows]

    async def spends(self, root_id: bytes, most: int) -> int:
        return (await self.looked("spends", root=root_id, most=most))[0][0]

    async def counted(self, root_id: bytes | None = None) -> list[Counted]:
        return [
            Counted(*row[:7], closed=bool(row[7]), left_over=row[8])
            for row in await self.looked("counted", root=root_id)
        ]


_KEY, _COUNT = 1, 2
_STATE, _TOOK, _NONE = 0xF, 0x7F, 127


def _cell(row: Sequence[Any]) -> Cell:
    task, key, *rest = row
    took = key >> 5 & _TOOK
    return Cell(task, key >> 1 & _STATE, bool(key & 1), key >> 12, -1 if took == _NONE else took, *rest)


def _bindings(part: Part) -> dict[str, Any]:
    return {
        "root": part.root,
        "parents": part.parents,
        "count": part.count,
        "after": part.after,
        "until": part.until,
        "most": MOST,
    }
