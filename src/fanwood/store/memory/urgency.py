"""Other priorities in memory: who asks, and how what lives hears of them. What is closed keeps the one that it has."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from msgspec.structs import replace

from fanwood.model.commands import FIRST_CHUNK, Spawn
from fanwood.model.records import Swept
from fanwood.store.memory.tables import Line, Run, Tables, Urgent
from fanwood.store.prioritizing import PAGE, reprioritized_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fanwood.model.commands import Record, SpawnKind
    from fanwood.store.memory.leaving import Leaving


class Urgency:
    """Those of one memory."""

    def __init__(self, tables: Tables, leaving: Leaving) -> None:
        self._tables = tables
        self._leaving = leaving

    def last(self, run_id: bytes | None) -> int | None:
        """What was said last of a run, or of what is above it."""
        said: list[tuple[int, int]] = []
        run = self._tables.runs.get(run_id or b"") if self._tables.urgent else None
        while run is not None:
            found = self._tables.urgent.get(run.id)
            if found is not None:
                said.append((found.made_at, found.priority))
            run = self._tables.runs.get(run.parent_id or b"")
        return max(said)[1] if said else None

    # --- births ----------------------------------------------------------------------------------------------------

    def spare(self, born: Iterable[Spawn | Record]) -> None:
        """What is born below these has their priority; if it was sent with another one, it is claimed as others are."""
        kinds: dict[int, SpawnKind] = {}  # one for each: siblings are told by theirs
        for each in born if self._tables.urgent else ():
            said = self.last(each.kind.parent_id)
            if said is not None and said != each.kind.priority:
                number = id(each.kind)
                kinds[number] = kinds.get(number) or replace(each.kind, priority=said)
                each.kind = kinds[number]
                if isinstance(each, Spawn):
                    each.claimed = False

    def set(self, runs: Iterable[Run]) -> None:
        """These have the priorities from now on that were said last."""
        for run in runs if self._tables.urgent else ():
            said = self.last(run.id)
            if said is not None and said != run.priority:
                self._tables.change(run, priority=said)

    # --- what lives ------------------------------------------------------------------------------------------------

    def say(self, run: Run, priority: int, by: str, now: int) -> int:
        """See `Prioritizing.reprioritize`."""
        before, urgent = run.priority, self._tables.urgent
        last = max((each.made_at for each in urgent.values() if each.root_id == run.root_id), default=-1)
        urgent[run.id] = Urgent(run.id, run.root_id, priority, max(now, last + 1), by, b"")
        if self._leaving.closed(run) is None:
            self._tables.change(run, priority=priority)
        lines = self._tables.logs.setdefault(run.id, {})
        seq = max((number for number in lines if 0 <= number < FIRST_CHUNK), default=-1) + 1
        lines[seq] = Line(run.id, seq, run.attempt, now, "info", reprioritized_line(by, before, priority))
        return before

    def open(self, root: bytes | None = None) -> Urgent | None:
        """What was said first, and not told to all below yet: of all trees, or of one."""
        found = [each for each in self._tables.urgent.values() if each.place is not None]
        found = [each for each in found if root is None or each.root_id == root]
        return min(found, key=lambda each: (each.made_at, each.run_id), default=None)

    def tell(self, now: int, root: bytes | None) -> tuple[Swept, Run | None]:
        """One page of a tree: what is closed ends. If it was the last one, whose workers are to hear of it."""
        found, done = self.open(root), None
        if found is None:
            return Swept(0, more=False), None
        place = (found.place or b"")[:16], (found.place or b"")[16:]
        page = list(islice(self._tables.order("below", found.root_id).after(place), PAGE))
        living = [run for _, id_ in page if not (run := self._tables.runs[id_]).is_over]
        self._leaving.end_closed(now, living)  # and with these others may
        self.set(run for id_ in [run.id for run in living] if not (run := self._tables.runs[id_]).is_over)
        found.place = b"".join(page[-1]) if len(page) == PAGE else None
        if found.place is None and self._tables.runs[found.run_id].attempt > 0:  # else nothing of it was ever claimed
            done = self._tables.runs[found.run_id]
        return Swept(0, more=self.open(root) is not None, looked=max(1, len(page))), done
