"""The view of one tree, which all who look at it share.

A refresh is one bounded step: it reads pieces of the tree, one short statement each, until it has used up its time;
pieces in which everything has ended are not read again.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from msgspec.structs import replace

from fanwood.clock import MICROSECONDS
from fanwood.errors import RunNotFoundError
from fanwood.ids import id_text
from fanwood.lens import picture
from fanwood.lens.briefs import PREVIEW, run_brief
from fanwood.lens.failures import Failures
from fanwood.lens.pace import LATELY, Pace
from fanwood.lens.pieces import Sizes
from fanwood.lens.rounds import Rounds
from fanwood.lens.tree import Tree
from fanwood.lens.views import Cluster, TreeView
from fanwood.lens.where import Where
from fanwood.model.looks import LATE
from fanwood.model.records import TaskCount
from fanwood.model.states import FIRST_TERMINAL, RunState

if TYPE_CHECKING:
    from fanwood.clock import Clock
    from fanwood.lens.paths import Figures
    from fanwood.lens.pieces import Piece
    from fanwood.model.looks import Part
    from fanwood.model.records import RunRecord
    from fanwood.store.store import Store

FIRST, COLD, WARM = 0.1, 0.2, 0.035
"""Seconds that a refresh may take: the first one, after which there is something to see; those until everything was
read once; and those after."""
PAUSE, SHARE, LONGEST = 0.5, 25, 3.0
"""Seconds between two refreshes, at least; so many times what the last one cost; and at most."""
CREW = 2.0
"""Seconds after which it is looked again who works."""
PAIRS = 10_000
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
        self._rounds: Rounds | None = None
        self._preview = ""
        self._cold = True  # not all was read yet
        self._verified = self._final = False  # all has ended, and is counted once more; ... and was
        self._cost = 0.0
        self._as_of = 0
        self._failures = Failures(root)
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
        limit = began + (WARM if not self._cold else COLD if self.version else FIRST)
        changed = await self._see_root(store)
        changed |= await self._look_around(store, began)
        if not self._cold or self._the_rounds.is_cold:
            changed |= await self._the_rounds.step(store, lambda: self._clock.monotonic() >= limit)
        if not self._the_rounds.is_cold:
            changed |= await self._read_failures(store, limit)
        changed |= self._come_to_an_end()
        self._as_of = store.now()
        self._pace.note(self._as_of, self._ended(), changed=changed)
        self._cost = self._clock.monotonic() - began
        self.version += changed
        return changed

    async def _read_failures(self, store: Store, limit: float) -> bool:
        """A page at least; whether anything is different by that."""
        before = self._failures.version
        failed = sum(path.figures.states[RunState.FAILED] for path in self._the_tree.paths.all)
        more = await self._failures.read(store, failed, self._the_tree.shift, lambda: self._clock.monotonic() >= limit)
        if self._cold and not more:
            self._cold = False
            self._pace.recall(store.now(), self._the_tree.root.created_at, self._ends())
            return True
        return before != self._failures.version

    def _come_to_an_end(self) -> bool:
        """Once all has ended it is counted once more, but for what was read since; and then it is final. Whether that
        is so now, and was not."""
        before = self._final
        if self._cold or self._the_tree.is_living:
            self._verified = False
        elif not self._verified:
            self._the_rounds.verify(self._the_tree.last_end + LATE)
            self._verified = True
        self._final = self._verified and not self._the_rounds.pending
        return before != self._final

    def touched(self, run: RunRecord) -> None:
        """Where this one is, is read next, also if everything there had ended."""
        if self._tree is not None and run.parent_id is not None:
            at = self._tree.place_of(run.parent_id, run.id) or self._tree.sealed_place_of(run.parent_id)
            self._the_rounds.heed(at)

    def recheck(self) -> None:
        """Read all of it once more, also what has ended."""
        self._the_rounds.verify()

    async def _see_root(self, store: Store) -> bool:
        found = await store.briefs([self.root])
        if not found:
            raise RunNotFoundError(f"There is no run {id_text(self.root)} in {store.url}")
        if self._tree is None:
            self._tree = Tree(found[0], store.now(), self._sizes)
            self._rounds = Rounds(self._tree)
            (self._preview,) = await store.previews([self.root], PREVIEW)
            return True
        return self._tree.see(found[0], store.now())

    async def _look_around(self, store: Store, now: float) -> bool:
        """Who works, now and then."""
        if now - self._crew_at < CREW or self._final:
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

    @property
    def _the_rounds(self) -> Rounds:
        assert self._rounds is not None, "refresh first"
        return self._rounds

    # --- how it is -------------------------------------------------------------------------------------------------

    @property
    def done(self) -> float:
        """Of 1: how much of the tree has been read."""
        return 1.0 if not self._cold else 0.0 if self._rounds is None else min(0.99, self._rounds.done)

    @property
    def pending(self) -> bool:
        """Whether something is to be read still, whatever else happens."""
        return self._cold or self._the_rounds.pending

    @property
    def laps(self) -> int:
        """How often all that has ended was read again, a little at a time."""
        return 0 if self._rounds is None else self._rounds.laps

    @property
    def is_over(self) -> bool:
        """Whether all has ended, as far as is known."""
        return self._tree is not None and not self._tree.is_living

    @property
    def is_final(self) -> bool:
        """Whether the root and all below it have ended, and all of that has been counted since."""
        return self._final

    @property
    def size(self) -> int:
        """Bytes that it takes, or about that."""
        return 50_000 + (0 if self._tree is None else self._tree.size)

    @property
    def interval(self) -> float:
        """Seconds until the next refresh is due."""
        return 0.0 if self._cold else min(max(PAUSE, SHARE * self._cost), LONGEST)

    # --- showing ---------------------------------------------------------------------------------------------------

    def view(self, *, where: Where = ALL, bins: int = 240, window: tuple[int, int] | None = None) -> TreeView:
        """What it shows now. `window`: of the strip; None: all the time that there was."""
        tree, root, now = self._the_tree, self._the_tree.root, self._as_of
        paths = tree.paths.all
        everything = [path.figures for path in paths]
        picked = everything if where.is_all else self._chosen(where)
        whole = picture.all_states(everything)
        end = now if tree.is_living else max(tree.last_end, root.created_at)
        leaves, left = self._leaves_running(), whole.queued + whole.running + whole.waiting
        tasks = dict.fromkeys(path.task for path in paths)
        used = {worker for task in tasks for worker in self._serving.get(task, ())}
        slots = sum(self._workers[worker][1] for worker in used if worker in self._workers)
        expected = slots and (whole.queued or leaves)  # what only waits, or has no worker, goes on at no rate
        serving = {task: len(self._serving.get(task, ())) for task in tasks}
        return TreeView(
            run_brief(root, worker=self._workers.get(root.worker_id or 0, (None, 0))[0], preview=self._preview),
            version=f"{self.epoch}.{self.version}",
            as_of=now,
            done=self.done,
            counts=picture.all_states(picked),
            is_final=self._final,
            waits=picture.all_states(picked, waits=True),
            rate=0.0 if self._final else self._pace.rate(LATELY),
            eta=self._pace.eta(left, (now - root.created_at) / MICROSECONDS) if expected else None,
            eta_at_least=not self._final and any(family.is_growing for family in tree.families.values()),
            is_stalled=self._pace.is_stalled(whole, picture.took_by_task(paths), leaves),
            slots=slots,
            in_flight=sum(leaves.values()),
            oldest_queued=tree.oldest_queued,
            busy=sum(one.busy for one in picked),
            strip=picture.strip(picked, tree.shift, bins, window or (root.created_at, end + 1), now),
            tasks=picture.task_views(paths, picked, tree.pieces, serving, root),
            paths=picture.path_views(paths, picked),
            clusters=self._clusters(where),
            unserved=tuple(sorted({path.task for path in paths if path.figures.states[0] and not serving[path.task]})),
        )

    def _chosen(self, where: Where) -> list[Figures]:
        tree, known = self._the_tree, self._failures.known
        alike = None if where.cluster is None else known.of_paths(where.cluster, tree.paths.all, tree.shift)
        return picture.chosen(tree.paths, where, tree.shift, alike)

    def _clusters(self, where: Where) -> tuple[Cluster, ...]:
        """Kinds of failures, with as many as are asked for; a state does not narrow them."""
        clusters = [one for one in self._failures.known.view() if where.cluster in (None, one.key)]
        rest = replace(where, state=None, cluster=None)
        if rest.is_all:
            return tuple(clusters)
        counted = [(one, picture.all_states(self._chosen(replace(rest, cluster=one.key))).failed) for one in clusters]
        return tuple(replace(one, count=count) for one, count in counted if count or one.key == where.cluster)

    def pieces_with(self, where: Where, first: int = 0) -> list[tuple[int, Piece]]:
        """Those in which something fits, with their numbers, from one on."""
        tree, found = self._the_tree, list[tuple[int, "Piece"]]()
        inside = None if where.path is None else {path.index for path in tree.paths.within(where.path)}
        state = None if where.state is None else RunState[where.state.upper()]
        since, until = where.since, where.until
        for number, piece in enumerate(tree.pieces[first:], first):
            for cell in piece.cells:
                begin, end = cell.bin << piece.shift, (cell.bin + 1) << piece.shift
                if (
                    where.task in (None, cell.task)
                    and state in (None, cell.state)
                    and (since is None or end > since)
                    and (until is None or begin < until)
                    and (inside is None or tree.paths.below(piece.path, cell.task).index in inside)
                ):
                    found.append((number, piece))
                    break
        return found

    def fits(self, run: RunRecord, piece: Piece, where: Where) -> bool:
        """Whether a run of a piece is asked for, by its path and time."""
        at = run.finished_at or (run.started_at if run.state is RunState.RUNNING else None) or run.created_at
        if (where.since is not None and at < where.since) or (where.until is not None and at >= where.until):
            return False
        paths = self._the_tree.paths
        return where.path is None or paths.below(piece.path, run.task) in list(paths.within(where.path))

    def counts(self) -> list[TaskCount]:
        """What there is of it, as `Store.tree_counts` says it; but `first` says only in which order the tasks came, and
        nothing says how long runs took."""
        root, found = self._the_tree.root, dict[tuple[str, int], TaskCount]()
        for path in self._the_tree.paths.all:
            for state, count in (path.figures.states + path.figures.waits).items():
                there = found.get((path.task, state))
                first, more = (root.created_at + path.index, 0) if there is None else (there.first, there.count)
                found[path.task, state] = TaskCount(path.task, RunState(state), count + more, first, None)
        return [found[place] for place in sorted(found)]

    def segments(self, parent: bytes) -> list[Piece]:
        """Those of a run's children, if they are many; else none."""
        family = self._the_tree.families.get(parent)
        return [] if family is None else list(family.segments)

    def longest_parts(self, task: str | None) -> list[tuple[Part, int]]:
        """Parts of the tree with the longest that one of their runs took, the longest first."""
        found: list[tuple[Part, int]] = []
        for piece in self._the_tree.pieces:
            took = [longest for name, longest in piece.longest.items() if task in (None, name)]
            if took:
                found.append((piece.part, max(took)))
        return sorted(found, key=lambda one: -one[1])

    def _ended(self) -> int:
        return sum(path.figures.ended for path in self._the_tree.paths.all)

    def _ends(self) -> Counter[int]:
        """How many have ended, by the end of the bin of time in which they did."""
        found: Counter[int] = Counter()
        for path in self._the_tree.paths.all:
            for (state, at), (count, _) in path.figures.at.items():
                if state >= FIRST_TERMINAL:
                    found[(at + 1) << self._the_tree.shift] += count
        return found

    def _leaves_running(self) -> dict[str, int]:
        """How many execute, and do not just wait for others, by task."""
        tree, found = self._the_tree, dict[str, int]()
        for path in tree.paths.all:
            found[path.task] = found.get(path.task, 0) + path.figures.states[RunState.RUNNING]
        for family in tree.families.values():
            if family.is_growing and any(piece.living for piece in family.segments):
                found[family.path.task] -= 1
        for piece in tree.pieces:
            if piece.family is None and piece.living:
                found[piece.path.task] -= len(piece.busy_parents)
        return {task: count for task, count in found.items() if count > 0}
