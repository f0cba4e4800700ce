"""Paths: all runs whose ancestors have the same tasks, and what is known of these runs together."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from fanwood.model.states import FIRST_TERMINAL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from fanwood.model.looks import Cell
    from fanwood.model.records import RunRecord
    from fanwood.store.store import Store

Key = tuple[int, bool, int, int]
"""State, whether it is a wait, bin of time, class of duration."""


class Sums:
    """Of runs that are alike."""

    __slots__ = ("busy", "count", "total")

    def __init__(self) -> None:
        self.count = self.total = self.busy = 0


class Figures:
    """Of runs of one path: how many are in which state, how long they took, and what ended when."""

    def __init__(self, rows: Iterable[tuple[Key, Sums]]) -> None:
        self.states: Counter[int] = Counter()
        self.waits: Counter[int] = Counter()
        self.took: Counter[int] = Counter()  # ended runs, by class of duration
        self.at: dict[tuple[int, int], list[int]] = {}  # by state and bin of time: how many, and what they took
        self.busy = self.ended = 0
        for key, sums in rows:
            self.add(key, sums.count, sums.total, sums.busy)

    def add(self, key: Key, count: int, total: int, busy: int) -> None:
        """So many more; or (below 0) fewer."""
        state, is_wait, bin_, took = key
        if is_wait:
            _count(self.waits, state, count)
            return
        _count(self.states, state, count)
        self.busy += busy
        if took >= 0:
            _count(self.took, took, count)
        at = self.at.setdefault((state, bin_), [0, 0])
        at[0] += count
        at[1] += total
        if not at[0]:
            del self.at[state, bin_]
        if state >= FIRST_TERMINAL:
            self.ended += count


def _count(counts: Counter[int], of: int, more: int) -> None:
    counts[of] += more
    if not counts[of]:
        del counts[of]


class Path:
    """All runs of one task whose ancestors have the same tasks. What calls itself, directly or not, stays one path."""

    def __init__(self, task: str, parent: Path | None, index: int) -> None:
        self.task = task
        self.parent = parent
        self.index = index
        self.below: dict[str, Path] = {}
        self.is_folded = False
        self.depths: Counter[int] = Counter()
        self.sums: dict[Key, Sums] = {}
        self._figures: Figures | None = None  # once somebody has asked; then it is kept up

    @property
    def figures(self) -> Figures:
        """All of it, as it is now: another time it may be something else."""
        if self._figures is None:
            self._figures = Figures(self.sums.items())
        return self._figures

    def add(self, cell: Cell, depth: int, sign: int, coarser: int) -> None:
        """The runs of a cell are on it, or (`sign` -1) are not any more. `coarser`: by how much its bins of time are
        finer than ours, in powers of two."""
        key = (cell.state, cell.is_wait, cell.bin >> coarser, cell.took)
        if self._figures is not None:
            self._figures.add(key, sign * cell.count, sign * cell.total, sign * cell.busy)
        sums = self.sums.get(key)
        if sums is None:
            sums = self.sums[key] = Sums()
        sums.count += sign * cell.count
        sums.total += sign * cell.total
        sums.busy += sign * cell.busy
        if not cell.is_wait:
            self.depths[depth] += sign * cell.count
        if not sums.count:
            del self.sums[key]

    def coarsen(self) -> None:
        """Bins of time are twice as wide from now on."""
        self.sums, self._figures = coarser(self.sums, 1), None


def coarser(fine: dict[Key, Sums], by: int) -> dict[Key, Sums]:
    """With wider bins of time: by so many powers of two."""
    found: dict[Key, Sums] = {}
    for (state, is_wait, bin_, took), sums in fine.items():
        there = found.setdefault((state, is_wait, bin_ >> by, took), sums)
        if there is not sums:
            there.count += sums.count
            there.total += sums.total
            there.busy += sums.busy
    return found


class Paths:
    """All those of a tree. A path's parent comes before it."""

    def __init__(self, task: str) -> None:
        self.all = [Path(task, None, 0)]

    @property
    def root(self) -> Path:
        """That of the root alone."""
        return self.all[0]

    def below(self, path: Path, task: str) -> Path:
        """Where the children of runs on a path are that have this task."""
        found = path.below.get(task)
        if found is not None:
            return found
        above: Path | None = path
        while above is not None and above.task != task:
            above = above.parent
        if above is None:
            above = Path(task, path, len(self.all))
            self.all.append(above)
        else:
            above.is_folded = True
        path.below[task] = above
        return above

    def within(self, index: int) -> Iterator[Path]:
        """A path and all below it."""
        inside: set[int] = set()
        for path in self.all:
            if path.index == index or (path.parent is not None and path.parent.index in inside):
                inside.add(path.index)
                yield path


async def on_path(store: Store, runs: Sequence[RunRecord], path: Sequence[str]) -> list[RunRecord]:
    """Those of some runs of a tree that are on a path (its tasks, from the root down), or below it. Their ancestors are
    looked up level by level, those of all runs at once."""
    above: dict[bytes, tuple[str, bytes | None]] = {}
    wanted = {run.parent_id for run in runs if run.parent_id is not None}
    while wanted:
        found = await store.briefs(list(wanted))
        above |= {run.id: (run.task, run.parent_id) for run in found}
        wanted = {run.parent_id for run in found if run.parent_id is not None} - above.keys()
    ways: dict[bytes | None, tuple[str, ...]] = {None: ()}
    return [run for run in runs if folded(_way(run.parent_id, above, ways), run.task)[: len(path)] == tuple(path)]


def _way(
    run_id: bytes | None, above: dict[bytes, tuple[str, bytes | None]], ways: dict[bytes | None, tuple[str, ...]]
) -> tuple[str, ...]:
    """The path of a run that is above others."""
    below: list[tuple[bytes, str]] = []
    while run_id not in ways:
        assert run_id is not None
        task, parent = above.get(run_id, ("", None))  # deleted meanwhile: then it is on none
        below.append((run_id, task))
        run_id = parent
    way = ways[run_id]
    for id_, task in reversed(below):
        way = ways[id_] = folded(way, task)
    return way


def folded(way: tuple[str, ...], task: str) -> tuple[str, ...]:
    """The path of a task's runs below a path: that of the nearest above that have the same task, if there are any."""
    return (*way[: way.index(task)], task) if task in way else (*way, task)
