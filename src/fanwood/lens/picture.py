"""From what is known of a tree to what is shown of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from fanwood.lens.briefs import counts_of
from fanwood.lens.views import Counts, Histogram, PathView, Strip, TaskView
from fanwood.model.looks import class_end
from fanwood.model.states import FIRST_TERMINAL, RunState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from fanwood.lens.paths import Key, Path, Sums
    from fanwood.lens.pieces import Piece
    from fanwood.lens.where import Where

Chosen = list[tuple["Path", "list[tuple[Key, Sums]]"]]
"""Paths, and of each what was asked for."""


def chosen(paths: Sequence[Path], within: Iterator[Path], where: Where, shift: int) -> Chosen:
    """What of a tree is asked for, of each of its paths."""
    inside = {path.index for path in within}
    state = None if where.state is None else RunState[where.state.upper()]
    found: Chosen = []
    for path in paths:
        if path.index not in inside or (where.task is not None and path.task != where.task):
            found.append((path, []))
            continue
        rows = list(path.sums.items())
        if state is not None:
            rows = [row for row in rows if row[0][0] == state]
        if where.since is not None:
            rows = [row for row in rows if row[0][2] >= where.since >> shift]
        if where.until is not None:
            rows = [row for row in rows if row[0][2] << shift < where.until]
        found.append((path, rows))
    return found


def states(rows: Iterable[tuple[Key, Sums]], *, waits: bool = False) -> Counter[int]:
    """How many are in which state."""
    found: Counter[int] = Counter()
    for (state, is_wait, _, _), sums in rows:
        if is_wait == waits:
            found[state] += sums.count
    return found


def all_states(picked: Chosen, *, waits: bool = False) -> Counts:
    """Of all paths."""
    found: Counter[int] = Counter()
    for _, rows in picked:
        found += states(rows, waits=waits)
    return counts_of(found)


def task_views(picked: Chosen, pieces: Iterable[Piece], serving: Mapping[str, int]) -> tuple[TaskView, ...]:
    """A line for each task, in the order of their first paths."""
    by_task: dict[str, list[tuple[Key, Sums]]] = {}
    for path, rows in picked:
        if rows:
            by_task.setdefault(path.task, []).extend(rows)
    longest: dict[str, int] = {}
    for piece in pieces:
        for cell in piece.cells:
            if cell.took >= 0 and cell.longest > longest.get(cell.task, -1):
                longest[cell.task] = cell.longest
    return tuple(
        _task_view(task, rows, longest.get(task), serving.get(task, 0))
        for task, rows in by_task.items()
        if any(not row[0][1] for row in rows)
    )


def _task_view(task: str, rows: list[tuple[Key, Sums]], longest: int | None, serving: int) -> TaskView:
    took: Counter[int] = Counter()
    busy = 0
    for (_, is_wait, _, class_), sums in rows:
        if is_wait:
            continue
        busy += sums.busy
        if class_ >= 0:
            took[class_] += sums.count
    p50, p95, p99 = (percentile(took, part, longest) for part in (0.5, 0.95, 0.99))
    return TaskView(task, counts_of(states(rows)), histogram(took), p50, p95, p99, longest, busy, serving)


def histogram(took: Mapping[int, int]) -> Histogram:
    """From counts by class."""
    if not took:
        return Histogram()
    first, last = min(took), max(took)
    return Histogram(first, tuple(took.get(class_, 0) for class_ in range(first, last + 1)))


def percentile(took: Mapping[int, int], part: float, longest: int | None = None) -> int | None:
    """Microseconds that so many of them did not exceed, as the upper end of a class; none exceeded the longest."""
    count = sum(took.values())
    seen = 0
    for class_ in sorted(took):
        seen += took[class_]
        if seen >= part * count:
            end = class_end(class_)
            return end if longest is None else min(end, longest)
    return None


def path_views(picked: Chosen) -> tuple[PathView, ...]:
    """All of them, whatever was asked for: their places are names."""
    return tuple(_path_view(path, rows) for path, rows in picked)


def _path_view(path: Path, rows: list[tuple[Key, Sums]]) -> PathView:
    busy = sum(sums.busy for (_, is_wait, _, _), sums in rows if not is_wait)
    levels = [depth for depth, count in path.depths.items() if count]
    folded = len(levels) if path.is_folded and len(levels) > 1 else 0
    depths = tuple(path.depths[depth] for depth in range(min(levels), max(levels) + 1)) if folded else ()
    parent = -1 if path.parent is None else path.parent.index
    return PathView(path.task, parent, counts_of(states(rows)), busy, folded, depths)


# --- over time -------------------------------------------------------------------------------------------------------


def strip(picked: Chosen, fine: int, bins: int, window: tuple[int, int], now: int) -> Strip:
    """Ended runs by bins of time, no more bins than asked for. `fine`: the shift of the tree's own bins."""
    start, end = window
    shift = fine
    while ((end - 1) >> shift) - (start >> shift) + 1 > max(1, bins):
        shift += 1
    first, last = start >> shift, max(start, end - 1) >> shift
    width, count = 1 << shift, last - first + 1
    by_state: dict[int, list[int]] = {state: [0] * count for state in (8, 9, 10)}
    under_way = [0.0] * (count + 1)
    for (state, is_wait, at, _), sums in (row for _, rows in picked for row in rows):
        bin_ = at >> (shift - fine)
        if is_wait or not sums.count:
            continue
        if state >= FIRST_TERMINAL:
            if first <= bin_ <= last:
                by_state[state][bin_ - first] += sums.count
            begun = (((bin_ << shift) + width // 2) - sums.total // sums.count) >> shift
            _note(under_way, begun - first, bin_ - first, sums.count)
        elif state == RunState.RUNNING:
            _note(under_way, bin_ - first, (now >> shift) - first + 1, sums.count)
    running: list[int] = []
    level = 0.0
    for change in under_way[:count]:
        level += change
        running.append(round(level))
    return Strip(first << shift, width, *(_full(by_state[state]) for state in (8, 9, 10)), running=_full(running))


def _note(under_way: list[float], begun: int, ended: int, count: int) -> None:
    """So many were under way from the end of one bin to that of another."""
    last = len(under_way) - 1
    if ended <= 0 or begun > last or begun >= ended:
        return
    under_way[max(0, begun)] += count
    if ended <= last:
        under_way[ended] -= count


def _full(counts: list[int]) -> tuple[int, ...]:
    return tuple(counts) if any(counts) else ()


# --- how long it takes -----------------------------------------------------------------------------------------------


def took_by_task(picked: Chosen) -> dict[str, Counter[int]]:
    """How long ended runs took, by task."""
    found: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for path, rows in picked:
        for (_, is_wait, _, class_), sums in rows:
            if class_ >= 0 and not is_wait:
                found[path.task][class_] += sums.count
    return found
