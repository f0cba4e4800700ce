"""The same done to many runs in memory: see `store/many.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood.errors import RunNotFoundError, UsageError
from fanwood.model.budgets import Overdrawn
from fanwood.model.states import TERMINAL, GateKind
from fanwood.store.many import Came, Deed, Many, must_be_few
from fanwood.store.memory.forking import MemoryForking
from fanwood.store.memory.tables import check_values
from fanwood.store.pausing import must_have_code

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fanwood.store.memory.tables import Run


class MemoryMany(MemoryForking, Many):
    """The verb, on a store that has a memory."""

    async def to_many(self, deed: Deed, ids: Sequence[bytes]) -> list[Came]:
        must_be_few(ids)
        check_values(self.url, (deed.by, *[new.input or "" for new in deed.forks]))
        with self._memory.transaction(self._user) as now:
            came = [self._to_one(deed, number, id_, now) for number, id_ in enumerate(ids)]
        self._on_notify()
        return came

    def _to_one(self, deed: Deed, number: int, run_id: bytes, now: int) -> Came:
        try:
            if deed.what == "fork":
                return Came.DONE if self._forked(deed.forks[number], now) else Came.SAME
            run, hot = self._run(run_id), self._memory.hot
            if deed.what == "cancel":
                return self._cancelled(run, deed.by, now)
            must_have_code(run_id, run.kind, deed.what)
            match deed.what:
                case "replay":
                    return self._replayed(run, deed.allow, now)
                case "pause":
                    new = hot.pauses.pause(run, deed.by, now)
                    if new:
                        self._memory.chores.tell_workers(run, now)
                    return Came.DONE if new else Came.SAME
                case "resume":
                    return Came.FOLLOWS if hot.pauses.resume(run, now) else Came.SAME
                case "reprioritize":
                    hot.urgency.say(run, deed.priority, deed.by, now)
                    return Came.FOLLOWS
        except (RunNotFoundError, UsageError, Overdrawn):
            return Came.NOT

    def _cancelled(self, run: Run, reason: str, now: int) -> Came:
        ended = self._memory.chores.cancel(run, reason, now)
        gate = self._memory.tables.gates.get(run.id)
        if gate is not None and gate.what == GateKind.CLOSED:
            return Came.FOLLOWS
        return Came.DONE if ended else Came.SAME

    def _replayed(self, run: Run, allow: Sequence[int], now: int) -> Came:
        if run.state not in allow or run.state not in TERMINAL:
            return Came.SAME
        if self._memory.chores.is_pruned(run.root_id):
            return Came.NOT
        self._memory.hot.urgency.set([run])
        return Came.DONE if self._memory.chores.replay(run, now) else Came.LATER
