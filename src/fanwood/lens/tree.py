"""What is known of one tree: its pieces, read one by one, and their sums."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from fanwood.lens.paths import Paths
from fanwood.lens.pieces import Family, Piece, Sizes, small
from fanwood.model.looks import FIRST_ID, LAST_ID, LATE, Cell, Part, before, duration_class
from fanwood.model.states import FIRST_TERMINAL, FIRST_WAIT, RunState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fanwood.lens.paths import Path
    from fanwood.model.looks import ParentRow, Running
    from fanwood.model.records import RunRecord
    from fanwood.store.store import Store

BINS = 512
"""Bins of time that a tree has, at most; at least half as many."""
FINEST = 10
"""Bins are not narrower than a millisecond."""
MEASURED = 16
"""Larger families that are measured together."""
LATER = 1 << 62
PROBED = 8
"""So many looks at what has not changed, and then one whether it has children."""


class Asked(NamedTuple):
    """A segment that is being read, as it was when it was asked for."""

    piece: Piece
    part: Part
    shift: int
    at: int
    answer: asyncio.Future[tuple[list[Cell], list[ParentRow]]]

    def give_up(self) -> None:
        """Nobody wants to know, nor hear of what went wrong."""
        self.answer.cancel()
        self.answer.add_done_callback(lambda answer: answer.cancelled() or answer.exception())


class Tree:
    """The pieces of one tree. Which of them are read, and when, is not decided here."""

    def __init__(self, root: RunRecord, now: int, sizes: Sizes) -> None:
        self.root = root
        self._sizes = sizes
        self.paths = Paths(root.task)
        spent = max(1, (root.finished_at or now) - root.created_at)
        self.shift = max(FINEST, spent.bit_length() - BINS.bit_length() + 1)
        self.families: dict[bytes, Family] = {}
        self.pieces: list[Piece] = []  # parents' before their children's
        self.last_end = 0
        self._small: dict[bytes, Piece] = {}  # by parent, where anything has not ended
        self._filling: dict[tuple[int, int], Piece] = {}  # by path and depth: more families find room in it
        self._childless = (LAST_ID, FIRST_ID, 0)  # between which runs none had children, and when that was asked
        self._root_cell: Cell | None = None
        self._root_shift = self.shift
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
        if before != root:
            self._see_root(root)
        self._heed(self.families[root.id], root.attempt, growing=not root.state.is_terminal)
        return before != root

    def _see_root(self, root: RunRecord) -> None:
        if self._root_cell is not None:
            self.paths.root.add(self._root_cell, 0, -1, self.shift - self._root_shift)
        self._root_cell, self._root_shift = cell_of(root, self.shift), self.shift
        self.paths.root.add(self._root_cell, 0, 1, 0)
        self.last_end = max(self.last_end, root.finished_at or 0)

    @property
    def is_living(self) -> bool:
        """Whether anything of it has not ended, as far as is known."""
        return not self.root.state.is_terminal or any(piece.living for piece in self.pieces)

    @property
    def oldest_queued(self) -> int | None:
        """Since when."""
        found = [
            cell.since
            for piece in self.pieces
            if piece.living
            for cell in piece.cells
            if cell.state == RunState.QUEUED and cell.since is not None
        ]
        return min([self.root.created_at, *found] if self.root.state is RunState.QUEUED else found, default=None)

    @property
    def size(self) -> int:
        """Bytes that it takes, or about that."""
        cells = sum(len(piece.cells) for piece in self.pieces) + sum(len(path.sums) for path in self.paths.all)
        return 300 * cells + 1_000 * len(self.pieces) + 200 * len(self._small)

    # --- pieces ----------------------------------------------------------------------------------------------------

    async def read(self, store: Store, piece: Piece) -> tuple[bool, list[Piece]]:
        """Read a piece; whether it has changed, and pieces that are new by that."""
        new = await self._grown(store, piece)
        now, cells = store.now(), await store.cube(piece.part, self.shift)
        changed, rest = await self._taken(store, piece, cells, now)
        return changed, [*new, *(added for added in rest if added not in new)]

    async def ask(self, store: Store, piece: Piece) -> tuple[Asked, list[Piece]]:
        """Ask for a segment that was never read: it is read while others are taken in. And pieces that are new."""
        new = await self._grown(store, piece)
        part, shift = piece.part, self.shift

        async def look() -> tuple[list[Cell], list[ParentRow]]:
            cells = await store.cube(part, shift)
            return cells, await self._parents_at_first(store, part, cells) if cells else []

        return Asked(piece, part, shift, store.now(), asyncio.ensure_future(look())), new

    async def take(self, store: Store, asked: Asked) -> tuple[bool, list[Piece]]:
        """What a segment that was asked for is; as `read`."""
        cells, parents = await asked.answer
        if asked.shift != self.shift or asked.part != asked.piece.part:  # it is another one by now
            return await self.read(store, asked.piece)
        return await self._taken(store, asked.piece, cells, asked.at, parents)

    async def _grown(self, store: Store, piece: Piece) -> list[Piece]:
        """If it may be several segments by now, those that come after it."""
        new = list[Piece]()
        if (family := piece.family) is not None and (not piece.reads or self._grows_on(family, piece)):
            while piece in family.segments[-2:] and (rest := await self._cut(store, family.segments[-1])):
                new += rest  # so far ahead that it is known whether anything may still be spawned here
        return new

    async def _taken(
        self, store: Store, piece: Piece, cells: list[Cell], now: int, parents: list[ParentRow] | None = None
    ) -> tuple[bool, list[Piece]]:
        """`parents`: those of its runs that have children, if they were asked for."""
        new = list[Piece]()
        if self._is_large(piece, sum(cell.count for cell in cells)):
            new += await self._cut(store, piece)
            cells, parents = await store.cube(piece.part, self.shift), None
        was_sealed, changed = piece.is_sealed, self._take(piece, cells, now)
        if changed or was_sealed or piece.reads % PROBED == 0:
            rows = await self._parents(store, piece) if parents is None else parents
            new += [added for added in await self.add_parents(store, rows, piece) if added not in new]
        piece.reads += 1
        growing = piece.family.grows_at(piece) if piece.family is not None else bool(piece.busy_parents)
        self._seal(piece, sealed=not piece.living and not growing)
        return changed, new

    def _grows_on(self, family: Family, piece: Piece) -> bool:
        """Whether it is the end of a family that grows, and may be several segments by now: each is read by itself, and
        not all of them first."""
        return family.is_growing and piece.part.until == LAST_ID and piece.count >= self._sizes.few

    def _is_large(self, piece: Piece, count: int) -> bool:
        is_tail = piece.family is not None and piece.part.until == LAST_ID
        return count > self._sizes.segment * (1 if is_tail else 2)

    def _seal(self, piece: Piece, *, sealed: bool) -> None:
        if piece.is_sealed != sealed and piece.family is None:
            for id_ in piece.ids:
                if sealed:
                    self._small.pop(id_, None)
                else:
                    self._small[id_] = piece
        piece.is_sealed = sealed

    async def _cut(self, store: Store, piece: Piece) -> list[Piece]:
        """If a piece is too large, the others that it falls into."""
        part, family = piece.part, piece.family
        if family is not None:
            end = await store.segment_end(part.root, part.parents, part.after, self._sizes.segment)
            if end is None or end >= part.until:
                return []
            rest = family.cut(piece, end)
        elif part.count > 1:
            rest = self._halve(piece)
        else:
            growing = bool(piece.busy_parents)
            self._take_out(part.parents, piece)
            alone = self._add_family(part.parents, piece.path, piece.depth, growing=growing, attempt=0)
            alone.below = list(piece.below)  # what is known of its runs' families is not read as something new
            return [alone]
        self.pieces.append(rest)
        return [rest]

    def _halve(self, piece: Piece) -> Piece:
        part, middle = piece.part, piece.part.count // 2 * 16
        other = small(part.root, piece.path, piece.depth)
        piece.part, other.part = Part(part.root, part.parents[:middle]), Part(part.root, part.parents[middle:])
        moved = other.ids
        self._small.update(dict.fromkeys(moved, other))
        other.busy_parents = piece.busy_parents.intersection(moved)
        piece.busy_parents -= other.busy_parents
        piece.size = other.size = self._sizes.segment
        other.below = list(piece.below)
        for above in self.pieces:
            if piece in above.below:
                above.below.append(other)
        return other

    def _take(self, piece: Piece, cells: list[Cell], now: int) -> bool:
        """These are its runs, from now on; whether they are others."""
        piece.as_of = now
        if piece.shift == self.shift and sorted(cells, key=_order) == sorted(piece.cells, key=_order):
            return False
        for cell in piece.cells:
            self.paths.below(piece.path, cell.task).add(cell, piece.depth, -1, self.shift - piece.shift)
        for cell in cells:
            self.paths.below(piece.path, cell.task).add(cell, piece.depth, 1, 0)
            self.last_end = max(self.last_end, cell.last or 0)
        piece.take(cells, self.shift)
        return True

    def place_of(self, parent: bytes | None, run_id: bytes) -> Piece | None:
        """The piece that a run is in, if that is known."""
        if parent is None:
            return None
        family = self.families.get(parent)
        return self._small.get(parent) if family is None else family.segment_of(run_id)

    def sealed_place_of(self, parent: bytes) -> Piece | None:
        """As that, among all small families that have ended: takes a while."""
        for piece in self.pieces:
            if piece.family is None and piece.is_sealed:
                at = piece.part.parents.find(parent)
                while at >= 0 and at % 16:
                    at = piece.part.parents.find(parent, at + 1)
                if at >= 0:
                    return piece
        return None

    def unit_of(self, parent: bytes) -> Piece | None:
        """Where a run's children are, if they are few, and are not known to have ended."""
        return self._small.get(parent)

    def unseal(self, piece: Piece) -> None:
        """Something of it has not ended after all."""
        self._seal(piece, sealed=False)

    # --- parents ---------------------------------------------------------------------------------------------------

    async def _parents(self, store: Store, piece: Piece) -> list[ParentRow]:
        """Those of a piece's runs that have children."""
        if not piece.count:
            return []
        if piece.family is not None:
            return await self._parents_of(store, piece.part)
        return await store.parents(piece.part, self._sizes.few)

    async def _parents_of(self, store: Store, part: Part) -> list[ParentRow]:
        """The same, of a segment."""
        first = await self._first_parent(store, part)
        if first is None:
            return []
        return await store.parents(Part(part.root, part.parents, before(first), part.until), self._sizes.few)

    async def _parents_at_first(self, store: Store, part: Part, cells: Sequence[Cell]) -> list[ParentRow]:
        """The same, of one that is read for the first time. One seek says of all segments up to the next parent that
        they have none, as far as their runs had all ended by then."""
        since, until, asked_at = self._childless
        ended = max((cell.last or LATER for cell in cells), default=0)
        if since <= part.after and part.until < until and ended < asked_at - LATE:
            return []
        asked_at = store.now()
        first = await self._first_parent(store, Part(part.root, part.parents, part.after))
        self._childless = part.after, first or LAST_ID, asked_at
        if first is None or first > part.until:
            return []
        return await store.parents(Part(part.root, part.parents, before(first), part.until), self._sizes.few)

    @staticmethod
    async def _first_parent(store: Store, part: Part) -> bytes | None:
        """The first run of a segment, or about there, that has children. (Before a family's first run is its parent,
        which has some.)"""
        first = await store.next_parent(part.root, part.after, part.until)
        if first is not None and first == part.parents:
            first = await store.next_parent(part.root, first, part.until)
        return first

    async def add_parents(self, store: Store, rows: Sequence[ParentRow], piece: Piece) -> list[Piece]:
        """Some runs of a piece have children; pieces that are new by that."""
        known = {id_: unit for unit in piece.below for id_ in unit.ids}
        fresh: list[ParentRow] = []
        for row in rows:
            growing = row.state < FIRST_TERMINAL
            if (family := self.families.get(row.id)) is not None:
                self._heed(family, row.attempt, growing=growing)
            elif (unit := known.get(row.id)) is None:
                fresh.append(row)
            elif growing:
                unit.busy_parents.add(row.id)
                self.unseal(unit)
            else:
                unit.busy_parents.discard(row.id)
        found: list[Piece] = []
        for row in await self._measured(store, fresh):
            path, growing = self.paths.below(piece.path, row.task), row.state < FIRST_TERMINAL
            if row.size > self._sizes.medium:
                added = self._add_family(row.id, path, piece.depth + 1, growing=growing, attempt=row.attempt)
            else:
                added = self._add_small(row, path, piece, growing=growing)
            if added not in found:
                found.append(added)
        return found

    async def maybe_parents(self, store: Store, runs: Sequence[Running]) -> list[Running]:
        """Those of these runs that may have children: of a segment one seek tells whether any of its runs has."""
        by_piece: dict[int, tuple[Piece, list[Running]]] = {}
        for run in runs:
            if (piece := self.place_of(run.parent_id, run.id)) is not None:
                by_piece.setdefault(id(piece), (piece, []))[1].append(run)
        found: list[Running] = []
        for piece, some in by_piece.values():
            part = piece.part
            if piece.family is None or len(some) == 1 or await self._first_parent(store, part):
                found += some
        return found

    async def enter(self, store: Store, runs: Sequence[Running]) -> list[Piece]:
        """Those of these runs that have children now; pieces that are new by that."""
        places = {run.id: piece for run in runs if (piece := self.place_of(run.parent_id, run.id)) is not None}
        by_piece: dict[int, list[ParentRow]] = {}
        for row in await store.sizes(self.root.id, list(places), self._sizes.few):
            by_piece.setdefault(id(places[row.id]), []).append(row)
        pieces = {id(piece): piece for piece in places.values()}
        return [new for key, rows in by_piece.items() for new in await self.add_parents(store, rows, pieces[key])]

    async def _measured(self, store: Store, rows: Sequence[ParentRow]) -> list[ParentRow]:
        """With their sizes, as far as these matter."""
        found = [row for row in rows if row.size < self._sizes.few]
        large = [row.id for row in rows if row.size >= self._sizes.few]
        for at in range(0, len(large), MEASURED):
            found += await store.sizes(self.root.id, large[at : at + MEASURED], self._sizes.medium + 1)
        return found

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

    def _add_small(self, row: ParentRow, path: Path, source: Piece, *, growing: bool) -> Piece:
        """One more family, among others like it."""
        depth = source.depth + 1
        piece = self._filling.get((path.index, depth))
        is_full = piece is not None and piece.part.count >= self._sizes.together
        if piece is None or is_full or piece.size + row.size > self._sizes.segment:
            piece = small(self.root.id, path, depth)
            self._filling[path.index, depth] = piece
            self.pieces.append(piece)
        piece.part = Part(self.root.id, piece.part.parents + row.id)
        piece.size += row.size
        self._small[row.id] = piece
        self.unseal(piece)
        if growing:
            piece.busy_parents.add(row.id)
        if piece not in source.below:
            source.below.append(piece)
        return piece

    def _take_out(self, parent: bytes, piece: Piece) -> None:
        """A family is not small any more: nothing is left of the piece."""
        piece.part = Part(self.root.id, b"")
        piece.busy_parents.clear()
        self._small.pop(parent, None)


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


def _order(cell: Cell) -> tuple[str, int, bool, int, int]:
    return cell.task, cell.state, cell.is_wait, cell.bin, cell.took
