"""What was claimed and waits to begin: by priority, and within one the trees in turns.

A claim brings runs of several trees in turns. But what came with the claim before it stands there as well, a thousand
of one tree, and a small one behind them would wait for all of these.
"""

from __future__ import annotations

from collections import deque
from operator import attrgetter
from typing import TYPE_CHECKING

from fanwood.model.commands import SUSPECT_DEATHS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from fanwood.model.commands import ClaimedRun

FEW = 8
"""With more trees than these none is quick."""

Tree = tuple[int, str]
"""Priority, and root; roots themselves are one tree for each task."""


class Turns:
    """Runs that wait; those of one tree in the order in which they came."""

    def __init__(self) -> None:
        self.count: int = 0
        self.suspects: int = 0
        """So many of them execute alone."""
        self._trees: dict[Tree, deque[ClaimedRun]] = {}
        self._levels: dict[int, deque[Tree]] = {}  # by priority: whose turn it is
        self._highest = 0

    def __iter__(self) -> Iterator[ClaimedRun]:
        for runs in self._trees.values():
            yield from runs

    def is_uneven(self) -> bool:
        """Whether there are a few trees, and small ones among them: who has little did not have all of its share."""
        if not 1 < len(self._trees) <= FEW:
            return False
        sizes = [len(runs) for runs in self._trees.values()]
        return min(sizes) * 2 < max(sizes)

    def is_turn_of(self, tree: str, priority: int) -> bool:
        """Whether something of this tree would be the next but one at the latest, of as many as there are trees."""
        return not self.suspects and priority >= self._highest and (priority, tree) not in self._trees

    def add(self, runs: Sequence[ClaimedRun]) -> None:
        """They wait behind those of their trees."""
        if len(runs) == 1 or len(set(map(_place, runs))) == 1:  # siblings, as most are
            self._tree(_tree(runs[0])).extend(runs)
        else:
            for run in runs:
                self._tree(_tree(run)).append(run)
        self.count += len(runs)
        self.suspects += len([True for run in runs if run.deaths >= SUSPECT_DEATHS])

    def next(self) -> ClaimedRun:
        """Whose turn it is."""
        return self._trees[self._levels[self._highest][0]][0]

    def take(self, count: int) -> list[ClaimedRun]:
        """So many whose turn it is."""
        if count >= self.count and len(self._trees) == 1:
            taken = list(self._trees.popitem()[1])  # all, of one tree: mostly so
            self._levels.clear()
            self.count = self.suspects = self._highest = 0
            return taken
        count = min(count, self.count)
        taken: list[ClaimedRun] = []
        while len(taken) < count:
            level = self._levels[self._highest]
            runs = self._trees[level[0]]
            if len(level) == 1:
                taken += [runs.popleft() for _ in range(min(count - len(taken), len(runs)))]
            else:
                taken.append(runs.popleft())
            if runs:
                level.rotate(-1)
            else:
                self._forget(level)
        self.count -= count
        if self.suspects:
            self.suspects -= len([True for run in taken if run.is_suspect])
        return taken

    def remove(self, is_meant: Callable[[ClaimedRun], bool], *, behind: int = 0) -> list[ClaimedRun]:
        """They wait no more; but so many stay whose turn is first."""
        first = self.take(behind) if behind and self.count else []
        runs = list(self)
        taken = [run for run in runs if is_meant(run)]
        if taken or first:
            self.__init__()
            self.add([*first, *[run for run in runs if not is_meant(run)]])
        return taken

    def _tree(self, tree: Tree) -> deque[ClaimedRun]:
        runs = self._trees.get(tree)
        if runs is None:
            runs = self._trees[tree] = deque()
            priority, _ = tree
            self._levels.setdefault(priority, deque()).append(tree)
            self._highest = max(self._levels)
        return runs

    def _forget(self, level: deque[Tree]) -> None:
        del self._trees[level.popleft()]
        if not level:
            del self._levels[self._highest]
            self._highest = max(self._levels, default=0)


_place = attrgetter("priority", "root_id", "parent_id")


def _tree(run: ClaimedRun) -> Tree:
    return run.priority, run.root_id if run.parent_id else run.task
