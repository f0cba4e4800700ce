"""What is known of one tree: its pieces, read one by one, and their sums."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood.lens.paths import Paths
from fanwood.lens.pieces import Family, Piece, Sizes, small
from fanwood.model.looks import FIRST_ID, LAST_ID, Cell, Part, duration_class
from fanwood.model.states import FIRST_TERMINAL, FIRST_WAIT, RunState
from fanwood.store.looks import MOST

if TYPE_CHECKING:
    from fanwood.lens.paths import Path
    from fanwood.model.looks import ParentRow
    from fanwood.model.records import RunRecord
    from fanwood.store.store import Store

BINS = 512
"""Bins of time that a tree has, at most; at least half as many."""
FINEST = 10
"""Bins are not narrower than a millisecond."""


class Tree:
    """The pieces of one tree. Which of them are read, and when, is not decided here."""

    def __init__(self, root: RunRecord, now: int, sizes: Sizes) -> None:
        self.root = root
        self._sizes = sizes
        self.paths = Paths(root.task)
        self.shift = max(FINEST, (max(1, now - root.created_at)).bit_length() - BINS.bit_length() + 1)
        self.families: dict[bytes, Family] = {}
        self.pieces: list[Piece] = []  # parents' before their children's
        self.last_end = 0
        self._small: dict[bytes, Piece] = {}  # by parent
        self._filling: dict[tuple[int, int], Piece] = {}  # by path and depth: more families find room in it
        self._root_cell: Cell | None = None
        self._see_root(root)
        self._add_family(root.id, self.paths.root, 1, growing=True, attempt=root.attempt)

    # --- the root --------------------------------------------------------------------------------------------------

    def see(self, root: RunRecord, now: int) -> bool:
        """What the root is by now; whether that is something else."""
        while (now - root.created_at) >> self.shift >= BINS and not root.state.is_terminal:
            self.shift += 1
            for path in self.paths.all:
                path.coarsen()
        before, self.root = self.root, root
        changed = before != root
        if changed:
            self._see_root(root)
        family = self.families[root.id]
        self._heed(family, root.attempt, growing=not root.state.is_terminal)
        return changed

    def _see_root(self, root: RunRecord) -> None:
        if self._root_cell is not None:
            self.paths.root.add(self._root_cell, 0, -1, self.shift - self._root_shift)
        self._root_cell, self._root_shift = cell_of(root, self.shift), self.shift
        self.paths.root.add(self._root_cell, 0, 1, 0)
        self.last_end = max(self.last_end, root.finished_at or 0)

    @property
    def living(self) -> bool:
        """Whether anything of it has not ended, as far as is known."""
        return not self.root.state.is_terminal or any(piece.living for piece in self.pieces)

    # --- pieces ----------------------------------------------------------------------------------------------------

    async def read(self, store: Store, piece: Piece) -> tuple[bool, list[Piece]]:
        """Read a piece; whether it has changed, and pieces that are new by that."""
        now = store.now()
        cells = await store.cube(piece.part, self.shift)
        count = sum(cell.count for cell in cells)
        new = await self._cut(store, piece, count)
        if new and count > self._sizes.segment:
            cells = await store.cube(piece.part, self.shift)
        changed = self._take(piece, cells, now)
        for row in await self._parents(store, piece):
            if (added := self._parent(row, piece)) is not None and added not in new:
                new.append(added)
        growing = piece.family.grows_at(piece) if piece.family is not None else bool(piece.busy_parents)
        piece.is_sealed = not piece.living and not growing
        return changed, new

    async def _cut(self, store: Store, piece: Piece, count: int) -> list[Piece]:
        """If a piece has become too large, the others that it falls into."""
        part, family = piece.part, piece.family
        if family is None:
            if count < MOST and (count <= 2 * self._sizes.segment or part.count == 1):
                return []
            return [self._halve(piece)] if part.count > 1 else []
        is_tail = part.until == LAST_ID
        if count < (self._sizes.segment if is_tail else 2 * self._sizes.segment):
            return []
        end = await store.segment_end(part.root, part.parents, part.after, self._sizes.segment)
        if end is None or end >= part.until:
            return []
        rest = family.cut(piece, end)
        self.pieces.append(rest)
        return [rest]

    def _halve(self, piece: Piece) -> Piece:
        part = piece.part
        middle = part.count // 2 * 16
        other = small(part.root, piece.path, piece.depth)
        piece.part, other.part = Part(part.root, part.parents[:middle]), Part(part.root, part.parents[middle:])
        for id_ in _ids(other.part):
            self._small[id_] = other
        other.busy_parents = {id_ for id_ in piece.busy_parents if self._small[id_] is other}
        piece.busy_parents -= other.busy_parents
        self.pieces.append(other)
        return other

    def _take(self, piece: Piece, cells: list[Cell], now: int) -> bool:
        """These are its runs, from now on."""
        piece.as_of = now
        if piece.shift == self.shift and sorted(cells, key=_order) == sorted(piece.cells, key=_order):
            return False
        for cell in piece.cells:
            self.paths.below(piece.path, cell.task).add(cell, piece.depth, -1, self.shift - piece.shift)
        for cell in cells:
            self.paths.below(piece.path, cell.task).add(cell, piece.depth, 1, 0)
            self.last_end = max(self.last_end, cell.last or 0)
        piece.cells, piece.shift = cells, self.shift
        piece.count = sum(cell.count for cell in cells)
        piece.living = sum(cell.count for cell in cells if cell.state < FIRST_TERMINAL)
        return True

    # --- parents ---------------------------------------------------------------------------------------------------

    async def _parents(self, store: Store, piece: Piece) -> list[ParentRow]:
        """Those of a piece's runs that have children."""
        part = piece.part
        if not piece.count:
            return []
        if piece.family is not None:
            first = await store.next_parent(part.root, part.after, part.until)
            if first is None:
                return []
            part = Part(part.root, part.parents, before(first), part.until)
        return await store.parents(part, self._sizes.few)

    def _parent(self, row: ParentRow, piece: Piece) -> Piece | None:
        """A run has children; the piece that these are in now, if they were in none."""
        growing = row.state < FIRST_TERMINAL
        if (family := self.families.get(row.id)) is not None:
            self._heed(family, row.attempt, growing=growing)
            return None
        path = self.paths.below(piece.path, row.task)
        there = self._small.get(row.id)
        if there is not None and row.size < self._sizes.few:
            if growing:
                there.busy_parents.add(row.id)
                there.is_sealed = False
            else:
                there.busy_parents.discard(row.id)
            return None
        if there is not None:
            self._take_out(row.id, there)
        if row.size >= self._sizes.few:
            return self._add_family(row.id, path, piece.depth + 1, growing=growing, attempt=row.attempt)
        return self._add_small(row, path, piece.depth + 1, growing=growing)

    def _heed(self, family: Family, attempt: int, *, growing: bool) -> None:
        """How a family's parent is: another attempt of it may spawn anywhere."""
        if attempt != family.attempt:
            for segment in family.segments:
                segment.is_sealed = False
        family.attempt, family.is_growing = attempt, growing
        if growing:
            for segment in family.segments[-2:]:
                segment.is_sealed = False

    def _add_family(self, parent: bytes, path: Path, depth: int, *, growing: bool, attempt: int) -> Piece:
        family = Family(parent, path, depth, growing, attempt)
        self.families[parent] = family
        piece = family.first(self.root.id)
        self.pieces.append(piece)
        return piece

    def _add_small(self, row: ParentRow, path: Path, depth: int, *, growing: bool) -> Piece:
        """One more family, among others like it."""
        piece = self._filling.get((path.index, depth))
        if piece is None or piece.part.count >= self._sizes.together or piece.size + row.size > self._sizes.segment:
            piece = small(self.root.id, path, depth)
            self._filling[path.index, depth] = piece
            self.pieces.append(piece)
        piece.part = Part(self.root.id, piece.part.parents + row.id)
        piece.size += row.size
        piece.is_sealed = False
        self._small[row.id] = piece
        if growing:
            piece.busy_parents.add(row.id)
        return piece

    def _take_out(self, parent: bytes, piece: Piece) -> None:
        """A family is not small any more. (What was read of it is still counted, until its piece is read again.)"""
        rest = b"".join(id_ for id_ in _ids(piece.part) if id_ != parent)
        piece.part = Part(self.root.id, rest)
        piece.busy_parents.discard(parent)
        piece.is_sealed = False
        del self._small[parent]


def cell_of(run: RunRecord, shift: int) -> Cell:
    """One run, as a cell."""
    at = run.finished_at or (run.state is RunState.RUNNING and run.started_at) or run.created_at
    took = None if run.finished_at is None or run.started_at is None else run.finished_at - run.started_at
    class_ = -1 if took is None else duration_class(took)
    since = {0: run.created_at, 1: run.started_at, 2: run.due_at}.get(int(run.state))
    return Cell(
        run.task, int(run.state), run.kind >= FIRST_WAIT, at >> shift, class_, 1, took or 0, took or 0, run.busy,
        run.finished_at, since,
    )  # fmt: skip


def before(id_: bytes) -> bytes:
    """The greatest id that is less."""
    return (int.from_bytes(id_, "big") - 1).to_bytes(16, "big") if any(id_) else FIRST_ID


def _ids(part: Part) -> list[bytes]:
    return [part.parents[at : at + 16] for at in range(0, len(part.parents), 16)]


def _order(cell: Cell) -> tuple[str, int, bool, int, int]:
    return cell.task, cell.state, cell.is_wait, cell.bin, cell.took
