"""Giving a run, and all below it, another priority: one row, whatever the size of the tree.

Births below it ask for that row. What lives already is told by sweeps, a page at a time; then workers hand back what
they had claimed and not begun, as it stands in another order from now on. Of several such rows above a run the last one
counts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

PAGE = 500
"""Runs that one step of a sweep looks at."""


class Above(NamedTuple):
    """A run, its parent (or nothing), and what was said of it: when, and which priority."""

    id: str
    parent: str
    at: int | None
    priority: int | None


class Prioritizing(ABC):
    """The verb."""

    @abstractmethod
    async def reprioritize(self, run_id: bytes, priority: int, by: str) -> int:
        """Give a run another priority, and with it all below it: what is born there from now on at once, what lives by
        `sweep`; which one it had. Takes no longer for a large tree than for a small one. When all have been told, so
        are workers (`is_heard`). A line in its log keeps who did it. `store/surgery.py` does all of it.

        Raises:
            RunNotFoundError: there is no such run.
            UsageError: it has no code: a part of its parent.
        """


def last_said(above: Iterable[Above], ids: Iterable[str]) -> dict[str, int]:
    """Of these runs, as far as anything was said of them, or of what is above them, what was said last. `above`: all of
    these, and all above them."""
    rows = {row.id: row for row in above}
    known: dict[str, Above] = {}
    for id_ in ids:
        way: list[Above] = []
        at: str = id_
        while at in rows and at not in known:
            way.append(rows[at])
            at = rows[at].parent
        last = known.get(at)
        for row in reversed(way):
            if row.at is not None and (last is None or last.at is None or row.at > last.at):
                last = row
            known[row.id] = row if last is None else last
    return {id_: found.priority for id_ in ids if (found := known.get(id_)) is not None and found.priority is not None}


def reprioritized_line(by: str, before: int, now: int) -> str:
    """What the log of the run keeps."""
    return f"given priority {now} by {by}; it had {before}"
