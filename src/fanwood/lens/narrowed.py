"""The runs of a tree that a filter lets through, one by one, wherever they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fanwood.lens.briefs import named_briefs
from fanwood.lens.views import RunsPage
from fanwood.model.looks import Part
from fanwood.model.states import RunState

if TYPE_CHECKING:
    from fanwood.lens.lens import Lens
    from fanwood.lens.pieces import Piece
    from fanwood.lens.where import Where
    from fanwood.model.records import RunRecord
    from fanwood.store.store import Store

LOOKS = 100
"""Families that one call looks at; its page may be short then, and not the last."""
AT_ONCE = 500
"""Runs of a family that one look reads, if not all of them fit."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the next page begins: after which run of which parent in which piece."""

    piece: int = 0
    parent: int = 0
    run: bytes = b""

    @classmethod
    def of(cls, text: str | None) -> Place:
        """From what a page said.

        Raises:
            ValueError: it is none.
        """
        if text is None:
            return cls()
        piece, parent, run = text.split("-")
        return cls(int(piece), int(parent), bytes.fromhex(run))

    def __str__(self) -> str:
        return f"{self.piece}-{self.parent}-{self.run.hex()}"


async def narrowed(store: Store, lens: Lens, where: Where, after: str | None, limit: int) -> RunsPage:
    """Piece by piece, those of which the lens knows that something fits.

    Raises:
        ValueError: `after` is no place.
    """
    place, found, looks = Place.of(after), list["RunRecord"](), 0
    for number, piece in lens.pieces_with(where, place.piece):
        parents = piece.ids
        at = place if number == place.piece else Place(number)
        for index in range(at.parent, len(parents)):
            run_id = at.run if index == at.parent else b""
            while True:
                rows = await _rows(store, piece, parents[index], run_id, where)
                looks += 1
                for row in rows:
                    run_id = row.id
                    if lens.fits(row, piece, where):
                        found.append(row)
                    if len(found) == limit:
                        return await _page(store, found, Place(number, index, run_id))
                if len(rows) < AT_ONCE:
                    break
                if looks >= LOOKS:
                    return await _page(store, found, Place(number, index, run_id))
            if looks >= LOOKS:
                return await _page(store, found, Place(number, index + 1))
    return await _page(store, found, None)


async def _rows(store: Store, piece: Piece, parent: bytes, after: bytes, where: Where) -> list[RunRecord]:
    part = piece.part
    state = None if where.state is None else RunState[where.state.upper()]
    bounded = Part(part.root, parent, max(after, part.after), part.until)
    return await store.picked(bounded, where.task, state, AT_ONCE)


async def _page(store: Store, found: list[RunRecord], after: Place | None) -> RunsPage:
    return RunsPage(await named_briefs(store, found), None if after is None else str(after))
