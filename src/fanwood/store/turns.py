"""Claims go round the roots that have something in the queue: the same in every store but PostgreSQL, where it is a
function (`fw_turns`).

Of each priority some roots are looked at, from the one after that had the last turn, and each has an equal share. A
root that is in the queue itself waits to begin, or to go on after it was suspended. Those of one task have one turn
together, the oldest first, or there would soon be as many trees half done as there are roots. Each task is walked by
itself: what stands behind a hundred thousand roots of one task is not hidden by them in the others.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ROOTS = 8
"""So many roots that are not queued themselves have their turn in one claim, at most: to look at one costs about as
much as to take a run."""
FEW = 4
"""... but so many, however many tasks there are."""


class Root(NamedTuple):
    """A root with something in the queue. `of`: it is queued itself, and stands for all after it of this task."""

    id: str
    of: int | None


class Queue(Protocol):
    """What there is to claim of some tasks, which have numbers."""

    def priority(self, below: int) -> int | None:
        """The highest that there is, below another one."""
        ...

    def roots(self, priority: int, after: Mapping[int, str]) -> dict[int, Root]:
        """Of each of these tasks the first root after another one, if there is one."""
        ...

    def heads(self, priority: int, roots: list[Root], count: int) -> list[list[str]]:
        """Of each root the best runs, so many at most; of one that is queued, those of its task, of it and of roots
        after it."""
        ...


_turns = msgspec.json.Decoder(dict[int, str])


def in_turns(queue: Queue, turns: str, limit: int, tasks: int, first: int, *, lower: bool) -> list[str]:
    """Runs to be claimed before any others: as many as the roots bring whose turn it is. None if they are the best.

    `turns`: a JSON object, by priority the root that had the last turn. `tasks`: how many, each looked at by itself.
    `first`: the highest priority; `lower`: whether there is another one.
    """
    last, found, most = _turns.decode(turns), dict[str, None](), max(ROOTS // tasks, FEW)
    priority: int | None = first
    while priority is not None:
        room = limit - len(found)
        walk = _Walk(most, room)
        _go_round(queue, priority, last.get(priority, ""), tasks, walk)
        roots, is_all = walk.found, walk.is_all
        if len(roots) == 1 and is_all and not lower:
            break
        share = -(-room // len(roots))
        heads = queue.heads(priority, roots, share)
        ranks = zip_longest(*heads)
        found |= dict.fromkeys([id_ for rank in ranks for id_ in rank if id_ is not None][:room])
        most -= len(roots)
        if not is_all or most <= 0 or len(found) >= limit or any(len(runs) >= share for runs in heads):
            break  # what is left of this priority comes before any other
        priority = queue.priority(priority)
    return list(found)


def _go_round(queue: Queue, priority: int, last: str, tasks: int, walk: _Walk) -> None:
    """From the root after the last one to the end, and from the first one to it."""
    for start, until in ((last, None), ("", last)) if last else (("", None),):
        heads = [(root.id, task, root.of) for task, root in queue.roots(priority, _all(range(tasks), start)).items()]
        heapify(heads)
        while heads and not walk.is_full:
            root = heads[0][0]
            if until is not None and root > until:
                break
            here = dict[int, int | None]()
            while heads and heads[0][0] == root:
                _, task, here[task] = heappop(heads)
            if go_on := walk.meet(root, here):
                for task, head in queue.roots(priority, _all(go_on, root)).items():
                    heappush(heads, (head.id, task, head.of))


def _all(tasks: Iterable[int], after: str) -> dict[int, str]:
    return dict.fromkeys(tasks, after)


class _Walk:
    """Past the roots of all tasks, in their order, until as many are found as there is room for."""

    def __init__(self, begun: int, room: int) -> None:
        self.found = list[Root]()
        self.is_all = True
        self.is_full = False
        self._begun = begun  # so many that are not queued, at most
        self._room = room
        self._standing = set[int]()  # tasks of which a root that is queued stands for those after it

    def meet(self, root: str, tasks: Mapping[int, int | None]) -> list[int]:
        """The next root, which has something in these tasks; in which to go on behind it."""
        begun = [task for task, of in tasks.items() if of is None]
        for task in tasks.keys() - begun:
            if task in self._standing:
                self.is_all = False
            else:
                self._standing.add(task)
                self._take(Root(root, task))
        if begun and not self._begun:
            self.is_all = False
            return []
        if begun:
            self._begun -= 1
            self._take(Root(root, None))
        return begun

    def _take(self, root: Root) -> None:
        if len(self.found) < self._room:
            self.found.append(root)
        else:
            self.is_all, self.is_full = False, True
