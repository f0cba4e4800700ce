"""Whose turn it is: the roots that have something in the queue."""

from __future__ import annotations

from itertools import islice, takewhile
from typing import TYPE_CHECKING

from fanwood.model.states import RunState
from fanwood.store.turns import Root, in_turns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from fanwood.store.memory.tables import Order, Run, Tables

Place = tuple[int, bytes, int, bytes]
"""In the queue of a task: priority and depth (negated), root, id."""


class Turning:
    """The queue of some tasks; of what is `ours`."""

    def __init__(self, tables: Tables, tasks: Sequence[str], ours: Callable[[Run], bool]) -> None:
        self._runs = tables.runs
        self._queues = [
            order for task in tasks if (order := tables.order("queue", task))
        ]  # their numbers are the tasks'
        self._ours = ours

    def first(self, turns: str, limit: int) -> list[Run]:
        """What is to be claimed before anything else."""
        queues = self._queues = [queue for queue in self._queues if any(self._ours(self._runs[p[3]]) for p in queue)]
        if not queues:
            return []
        priority = self.priority(1 << 70)
        assert priority is not None
        lower = self.priority(priority) is not None
        return [
            self._runs[bytes.fromhex(id_)] for id_ in in_turns(self, turns, limit, len(queues), priority, lower=lower)
        ]

    def priority(self, below: int) -> int | None:
        """See `turns.Queue`."""
        places = [
            next((p for p in queue.since((1 - below,)) if self._ours(self._runs[p[3]])), None) for queue in self._queues
        ]
        return max((-place[0] for place in places if place), default=None)

    def roots(self, priority: int, after: Mapping[int, str]) -> dict[int, Root]:
        """See `turns.Queue`."""
        found: dict[int, Root] = {}
        for task, last in after.items():
            since = bytes.fromhex(last) + b"\0" if last else b""
            if (place := next(self._places(self._queues[task], priority, since), None)) is not None:
                root = place[1]
                own = self._runs.get(root)
                of_it = own is not None and own.state == RunState.QUEUED and own.task == self._runs[place[3]].task
                found[task] = Root(root.hex().upper(), task if of_it else None)
        return found

    def heads(self, priority: int, roots: list[Root], count: int) -> list[list[str]]:
        """See `turns.Queue`."""
        found: list[list[str]] = []
        for root in roots:
            first = bytes.fromhex(root.id)
            runs: list[Place] = []
            for queue in self._queues if root.of is None else [self._queues[root.of]]:
                places = self._places(queue, priority, first)
                runs += islice(takewhile(_of(first), places) if root.of is None else places, count)
            found.append([place[3].hex().upper() for place in sorted(runs)[:count]])
        return found

    def _places(self, queue: Order, priority: int, since: bytes) -> Iterator[Place]:
        for place in queue.since((-priority, since)):
            if place[0] != -priority:
                return
            if self._ours(self._runs[place[3]]):
                yield place


def _of(root: bytes) -> Callable[[Place], bool]:
    return lambda place: place[1] == root
