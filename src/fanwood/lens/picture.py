"""From what is known of a tree to what is shown of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from fanwood.lens.briefs import counts_of
from fanwood.lens.paths import Figures
from fanwood.lens.views import Counts, Histogram, PathView, Strip, TaskView
from fanwood.model.looks import class_end
from fanwood.model.states import FIRST_TERMINAL, TERMINAL, RunState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from fanwood.lens.paths import Key, Path, Paths, Sums
    from fanwood.lens.pieces import Piece
    from fanwood.lens.where import Where
    from fanwood.model.records import RunRecord

NOTHING = Figures(())


def chosen(
    paths: Paths, where: Where, shift: int, alike: Mapping[int, Mapping[Key, Sums]] | None = None
) -> list[Figures]:
    """What of a tree is asked for, of each of its paths. `alike`: only of these, by path."""
    inside = {path.index for path in (paths.all if where.path is None else paths.within(where.path))}
    state = None if where.state is None else RunState[where.state.upper()]
    first = None if where.since is None else where.since >> shift
    last = None if where.until is None else (where.until - 1) >> shift
    found: list[Figures] = []
    for path in paths.all:
        if path.index not in inside or where.task not in (None, path.task):
            found.append(NOTHING)
        elif state is None and first is None and last is None and alike is None:
            found.append(path.figures)
        else:
            rows = path.sums if alike is None else alike.get(path.index, {})
            found.append(
                Figures(
                    (key, sums)
                    for key, sums in rows.items()
                    if (state is None or key[0] == state)
                    and (first is None or key[2] >= first)
                    and (last is None or key[2] <= last)
                )
            )
    return found


def all_states(picked: Iterable[Figures], *, waits: bool = False) -> Counts:
    """Of all paths."""
    found: Counter[int] = Counter()
    for one in picked:
        found.update(one.waits if waits else one.states)
    return counts_of(found)


def task_views(
    paths: Sequence[Path], picked: Sequence[Figures], pieces: Iterable[Piece], serving: Mapping[str, int],
    root: RunRecord,
) -> tuple[TaskView, ...]:  # fmt: skip
    """A line for each task, in the order of their first paths. `root`: it is in no piece."""
    longest: dict[str, int] = {}
    if root.started_at is not None and root.finished_at is not None:
        longest[root.task] = root.finished_at - root.started_at
    for piece in pieces:
        for task, took in piece.longest.items():
            longest[task] = max(took, longest.get(task, 0))
    by_task: dict[str, list[Figures]] = {}
    for path, figures in zip(paths, picked, strict=True):
        if figures.states:
            by_task.setdefault(path.task, []).append(figures)
    return tuple(
        _task_view(task, figures, longest.get(task), serving.get(task, 0)) for task, figures in by_task.items()
    )


def _task_view(task: str, figures: list[Figures], longest: int | None, serving: int) -> TaskView:
    took: Counter[int] = Counter()
    for one in figures:
        took.update(one.took)
    p50, p95, p99 = (percentile(took, part, longest) for part in (0.5, 0.95, 0.99))
    busy = sum(one.busy for one in figures)
    return TaskView(
        task, all_states(figures), histogram(took), p50, p95, p99, longest if took else None, busy, serving
    )  # fmt: skip


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


def path_views(paths: Sequence[Path], picked: Sequence[Figures]) -> tuple[PathView, ...]:
    """All of them, whatever was asked for: their places are names."""
    return tuple(_path_view(path, figures) for path, figures in zip(paths, picked, strict=True))


def _path_view(path: Path, figures: Figures) -> PathView:
    levels = [depth for depth, count in path.depths.items() if count]
    folded = len(levels) if path.is_folded and len(levels) > 1 else 0
    depths = tuple(path.depths[depth] for depth in range(min(levels), max(levels) + 1)) if folded else ()
    parent = -1 if path.parent is None else path.parent.index
    return PathView(path.task, parent, counts_of(figures.states), figures.busy, folded, depths)


# --- over time -------------------------------------------------------------------------------------------------------


def strip(picked: Iterable[Figures], fine: int, bins: int, window: tuple[int, int], now: int) -> Strip:
    """Ended runs by bins of time, no more bins than asked for. `fine`: the shift of the tree's own bins. How many were
    under way is told from how long those of one bin took, on average."""
    start, end = window
    shift = fine
    while ((end - 1) >> shift) - (start >> shift) + 1 > max(1, bins):
        shift += 1
    first, last = start >> shift, max(start, end - 1) >> shift
    count = last - first + 1
    by_state: dict[int, list[int]] = {int(state): [0] * count for state in TERMINAL}
    under_way = [0] * (count + 1)
    for (state, at), (number, total) in (row for one in picked for row in one.at.items()):
        bin_ = at >> (shift - fine)
        if state >= FIRST_TERMINAL:
            if first <= bin_ <= last:
                by_state[state][bin_ - first] += number
            begun = ((at << fine) - total // number) >> shift
            _note(under_way, begun - first, bin_ - first, number)
        elif state == RunState.RUNNING:
            _note(under_way, bin_ - first, (now >> shift) - first + 1, number)
    running: list[int] = []
    for change in under_way[:count]:
        running.append((running[-1] if running else 0) + change)
    return Strip(first << shift, 1 << shift, *(_full(by_state[state]) for state in TERMINAL), running=_full(running))


def _note(under_way: list[int], begun: int, ended: int, count: int) -> None:
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


def took_by_task(paths: Iterable[Path]) -> dict[str, Counter[int]]:
    """How long ended runs took, by task."""
    found: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for path in paths:
        found[path.task].update(path.figures.took)
    return found
