"""Which pieces of a tree are read next: those of which something is known to have happened, then those that may be
claimed from, then the rest by turns."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from fanwood.model.states import RunState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fanwood.lens.pieces import Piece
    from fanwood.lens.tree import Asked, Tree
    from fanwood.model.looks import Running
    from fanwood.store.store import Store

PAGE = 4_096
"""Runs that one look at what is RUNNING reads ..."""
PAGES = 4
"""... and looks of a step."""
PROBED = 500
"""RUNNING runs that are asked at a time whether they have children."""
STRAYS = 20
"""RUNNING runs of unknown places that are looked for, in a step."""
AHEAD = 2
"""Segments that the store is asked for, before the first of them is taken in."""
LEAST = 2
"""Pieces that a step reads, whatever its time."""


class Rounds:
    """The steps in which one tree is read."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._first = deque(tree.pieces)  # never read
        self._turn: deque[Piece] = deque()
        self._news: deque[Piece] = deque()  # something happened to them, or may have
        self._at_hand: set[int] = set()  # which those are
        self._now: set[int] = set()  # what was read in this step: nothing is read twice
        self._again: deque[Piece] = deque()  # sealed, to be looked at once more
        self._verifies = False  # all of those, as fast as may be
        self._running: dict[bytes, Running] = {}
        self._seen: dict[bytes, Running] = {}  # of the present walk through what is RUNNING
        self._at: tuple[int, bytes] = (-1, b"")
        self.read = 0
        self.laps = 0  # how often all was read since it was known

    @property
    def is_cold(self) -> bool:
        """Whether something was never read."""
        return bool(self._first)

    @property
    def done(self) -> float:
        """Of 1."""
        return self.read / (self.read + len(self._first)) if self._first else 1.0

    @property
    def pending(self) -> bool:
        """Whether something of it has not ended, or is to be looked at once more."""
        return bool(self._first) or self._verifies or any(not piece.is_sealed for piece in self._tree.pieces)

    def verify(self, before: int | None = None) -> None:
        """All that was read before a time (None: all of it) is to be read once more, as soon as there is time."""
        self._again = deque(
            piece for piece in self._tree.pieces if piece.is_sealed and (before is None or piece.as_of < before)
        )
        self._verifies = bool(self._again)

    async def step(self, store: Store, is_over: Callable[[], bool]) -> bool:
        """Read on, until it is over; whether anything has changed."""
        self._now.clear()
        changed = await self._read_first(store, is_over)
        if self._first:
            return changed
        await self._look(store)
        changed |= await self._read_news(store, is_over)
        changed |= await self._read_front(store, is_over)
        changed |= await self._read_turn(store, is_over)
        if self._verifies:
            changed |= await self._read_all(store, self._again, is_over)
        elif self._again:
            changed |= await self._read(store, self._again.popleft())
        if not self._again:
            self._verifies = False
            self.laps += 1
            self._again.extend(piece for piece in self._tree.pieces if piece.is_sealed)
        return changed | await self._read_first(store, is_over)

    async def _read(self, store: Store, piece: Piece) -> bool:
        if id(piece) in self._now:
            return False
        changed, new = await self._tree.read(store, piece)
        self._now.add(id(piece))
        self._add_first(new)
        self.read += 1
        return changed

    async def _read_first(self, store: Store, is_over: Callable[[], bool]) -> bool:
        """What was never read. While the store reads one segment, what it said of the one before is taken in."""
        changed, asked, left = False, deque["Asked"](), deque["Piece"]()
        try:
            while asked or (self._first and not is_over()):
                piece = self._first[0] if self._first and not is_over() else None
                alone = piece is not None and (piece.family is None or id(piece) in self._now)
                if piece is None or len(asked) == AHEAD or (asked and alone):
                    changed |= await self._take(store, asked.popleft())
                    left.popleft()
                    continue
                left.append(self._first.popleft())
                if alone:  # small families together, of which all are known by now
                    changed |= await self._read(store, piece)
                    left.pop()
                else:
                    self._now.add(id(piece))
                    one, new = await self._tree.ask(store, piece)
                    asked.append(one)
                    self._add_first(new)
        finally:  # what was not read after all is not forgotten
            self._first.extendleft(reversed(left))
            for one in asked:
                one.give_up()
        return changed

    async def _take(self, store: Store, asked: Asked) -> bool:
        changed, new = await self._tree.take(store, asked)
        self._add_first(new)
        self.read += 1
        return changed

    def _add_first(self, new: Iterable[Piece]) -> None:
        self._first.extend(piece for piece in new if not piece.reads and piece not in self._first)

    async def _read_all(self, store: Store, pieces: deque[Piece], is_over: Callable[[], bool]) -> bool:
        changed = False
        while pieces and not is_over():
            changed |= await self._read(store, pieces.popleft())
        return changed

    async def _read_news(self, store: Store, is_over: Callable[[], bool]) -> bool:
        """What was read in this step already, before it was heard of, waits for the next."""
        changed = False
        for piece in [piece for piece in self._news if id(piece) not in self._now]:
            if is_over():
                break
            changed |= await self._read(store, piece)
            self._news.remove(piece)
            self._at_hand.discard(id(piece))
        return changed

    async def _read_front(self, store: Store, is_over: Callable[[], bool]) -> bool:
        """Where runs are claimed: of each path the first pieces with queued runs, as far as they change."""
        changed = False
        stopped: set[tuple[int, int]] = set()
        for piece in list(self._tree.pieces):
            place = (piece.path.index, piece.depth)
            if place in stopped or id(piece) in self._now or not piece.living or not piece.has(RunState.QUEUED):
                continue
            if is_over():
                break
            different = await self._read(store, piece)
            changed |= different
            if not different:
                stopped.add(place)
        return changed

    async def _read_turn(self, store: Store, is_over: Callable[[], bool]) -> bool:
        """All that has not ended, by turns: each once in a step, at most."""
        if not self._turn:
            self._turn.extend(piece for piece in self._tree.pieces if not piece.is_sealed)
        changed, read = False, 0
        while self._turn and (read < LEAST or not is_over()):
            piece = self._turn.popleft()
            if not piece.is_sealed:
                read += 1
                changed |= await self._read(store, piece)
        return changed

    # --- what happened ---------------------------------------------------------------------------------------------

    async def _look(self, store: Store) -> None:
        """Pieces in which something began or ended to be RUNNING, or is due; and those into which may be spawned."""
        now, tree, strays = store.now(), self._tree, STRAYS
        begun, left = await self._walk(store)
        for run in [*begun, *left]:
            piece = tree.place_of(run.parent_id, run.id)
            if piece is None and strays and run.parent_id is not None:
                strays -= 1
                piece = tree.sealed_place_of(run.parent_id)
            self.heed(piece)
        for piece in tree.pieces:
            if piece.living and piece.due is not None and piece.due <= now:
                self.heed(piece)
        unknown: list[Running] = []
        for run in self._running.values():
            if (family := tree.families.get(run.id)) is not None:
                for piece in family.segments[-2:]:
                    self.heed(piece)
            elif (unit := tree.unit_of(run.id)) is not None:
                self.heed(unit)
            else:
                unknown.append(run)
        unknown = await tree.maybe_parents(store, unknown)
        for at in range(0, min(len(unknown), PAGE), PROBED):
            self._add_first(await tree.enter(store, unknown[at : at + PROBED]))

    def heed(self, piece: Piece | None) -> None:
        """Something has happened there."""
        if piece is not None and id(piece) not in self._at_hand:
            self._tree.unseal(piece)
            self._at_hand.add(id(piece))
            self._news.append(piece)

    async def _walk(self, store: Store) -> tuple[list[Running], list[Running]]:
        """Some pages of what is RUNNING: what is new among it; and, at the end of it, what is not RUNNING any more."""
        begun: list[Running] = []
        for _ in range(PAGES):
            page = await store.running(self._at, PAGE)
            for run in page:
                if run.root_id == self._tree.root.id and run.id != run.root_id:
                    before = self._running.get(run.id)
                    if before is None or before.attempt != run.attempt:
                        begun.append(run)
                    self._seen[run.id] = run
            if len(page) < PAGE:
                left = [run for id_, run in self._running.items() if id_ not in self._seen]
                self._running, self._seen, self._at = self._seen, {}, (-1, b"")
                return begun, left
            self._at = (page[-1].worker_id, page[-1].id)
        self._running |= self._seen
        return begun, []
