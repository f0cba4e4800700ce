"""What is paused in memory: see `store/pausing.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood.model.records import Pause
from fanwood.store.pausing import FIRST, Pausing, must_have_code

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fanwood.store.memory.memory import Memory
    from fanwood.store.memory.tables import Run


class MemoryPausing(Pausing):
    """The verbs, on a store that has a memory."""

    _memory: Memory
    _user: int
    _on_notify: Callable[[], None]

    def _run(self, run_id: bytes) -> Run:
        raise NotImplementedError

    async def pause(self, run_id: bytes, by: str) -> bool:
        memory = self._memory
        with memory.transaction(self._user) as now:
            run = self._run(run_id)
            must_have_code(run_id, run.kind, "paused")
            new = memory.hot.pauses.pause(run, by, now)
            if new:
                memory.chores.tell_workers(run, now)
        self._on_notify()  # our own worker is told as well
        return new

    async def resume(self, run_id: bytes, only: str = "") -> bool:
        with self._memory.transaction(self._user) as now:
            return self._memory.hot.pauses.resume(self._run(run_id), now, only)

    async def pauses(self, ids: Sequence[bytes] = (), after: tuple[int, bytes] = (-1, b"")) -> list[Pause]:
        with self._memory.reading() as tables:
            found = [each for each in tables.pauses.values() if not ids or each.root_id in ids]
        found = sorted(
            (each for each in found if each.resumed_at is None), key=lambda each: (each.made_at, each.run_id)
        )
        found = [each for each in found if (each.made_at, each.run_id) > after]
        return [Pause(each.run_id, each.root_id, each.made_at, each.asked_by) for each in found[:FIRST]]
