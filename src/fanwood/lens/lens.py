"""The view of one tree, which all who look at it share.

A refresh is one bounded step: it reads pieces of the tree, one short statement each, until it has used up its time;
pieces in which everything has ended are not read again.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING

from fanwood.errors import RunNotFoundError
from fanwood.ids import id_text
from fanwood.lens import picture
from fanwood.lens.briefs import PREVIEW, run_brief, total
from fanwood.lens.failures import Failures
from fanwood.lens.pace import Pace
from fanwood.lens.pieces import Sizes
from fanwood.lens.tree import Tree
from fanwood.lens.views import TreeView
from fanwood.lens.where import Where
from fanwood.model.states import FIRST_TERMINAL, RunState

if TYPE_CHECKING:
    from fanwood.clock import Clock
    from fanwood.lens.pieces import Piece
    from fanwood.model.looks import Part
    from fanwood.store.store import Store

COLD, WARM = 0.2, 0.05
"""Seconds that a refresh may take: the first ones, until everything was read once; and those after."""
PAUSE, SHARE = 0.5, 20
"""Seconds between two refreshes, at least; and so many times what the last one cost."""
CREW = 2.0
"""Seconds after which it is looked who works."""
PAIRS = 10_000
AGAIN = 4
"""Sealed pieces that a round reads again."""
ALL, SIZES = Where(), Sizes()


class Lens:
    """One tree. `epoch` tells two lenses of one tree apart, `version` what one showed when."""

    def __init__(self, root: bytes, clock: Clock, epoch: str = "1", sizes: Sizes = SIZES) -> None:
        self.root = root
        self.epoch = epoch
        self.version = 0
        self._clock = clock
        self._sizes = sizes
        self._tree: Tree | None = None
        self._preview = ""
        self._todo: deque[Piece] = deque()
        self._read = 0  # pieces of the first round
        self.laps = 0  # how often all was read again
        self._lap = 0
        self._cold = True
        self._cost = 0.0
        self._as_of = 0
        self._failures = Failures(root)
        self._failures_left = False
        self._pace = Pace()
        self._crew_at = float("-inf")
        self._workers: dict[int, tuple[str, int]] = {}
        self._serving: dict[str, list[int]] = {}

    # --- reading ---------------------------------------------------------------------------------------------------

    async def refresh(self, store: Store) -> bool:
        """One step; whether anything is different now.

        Raises:
            RunNotFoundError: the tree is gone.
        """
        began = self._clock.monotonic()
        changed = await self._see_root(store)
        tree = self._the_tree
        changed |= await self._look_around(store, began)
        if not self._todo:
            self._begin_round(tree)
        limit = began + (COLD if self._cold else WARM)
        while self._todo and self._clock.monotonic() < limit:
            different, new = await tree.read(store, self._todo.popleft())
            self._todo.extend(new)
            self._read += 1
            changed |= different
        failed = sum(picture.states(path.sums.items())[RunState.FAILED] for path in tree.paths.all)
        before = self._failures.known
        self._failures_left = True
        while self._failures_left and self._clock.monotonic() < limit:
            self._failures_left = await self._failures.read(store, failed)
        changed |= before is not self._failures.known
        self._as_of = store.now()
        if self._cold and not self._todo and not self._failures_left:
            self._cold, changed = False, True
            self._pace.recall(self._as_of, tree.root.created_at, self._ends())
        self._pace.note(self._as_of, self._ended(), changed=changed)
        self._cost = self._clock.monotonic() - began
        self.version += changed
        return changed

    def _begin_round(self, tree: Tree) -> None:
        """What has not ended is read again; of the rest a few at a time, since what was replayed may have ended again
        before anybody saw it."""
        self._todo.extend(piece for piece in tree.pieces if not piece.is_sealed)
        sealed = [piece for piece in tree.pieces if piece.is_sealed]
        if self._lap >= len(sealed):
            self._lap = 0
            self.laps += 1
        self._todo.extend(sealed[self._lap : self._lap + AGAIN])
        self._lap += AGAIN

    async def _see_root(self, store: Store) -> bool:
        found = await store.briefs([self.root])
        if not found:
            raise RunNotFoundError(f"There is no run {id_text(self.root)} in {store.url}")
        if self._tree is None:
            self._tree = Tree(found[0], store.now(), self._sizes)
            (self._preview,) = await store.previews([self.root], PREVIEW)
            return True
        return self._tree.see(found[0], store.now())

    async def _look_around(self, store: Store, now: float) -> bool:
        """Who works, now and then."""
        if now - self._crew_at < CREW or self.is_final:
            return False
        self._crew_at = now
        before = self._workers, self._serving
        self._workers = {one.id: (one.name, one.slots) for one in await store.workers()}
        self._serving = {}
        for task, worker in await store.serving(PAIRS):
            self._serving.setdefault(task, []).append(worker)
        return before != (self._workers, self._serving)

    @property
    def _the_tree(self) -> Tree:
        assert self._tree is not None, "refresh first"
        return self._tree

    def _ended(self) -> int:
        return self._ends().total()

    def _ends(self) -> Counter[int]:
        """How many have ended, by the end of the bin of time in which they did."""
        found: Counter[int] = Counter()
        for path in self._the_tree.paths.all:
            for (state, is_wait, at, _), sums in path.sums.items():
                if state >= FIRST_TERMINAL and not is_wait:
                    found[(at + 1) << self._the_tree.shift] += sums.count
        return found

    # --- showing ---------------------------------------------------------------------------------------------------

    @property
    def done(self) -> float:
        """Of 1: how much of the tree has been read."""
        if not self._cold:
            return 1.0
        return 0.0 if self._tree is None else self._read / (self._read + len(self._todo) + 1)

    @property
    def is_final(self) -> bool:
        """Whether the root and all below it have ended, and all of that has been read."""
        return not self._cold and not self._todo and self._tree is not None and not self._tree.living

    @property
    def size(self) -> int:
        """Bytes that it takes, or about that."""
        return 50_000 + (0 if self._tree is None else sum(200 * (1 + len(piece.cells)) for piece in self._tree.pieces))

    @property
    def interval(self) -> float:
        """Seconds until the next refresh is due."""
        return 0.0 if self._cold or self._failures_left else max(PAUSE, SHARE * self._cost)

    def view(self, *, where: Where = ALL, bins: int = 240, window: tuple[int, int] | None = None) -> TreeView:
        """What it shows now. `window`: of the strip; None: all the time that there was."""
        tree = self._the_tree
        everything = picture.chosen(tree.paths.all, iter(tree.paths.all), ALL, tree.shift)
        within = iter(tree.paths.all) if where.path is None else tree.paths.within(where.path)
        picked = everything if where.is_all else picture.chosen(tree.paths.all, within, where, tree.shift)
        counts, whole = picture.all_states(picked), picture.all_states(everything)
        clusters = self._failures.known.view()
        root, now = tree.root, self._as_of
        end = now if tree.living else tree.last_end
        left = whole.queued + whole.running + whole.waiting
        waiting_parents = {family.path.task for family in tree.families.values() if family.is_growing}
        used = {worker for task in {path.task for path in tree.paths.all} for worker in self._serving.get(task, ())}
        return TreeView(
            run_brief(root, worker=self._workers.get(root.worker_id or 0, (None, 0))[0], preview=self._preview),
            version=f"{self.epoch}.{self.version}",
            as_of=now,
            done=self.done,
            counts=counts,
            is_final=self.is_final,
            waits=picture.all_states(picked, waits=True),
            rate=0.0 if self.is_final else self._pace.rate(30),
            eta=self._pace.eta(left, (now - root.created_at) / 1e6) if not self.is_final else None,
            eta_at_least=bool(waiting_parents) and not self.is_final,
            is_stalled=self._pace.is_stalled(whole, picture.took_by_task(everything), self._leaves_running()),
            slots=sum(self._workers[worker][1] for worker in used if worker in self._workers),
            in_flight=sum(self._leaves_running().values()),
            oldest_queued=self._oldest_queued(),
            busy=sum(sums.busy for _, rows in picked for (_, is_wait, _, _), sums in rows if not is_wait),
            strip=picture.strip(
                picked, tree.shift, bins, window or (root.created_at, max(end, root.created_at) + 1), now
            ),
            tasks=picture.task_views(picked, tree.pieces, {task: len(who) for task, who in self._serving.items()}),
            paths=picture.path_views(picked),
            clusters=tuple(one for one in clusters if where.cluster in (None, one.key)),
            unserved=self._unserved(everything) if total(whole) else (),
        )

    def longest_parts(self, task: str | None) -> list[tuple[Part, int]]:
        """Parts of the tree with the longest that one of their runs took, the longest first."""
        found: list[tuple[Part, int]] = []
        for piece in self._the_tree.pieces:
            took = [cell.longest for cell in piece.cells if cell.took >= 0 and task in (None, cell.task)]
            if took:
                found.append((piece.part, max(took)))
        return sorted(found, key=lambda one: -one[1])

    def _leaves_running(self) -> dict[str, int]:
        """How many execute, and do not just wait for others, by task."""
        tree = self._the_tree
        found: dict[str, int] = {}
        for path in tree.paths.all:
            count = picture.states(path.sums.items())[RunState.RUNNING]
            found[path.task] = found.get(path.task, 0) + count
        for family in tree.families.values():
            if family.is_growing and family.segments and any(piece.living for piece in family.segments):
                found[family.path.task] -= 1
        for piece in tree.pieces:
            if piece.family is None and piece.living:
                found[piece.path.task] -= len(piece.busy_parents)
        return {task: count for task, count in found.items() if count > 0}

    def _oldest_queued(self) -> int | None:
        found = [
            cell.since
            for piece in self._the_tree.pieces
            if piece.living
            for cell in piece.cells
            if cell.state == RunState.QUEUED and cell.since is not None
        ]
        root = self._the_tree.root
        return min([root.created_at, *found] if root.state is RunState.QUEUED else found, default=None)

    def _unserved(self, everything: picture.Chosen) -> tuple[str, ...]:
        queued = {path.task for path, rows in everything if picture.states(rows)[RunState.QUEUED]}
        return tuple(sorted(task for task in queued if not self._serving.get(task)))
