"""Outputs by hand, in memory: see `store/patching.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood.model.commands import FIRST_CHUNK
from fanwood.model.states import EndedBy, RunState
from fanwood.store.failures import ancestor_ended
from fanwood.store.memory.leaving import ALL, Ending
from fanwood.store.memory.tables import Line, Run, check_values
from fanwood.store.patching import Patching, patched_line, refused
from fanwood.store.pausing import must_have_code

if TYPE_CHECKING:
    from collections.abc import Callable

    from fanwood.store.memory.memory import Memory


class MemoryPatching(Patching):
    """The verb, on a store that has a memory."""

    url: str
    _memory: Memory
    _user: int
    _on_notify: Callable[[], None]

    def _run(self, run_id: bytes) -> Run:
        raise NotImplementedError

    async def patch(self, run_id: bytes, output: str, by: str) -> RunState:
        check_values(self.url, (output, by))
        memory = self._memory
        with memory.transaction(self._user) as now:
            run = self._run(run_id)
            must_have_code(run_id, run.kind, "patched")
            state, above = RunState(run.state), memory.tables.runs.get(run.parent_id or b"")
            if state is RunState.COMPLETED and above is not None and not above.is_over:
                raise refused(run_id, run.parent_id)
            lines = memory.tables.logs.setdefault(run_id, {})
            seq = max((number for number in lines if number < FIRST_CHUNK), default=-1) + 1
            said = patched_line(by, state, run.output or run.error)
            lines[max(seq, 0)] = Line(run_id, max(seq, 0), run.attempt, now, "info", said)
            if state.is_terminal:
                how = {"output": output, "error": None, "ended_by": int(EndedBy.PATCH)}
                memory.tables.change(run, state=int(RunState.COMPLETED), **how)
            else:
                self._end_patched(run, state, output, now)
        self._on_notify()
        return state

    def _end_patched(self, run: Run, state: RunState, output: str, now: int) -> None:
        leaving = self._memory.hot.leaving
        leaving.end(0, now, [Ending(run.id, run.attempt, state, RunState.COMPLETED, output, None, EndedBy.PATCH)])
        closed = leaving.close(now, run.id, ALL, run.attempt, ancestor_ended(run.id, "was patched"))
        if closed or state is RunState.RUNNING:
            self._memory.chores.tell_workers(run, now)
