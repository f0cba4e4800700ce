"""Ending, in bounded steps, what is below something that is closed.

A *pass* goes once through all that lives of one root: what is queued, then what runs, then what waits. It ends all
that is below any gate that was there when it began, and then those gates go. Nothing can slip by it: whatever would
change its state meanwhile (be born, claimed, queued again) looks at the gates itself. The gate that leads the pass
keeps its place, so anybody may go on with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from fanwood.model.records import Swept
from fanwood.store.sqlite.leaving import Leaving, encoded
from fanwood.store.statements import load

if TYPE_CHECKING:
    from fanwood.store.sqlite.driver import Database

_SQL = load("sqlite/sweeping.sql")

FEWEST, MOST = 100, 400
"""Runs that one transaction looks at: as many as can be done while commits hardly wait for it."""
PATIENCE = 0.0025
"""Seconds that one transaction should take."""
LEAST = 30
"""What a page without any counts for."""
STEPS = 32
"""Empty queues that it passes by at most."""
QUEUED, RUNNING, WAITING, OVER = 1, 2, 3, 4
"""The phases of a pass."""

_gate = msgspec.json.Decoder(tuple[str, str, str])
_pass = msgspec.json.Decoder(tuple[int, str | None])
_queue = msgspec.json.Decoder(tuple[str, int])
_queued = msgspec.json.Decoder(list[tuple[str, int, int, int]])
_running = msgspec.json.Decoder(list[tuple[str, int, int, int, int]])
_waiting = msgspec.json.Decoder(list[tuple[str, int, int]])

Run = tuple[str, int, int]
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


class Sweeping:
    """One connection's sweeps, inside transactions that the caller begins."""

    def __init__(self, connection: Database, leaving: Leaving) -> None:
        self._execute = connection.execute
        self._leaving = leaving
        self._page_size = FEWEST
        self._now = 0
        self._done = 0  # that have ended while the page was looked for

    def note(self, seconds: float) -> None:
        """So long a page took: the next one is made larger or smaller."""
        more, less = min(MOST, self._page_size * 5 // 4), max(FEWEST, self._page_size * 3 // 4)
        self._page_size = more if seconds < PATIENCE else less

    def _one(self, name: str, /, **bindings: Any) -> Any:
        return self._execute(_SQL[name], bindings).get

    def sweep(self, now: int, root: bytes | None) -> Swept:
        """One page of the oldest pass, of all roots or of one."""
        found = self._one("oldest_gate") if root is None else self._one("oldest_gate_of", root=root)
        if found is None:
            return Swept(0, more=False)
        oldest, of, lead = _gate.decode(found)
        root = bytes.fromhex(of)
        if not lead or (at := self._one("read_pass", lead=bytes.fromhex(lead))) is None:
            lead = oldest
            self._execute(_SQL["begin_pass"], {"lead": bytes.fromhex(lead), "root": root})
            phase, place = QUEUED, None
        else:
            phase, place = _pass.decode(at)
        ended, left, self._now = 0, self._page_size, now
        while left > 0 and phase != OVER:  # a small tree is done with at once
            self._done = 0
            runs, phase, place = self._page(root, phase, place)
            ended += self._done + len(self._leaving.end_closed(now, runs))
            left -= max(LEAST, self._done + len(runs))
        if phase == OVER:
            self._execute(_SQL["end_pass"], {"lead": bytes.fromhex(lead), "root": root})
        else:
            self._execute(_SQL["note_pass"], {"lead": bytes.fromhex(lead), "phase": phase, "place": place})
        return Swept(ended, more=phase != OVER or self._leaving.gated)

    def _page(self, root: bytes, phase: int, place: str | None) -> tuple[list[Run], int, str | None]:
        """Some that live, and where to go on."""
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
        while len(runs) < self._page_size:
            if not at.id:
                self._done += self._leaving.end_children(self._now, {**here, "depth": at.depth}, self._page_size)
                if self._done >= self._page_size:
                    return True  # and there may be more, in the same place
            place = {"depth": at.depth, "id": bytes.fromhex(at.id)}
            page = _queued.decode(self._one("queued_level", **here, **place, limit=self._page_size - len(runs)))
            runs += [(id_, attempt, state) for id_, attempt, state, _ in page]
            if len(runs) >= self._page_size:
                at.id = runs[-1][0]
                return True
            depth = self._one("next_level", **here, depth=at.depth)
            if depth is None:
                return False
            at.depth, at.id = depth, ""
        return True

    def _running(self, root: bytes, at: _Key) -> tuple[list[Run], int, str | None]:
        page = _running.decode(
            self._one("running_page", root=root, worker=at.worker, id=bytes.fromhex(at.id), limit=self._page_size)
        )
        runs = [(id_, attempt, state) for id_, attempt, state, _, ours in page if ours]
        if len(page) < self._page_size:
            return runs, WAITING, None
        return runs, RUNNING, encoded(_Key(page[-1][3], page[-1][0]))

    def _waiting(self, root: bytes, after: bytes) -> tuple[list[Run], int, str | None]:
        page = _waiting.decode(self._one("waiting_page", root=root, id=after, limit=self._page_size))
        if len(page) < self._page_size:
            return page, OVER, None
        return page, WAITING, page[-1][0]
