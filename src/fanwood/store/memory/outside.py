"""What comes to runs from outside, in memory: see `store/outside.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood.model.records import Settled
from fanwood.model.states import RunState
from fanwood.store.outside import Outside
from fanwood.store.parts import must_promise

if TYPE_CHECKING:
    from fanwood.store.memory.memory import Memory
    from fanwood.store.memory.tables import Run


class MemoryOutside(Outside):
    """The verbs, on a store that has a memory."""

    _memory: Memory
    _user: int

    def _run(self, run_id: bytes) -> Run:
        raise NotImplementedError

    async def secret(self) -> str:
        return self._memory.tables.secret

    async def take_secret(self, secret: str) -> None:
        self._memory.tables.secret = secret

    async def settle(self, run_id: bytes, state: RunState, output: str | None, error: str | None) -> Settled:
        leaving = self._memory.hot.leaving
        with self._memory.transaction(self._user) as now:
            run = self._run(run_id)
            must_promise(run_id, run.kind)
            waits = run.state == RunState.WAITING
            if waits and (closed := leaving.closed(run)) is not None:
                return Settled(False, RunState.CANCELLED, None, closed)
            if waits:
                leaving.fulfil(now, run, state, output, error)
            return Settled(waits, RunState(run.state), run.output, run.error)
