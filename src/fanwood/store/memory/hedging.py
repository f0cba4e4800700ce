"""Second runs of what takes too long, whose end counts for the first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from fanwood.model.states import EndedBy, RunState, Waits
from fanwood.store.expiry import expiry
from fanwood.store.failures import ancestor_ended
from fanwood.store.hedging import NOT_NEEDED, OVERTAKEN
from fanwood.store.memory.leaving import ALL, Ending

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fanwood.model.commands import Hedge, Spawn
    from fanwood.store.memory.leaving import Leaving
    from fanwood.store.memory.tables import Run, Tables


class Hedging:
    """Of one memory."""

    def __init__(self, tables: Tables, leaving: Leaving) -> None:
        self._tables = tables
        self._leaving = leaving
        leaving.helped = self.ended

    def born(self, now: int, hedges: Iterable[Hedge], born: Callable[[Spawn], Run]) -> None:
        """Of those whose firsts live, and have none."""
        for hedge in hedges:
            first = self._tables.runs.get(hedge.target)
            if first is None or first.is_over or first.id in self._tables.hedged:
                continue
            if not self._leaving.budgets.takes(hedge.spawn):
                continue  # the first goes on without one
            due, kind = now + hedge.delay, hedge.spawn.kind
            self._tables.add(
                replace(
                    born(hedge.spawn), state=int(RunState.WAITING), waits=int(Waits.TIME), due_at=due,
                    expires_at=expiry(due, kind.schedule_timeout, kind.deadline), awaits=first.id,
                    budget=self._leaving.budgets.of(kind.parent_id),
                )
            )  # fmt: skip
            self._tables.hedge(hedge.spawn.id, first.id)

    def ended(self, now: int, run: Run) -> None:
        """A run has ended: it may be a hedge, or have one."""
        first = self._tables.hedges.get(run.id)
        if first is not None:
            self._tables.unhedge(run.id)
            if run.state == RunState.COMPLETED:
                self._end(now, self._tables.runs[first], RunState.COMPLETED, run.output, None)
        hedge = self._tables.hedged.get(run.id)
        if hedge is not None:
            self._tables.unhedge(hedge)
            self._end(now, self._tables.runs[hedge], RunState.CANCELLED, None, NOT_NEEDED)

    def _end(self, now: int, run: Run, state: RunState, output: str | None, error: str | None) -> None:
        if run.is_over or self._leaving.end_closed(now, [run]):
            return
        self._leaving.woken = True
        self._leaving.end(0, now, [Ending(run.id, run.attempt, run.state, state, output, error, EndedBy.HEDGE)])
        closing = ancestor_ended(run.id, OVERTAKEN if state is RunState.COMPLETED else "was cancelled")
        self._leaving.has_closed |= self._leaving.close(now, run.id, ALL, run.attempt, closing)
