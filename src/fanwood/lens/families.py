"""The children of one run, by task."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fanwood.errors import RunNotFoundError
from fanwood.ids import id_text
from fanwood.lens.book import no_lens, segments_of
from fanwood.lens.briefs import counts_of, named_briefs
from fanwood.lens.failures import ONE_BIN
from fanwood.lens.picture import percentile
from fanwood.lens.views import ChildrenView, Counts, FamilyView
from fanwood.model.looks import LAST_ID, Part

if TYPE_CHECKING:
    from fanwood.lens.book import Shelf
    from fanwood.model.looks import Cell
    from fanwood.model.records import RunRecord
    from fanwood.store.store import Store

AT_ONCE = 2
"""Segments of a large family that are looked at where no lens knows it."""
FAMILY = 20
"""More siblings of one task than this are one line."""


@dataclass(slots=True)
class OfTask:
    """Those of one task. `parts`: where they are, as long as there are few."""

    states: Counter[int] = field(default_factory=Counter[int])
    took: Counter[int] = field(default_factory=Counter[int])
    slowest: int | None = None
    count: int = 0
    parts: list[Part] = field(default_factory=list[Part])

    def add(self, cell: Cell, part: Part) -> None:
        self.count += cell.count
        self.states[cell.state] += cell.count
        if cell.took >= 0:
            self.took[cell.took] += cell.count
            self.slowest = max(self.slowest or 0, cell.longest)
        if self.count <= FAMILY and part not in self.parts:
            self.parts.append(part)

    def view(self, task: str, *, more: bool) -> FamilyView:
        p50, p95 = (percentile(self.took, part, self.slowest) for part in (0.5, 0.95))
        return FamilyView(task, counts_of(self.states), p50, p95, self.slowest, more)


@dataclass(slots=True)
class Families:
    """A run's children, in the order in which their tasks came first. `more`: there are more of them."""

    tasks: dict[str, OfTask] = field(default_factory=dict[str, OfTask])
    more: bool = False

    def add(self, cells: list[Cell], part: Part) -> None:
        for cell in sorted(cells, key=lambda cell: cell.task):
            self.tasks.setdefault(cell.task, OfTask()).add(cell, part)

    def views(self) -> tuple[FamilyView, ...]:
        return tuple(one.view(task, more=self.more) for task, one in self.tasks.items())


async def families(store: Store, parent: RunRecord, shelf: Shelf = no_lens) -> Families:
    """All of it, if it is one segment, or if there is a lens that has read it; else of the first segments."""
    found, at = Families(), b""
    for number in range(AT_ONCE):
        end = await store.segment_end(parent.root_id, parent.id, at)
        if end is not None and not number and (known := await segments_of(shelf, parent)):
            for piece in known:
                found.add(piece.cells, piece.part)
            return found
        part = Part(parent.root_id, parent.id, at, end or LAST_ID)
        found.add(await store.cube(part, ONE_BIN), part)
        if end is None:
            return found
        at = end
    found.more = True
    return found


async def children(store: Store, run_id: bytes, shelf: Shelf = no_lens) -> ChildrenView:
    """What is right below a run.

    Raises:
        RunNotFoundError: there is no such run.
    """
    there = await store.briefs([run_id])
    if not there:
        raise RunNotFoundError(f"There is no run {id_text(run_id)} in {store.url}")
    parent = there[0]
    found = await families(store, parent, shelf)
    singles: list[RunRecord] = []
    for task, one in found.tasks.items():
        if one.count <= FAMILY:
            for part in one.parts:
                singles += await store.picked(part, task, None, FAMILY)
    singles.sort(key=lambda run: run.id)
    parents: dict[str, Counts] = {}
    waits: dict[str, int] = {}
    for run in singles:
        counts, waiting = await of_family(store, run)
        if counts:
            parents[id_text(run.id)] = counts_of(counts)
        if waiting:
            waits[id_text(run.id)] = waiting
    shown = await named_briefs(store, [parent, *singles])
    groups = tuple(one.view(task, more=found.more) for task, one in found.tasks.items() if one.count > FAMILY)
    return ChildrenView(shown[0], groups, tuple(shown[1:]), parents, waits)


async def of_family(store: Store, parent: RunRecord) -> tuple[Counter[int], int]:
    """The states of a run's children, of the first segment of these; and how many waits and recorded steps it has."""
    states: Counter[int] = Counter()
    waits = 0
    if parent.attempt:  # else it has spawned nothing
        end = await store.segment_end(parent.root_id, parent.id, b"")
        for cell in await store.cube(Part(parent.root_id, parent.id, until=end or LAST_ID), ONE_BIN):
            if cell.is_wait:
                waits += cell.count
            else:
                states[cell.state] += cell.count
    return states, waits
