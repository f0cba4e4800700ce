"""A tree in pieces, each of which one look reads: segments of families, and small families together."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fanwood.model.looks import FIRST_ID, LAST_ID, SEGMENT, Part
from fanwood.model.states import FIRST_TERMINAL, RunState
from fanwood.store.looks import FEW

if TYPE_CHECKING:
    from fanwood.lens.paths import Path
    from fanwood.model.looks import Cell


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of pieces. `segment`: runs of one; `few`: families are measured so far where their parents are found, and those
    that are no smaller are measured again, up to `medium`; what is larger has segments of its own; `together`: other
    families that are read together, at most."""

    segment: int = SEGMENT
    few: int = FEW
    medium: int = SEGMENT // 4
    together: int = 500


@dataclass(slots=True, eq=False)
class Piece:
    """A part of a tree, and what was read of it. `path` is that of its parents, `depth` of its runs."""

    part: Part
    path: Path
    depth: int
    family: Family | None = None  # whose segment it is; None: it is of small families
    cells: list[Cell] = field(default_factory=list["Cell"])
    shift: int = 0  # of the cells
    as_of: int = 0
    reads: int = 0
    count: int = 0
    living: int = 0  # of its runs: have not ended
    is_sealed: bool = False  # it need not be read again
    busy_parents: set[bytes] = field(default_factory=set[bytes])  # of small families: those that have not ended
    size: int = 0  # of small families: about how many children
    longest: dict[str, int] = field(default_factory=dict[str, int])  # that a run took, by task
    below: list[Piece] = field(default_factory=list["Piece"])  # where the small families of its runs are

    def take(self, cells: list[Cell], shift: int) -> None:
        """What was read of it."""
        self.cells, self.shift = cells, shift
        self.count = sum(cell.count for cell in cells)
        self.living = sum(cell.count for cell in cells if cell.state < FIRST_TERMINAL)

        self.longest = {}
        for cell in cells:
            if cell.took >= 0 and not cell.is_wait and cell.longest >= self.longest.get(cell.task, 0):
                self.longest[cell.task] = cell.longest

    def has(self, state: RunState) -> bool:
        """Whether any of its runs is in a state."""
        return any(cell.state == state for cell in self.cells)

    @property
    def due(self) -> int | None:
        """When the first of its WAITING runs is due."""
        found = (cell.since for cell in self.cells if cell.state == RunState.WAITING and cell.since is not None)
        return min(found, default=None)

    @property
    def ids(self) -> list[bytes]:
        """Its parents."""
        parents = self.part.parents
        return [parents[at : at + 16] for at in range(0, len(parents), 16)]


@dataclass(slots=True, eq=False)
class Family:
    """The children of one run, if they are many."""

    parent: bytes
    path: Path
    depth: int
    is_growing: bool  # the parent has not ended
    attempt: int
    segments: list[Piece] = field(default_factory=list[Piece])

    def first(self, root: bytes) -> Piece:
        """The first segment, which is the last as well."""
        piece = Piece(Part(root, self.parent), self.path, self.depth, self)
        self.segments.append(piece)
        return piece

    def cut(self, piece: Piece, end: bytes) -> Piece:
        """A segment ends here; that which comes after it."""
        part = piece.part
        piece.part = Part(part.root, part.parents, part.after, end)
        rest = Piece(
            Part(part.root, part.parents, end, part.until), self.path, self.depth, self, below=list(piece.below)
        )
        self.segments.insert(self.segments.index(piece) + 1, rest)
        return rest

    def grows_at(self, piece: Piece) -> bool:
        """Whether runs may still be spawned into it: ids may be committed out of their order, but not by far."""
        return self.is_growing and (piece.part.until == LAST_ID or piece in self.segments[-2:])

    def segment_of(self, run_id: bytes) -> Piece:
        """Where a child is."""
        return self.segments[bisect_left(self.segments, run_id, key=lambda piece: piece.part.until)]


def small(root: bytes, path: Path, depth: int) -> Piece:
    """Small families, none yet."""
    return Piece(Part(root, b"", FIRST_ID, LAST_ID), path, depth)
