"""What is paused in memory: who asks, and how it is queued again once that is over."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from fanwood.model.records import Swept
from fanwood.model.states import RunState, Waits
from fanwood.store.memory.tables import Pause, Run, Tables
from fanwood.store.pausing import MEANWHILE, PAGE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fanwood.store.memory.leaving import Leaving


class Pauses:
    """Those of one memory."""

    def __init__(self, tables: Tables, leaving: Leaving) -> None:
        self._tables = tables
        self._leaving = leaving

    @property
    def any(self) -> bool:
        """Whether anything is paused, anywhere."""
        return any(pause.resumed_at is None for pause in self._tables.pauses.values())

    def above(self, run: Run | None) -> Pause | None:
        """What pauses a run: itself, or the nearest above it."""
        while run is not None and self._tables.pauses:
            pause = self._tables.pauses.get(run.id)
            if pause is not None and pause.resumed_at is None:
                return pause
            run = self._tables.runs.get(run.parent_id or b"")
        return None

    def holds(self, run_id: bytes | None) -> bool:
        """Whether a run is paused."""
        return self.above(self._tables.runs.get(run_id or b"")) is not None

    def hold(self, runs: Iterable[Run]) -> set[bytes]:
        """Of these, which are queued, those wait from now on that are paused; which."""
        held = [run for run in runs if self.above(run) is not None]
        for run in held:
            self._tables.change(run, state=int(RunState.WAITING), waits=int(Waits.RESUME), due_at=None)
        return {run.id for run in held}

    def pause(self, run: Run, by: str, now: int) -> bool:
        """See `Pausing.pause`."""
        before = self._tables.pauses.get(run.id)
        gives_way = before is not None and before.asked_by.endswith(MEANWHILE) and not by.endswith(MEANWHILE)
        if before is not None and before.resumed_at is None and not gives_way:
            return False
        self._tables.pauses[run.id] = Pause(run.id, run.root_id, now, by)
        return True

    def resume(self, run: Run, now: int, only: str = "") -> bool:
        """See `Pausing.resume`."""
        pause = self._tables.pauses.get(run.id)
        if pause is None or pause.resumed_at is not None or not pause.asked_by.endswith(only):
            return False
        pause.resumed_at, pause.place = now, b""
        return True

    def resumed(self, root: bytes | None = None) -> Pause | None:
        """The pause that was taken back first, of all trees or of one."""
        found = [
            (pause.resumed_at, pause.run_id, pause)
            for pause in self._tables.pauses.values()
            if pause.resumed_at is not None and (root is None or pause.root_id == root)
        ]
        return min(found, key=lambda each: each[:2])[2] if found else None

    def release(self, now: int, root: bytes | None) -> Swept:
        """One page of what waits in a tree in which a pause was taken back: what nothing else pauses is queued."""
        pause = self.resumed(root)
        if pause is None:
            return Swept(0, more=False)
        living = self._tables.order("living", pause.root_id).after(pause.place or b"")
        page = [self._tables.runs[id_] for id_ in islice(living, PAGE)]
        self._leaving.promote(now, [run for run in page if run.waits == Waits.RESUME and self.above(run) is None])
        if len(page) == PAGE:
            pause.place = page[-1].id
        else:
            del self._tables.pauses[pause.run_id]
        return Swept(0, more=self.resumed(root) is not None, looked=max(1, len(page)))
