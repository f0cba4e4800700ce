"""Priorities that were given by hand: what is born, or runs again, has them at once; all else that lives, once it was
told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood.model.states import FIRST_WAIT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from fanwood.store.memory.tables import Run, Tables, Urgent


class Ranks:
    """Looks after each transaction. `replayed`: when what had ended ran again."""

    def __init__(self, tables: Tables, replayed: Mapping[bytes, int]) -> None:
        self._tables = tables
        self._replayed = replayed
        self._told: dict[bytes, int] = {}  # of what was told to all below: when it was said

    def settled(self, changed: Iterable[bytes]) -> Iterator[str]:
        """A transaction is over."""
        tables = self._tables
        if not tables.urgent:
            return
        looked = dict.fromkeys(changed)
        for urgent in tables.urgent.values():
            if urgent.place is None and self._told.get(urgent.run_id) != urgent.made_at:
                self._told[urgent.run_id] = urgent.made_at
                looked |= dict.fromkeys(tables.order("living", urgent.root_id))
        for id_ in looked:
            run = tables.runs.get(id_)
            said = None if run is None or run.is_over or run.kind >= FIRST_WAIT else self._last(run)
            if run is None or said is None or run.priority == said.priority:
                continue
            if said.place is None or max(run.created_at, self._replayed.get(id_, -1)) > said.made_at:
                whose = f"{run.task} {id_.hex()[-6:]}"
                yield f"{whose} has the priority {run.priority}, and was given {said.priority}, by {said.asked_by}"

    def _last(self, run: Run) -> Urgent | None:
        """What was said last of it, or of what is above it."""
        said: list[Urgent] = []
        above: Run | None = run
        while above is not None:
            if above.id in self._tables.urgent:
                said.append(self._tables.urgent[above.id])
            above = self._tables.runs.get(above.parent_id or b"")
        return max(said, key=lambda each: each.made_at, default=None)
