"""What lives of a tree, a page at a time: what is queued, then what runs, then what waits. What has ended is never
looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from fanwood.store.sqlite.leaving import encoded
from fanwood.store.statements import load

if TYPE_CHECKING:
    from collections.abc import Callable

    from fanwood.store.sqlite.driver import Database

_SQL = load("sqlite/living.sql")

STEPS = 32
"""Empty queues that a page passes by at most."""
QUEUED, RUNNING, WAITING, OVER = 1, 2, 3, 4
"""The phases of a pass."""

_queue = msgspec.json.Decoder(tuple[str, int])
_queued = msgspec.json.Decoder(list[tuple[str, int, int, int]])
_running = msgspec.json.Decoder(list[tuple[str, int, int, int, int]])
_waiting = msgspec.json.Decoder(list[tuple[str, int, int]])

Run = tuple[str, int, int]
"""Its id (hex), attempt and state."""
_DEEPEST = 1 << 62


class _Queues(msgspec.Struct, array_like=True):
    """A place in the queue: within the runs of one root, task and priority."""

    task: str = ""
    priority: int = -_DEEPEST
    depth: int = _DEEPEST
    id: str = ""


class _Key(msgspec.Struct, array_like=True):
    """A place in an index: worker and run, or run alone."""

    worker: int = -1
    id: str = ""


class Living:
    """One connection's looks at what lives. `shortcut` is called at each level of a queue, with its place: how many it
    has done with, without that they were looked at."""

    def __init__(self, connection: Database, shortcut: Callable[[dict[str, Any], int], int] | None = None) -> None:
        self._execute = connection.execute
        self._shortcut = shortcut
        self._limit = 0
        self.done = 0  # by the shortcut, in the last page

    def _one(self, name: str, /, **bindings: Any) -> Any:
        return self._execute(_SQL[name], bindings).get

    def page(self, root: bytes, phase: int, place: str | None, limit: int) -> tuple[list[Run], int, str | None]:
        """Some that live, and where to go on."""
        self._limit, self.done = limit, 0
        if phase == QUEUED:
            return self._queued(root, msgspec.json.decode(place, type=_Queues) if place else _Queues())
        if phase == RUNNING:
            return self._running(root, msgspec.json.decode(place, type=_Key) if place else _Key())
        return self._waiting(root, bytes.fromhex(place or ""))

    def _queued(self, root: bytes, at: _Queues) -> tuple[list[Run], int, str | None]:
        runs: list[Run] = []
        for _ in range(STEPS):
            if at != _Queues() and self._queue(root, at, runs):
                return runs, QUEUED, encoded(at)
            following = self._one("next_queue", task=at.task, priority=at.priority)
            if following is None:
                return runs, RUNNING, None
            at = _Queues(*_queue.decode(following))
        return runs, QUEUED, encoded(at)

    def _queue(self, root: bytes, at: _Queues, runs: list[Run]) -> bool:
        """What is queued of one root, task and priority, level by level, from `at` on, which moves; whether the page is
        full."""
        here = {"task": at.task, "priority": at.priority, "root": root}
        while len(runs) < self._limit:
            if not at.id and self._shortcut is not None:
                self.done += self._shortcut({**here, "depth": at.depth}, self._limit)
                if self.done >= self._limit:
                    return True  # and there may be more, in the same place
            place = {"depth": at.depth, "id": bytes.fromhex(at.id)}
            page = _queued.decode(self._one("queued_level", **here, **place, limit=self._limit - len(runs)))
            runs += [(id_, attempt, state) for id_, attempt, state, _ in page]
            if len(runs) >= self._limit:
                at.id = runs[-1][0]
                return True
            depth = self._one("next_level", **here, depth=at.depth)
            if depth is None:
                return False
            at.depth, at.id = depth, ""
        return True

    def _running(self, root: bytes, at: _Key) -> tuple[list[Run], int, str | None]:
        page = _running.decode(
            self._one("running_page", root=root, worker=at.worker, id=bytes.fromhex(at.id), limit=self._limit)
        )
        runs = [(id_, attempt, state) for id_, attempt, state, _, ours in page if ours]
        if len(page) < self._limit:
            return runs, WAITING, None
        return runs, RUNNING, encoded(_Key(page[-1][3], page[-1][0]))

    def _waiting(self, root: bytes, after: bytes) -> tuple[list[Run], int, str | None]:
        page = _waiting.decode(self._one("waiting_page", root=root, id=after, limit=self._limit))
        if len(page) < self._limit:
            return page, OVER, None
        return page, WAITING, page[-1][0]
