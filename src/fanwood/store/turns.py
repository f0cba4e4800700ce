"""Claims go round the roots that have something in the queue: the same in every store but PostgreSQL, where it is a
function (`fw_turns`).

Of each priority some roots are looked at, from the one after that had the last turn, and each has an equal share. A
root that is in the queue itself has not begun: those have one turn together, the oldest first, or there would soon be
as many trees half done as there are roots.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import NamedTuple, Protocol

import msgspec

ROOTS = 8
"""So many roots have their turn in one claim, at most: to look at one costs about as much as to take a run."""
FEW = 4
"""... but so many, however many tasks there are."""


class Root(NamedTuple):
    """A root with something in the queue."""

    id: str
    is_queued: bool  # itself


class Queue(Protocol):
    """What there is to claim of some tasks."""

    def priority(self, below: int) -> int | None:
        """The highest that there is, below another one."""
        ...

    def root(self, priority: int, after: str) -> Root | None:
        """The first after another one."""
        ...

    def heads(self, priority: int, roots: list[Root], count: int) -> list[list[str]]:
        """Of each root the best runs, so many at most; of one that is queued, also those of roots after it."""
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
        roots, is_all = _round(queue, priority, last.get(priority, ""), min(most, room))
        if len(roots) == 1 and is_all and not lower:
            break
        share = -(-room // len(roots))
        heads = queue.heads(priority, roots, share)
        ranks = zip_longest(*heads)
        found |= dict.fromkeys([id_ for rank in ranks for id_ in rank if id_ is not None][:room])
        most -= len(roots)
        if not is_all or not most or len(found) >= limit or any(len(runs) >= share for runs in heads):
            break  # what is left of this priority comes before any other
        priority = queue.priority(priority)
    return list(found)


def _round(queue: Queue, priority: int, last: str, most: int) -> tuple[list[Root], bool]:
    """Whose turn it is, and whether these are all."""
    found, begins = list[Root](), False
    for start, until in ((last, None), ("", last)) if last else (("", None),):
        after = start
        while (root := queue.root(priority, after)) is not None and (until is None or root.id <= until):
            if len(found) == most or (root.is_queued and begins):
                return found, False
            found.append(root)
            after = root.id
            if root.is_queued:  # it stands for those after it
                begins = True
                break
    return found, True
