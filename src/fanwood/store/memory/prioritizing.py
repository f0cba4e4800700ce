"""Other priorities in memory: see `store/prioritizing.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood.store.memory.tables import check_values
from fanwood.store.pausing import must_have_code
from fanwood.store.prioritizing import Prioritizing

if TYPE_CHECKING:
    from fanwood.store.memory.memory import Memory
    from fanwood.store.memory.tables import Run


class MemoryPrioritizing(Prioritizing):
    """The verb, on a store that has a memory."""

    url: str
    _memory: Memory
    _user: int

    def _run(self, run_id: bytes) -> Run:
        raise NotImplementedError

    async def reprioritize(self, run_id: bytes, priority: int, by: str) -> int:
        check_values(self.url, by)
        with self._memory.transaction(self._user) as now:
            run = self._run(run_id)
            must_have_code(run_id, run.kind, "reprioritized")
            return self._memory.hot.urgency.say(run, priority, by, now)
