"""Failures of a tree, by what they have in common."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fanwood.ids import id_text
from fanwood.lens.errors import brief, cluster_key, normal
from fanwood.lens.paths import Sums, coarser
from fanwood.lens.views import Cluster, ErrorBrief, RunBrief
from fanwood.model.looks import LAST_ID, LATE, duration_class
from fanwood.model.states import RunState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from fanwood.lens.paths import Key, Path
    from fanwood.model.looks import FailedRow
    from fanwood.store.store import Store

PAGE = 500
"""Failures that one look reads."""
EXAMPLES = 3
TASKS = 5
MISSED, MOST_MISSED = 3, 100
"""Looks in a row that explain nothing, before all are read once more: ever more of them, if that does not either."""
ONE_BIN = 62
"""A shift after which there is one bin of time."""
CLUSTERS = 200
"""More kinds than this are one."""


@dataclass(slots=True)
class Alike:
    """Failures that are alike."""

    key: str
    type: str
    message: str
    count: int = 0
    first: int = 1 << 62
    last: int = 0
    tasks: dict[str, int] = field(default_factory=dict[str, int])
    examples: list[RunBrief] = field(default_factory=list[RunBrief])
    sums: dict[str, dict[Key, Sums]] = field(default_factory=dict[str, "dict[Key, Sums]"])  # by task
    shift: int = 0  # of the bins of these

    def add(self, row: FailedRow, error: ErrorBrief, shift: int) -> None:
        self.coarsen(shift)
        took = None if row.started_at is None else row.finished_at - row.started_at
        of_task = self.sums.setdefault(row.task, {})
        key = (int(RunState.FAILED), False, row.finished_at >> self.shift, -1 if took is None else duration_class(took))
        sums = of_task.get(key) or of_task.setdefault(key, Sums())
        sums.count, sums.total, sums.busy = sums.count + 1, sums.total + (took or 0), sums.busy + row.busy
        self.count += 1
        self.first, self.last = min(self.first, row.finished_at), max(self.last, row.finished_at)
        if row.task in self.tasks or len(self.tasks) < TASKS:
            self.tasks[row.task] = self.tasks.get(row.task, 0) + 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(_example(row, error))

    def coarsen(self, shift: int) -> None:
        """Bins of time are no finer than those of the tree."""
        if shift > self.shift:
            self.sums = {task: coarser(sums, shift - self.shift) for task, sums in self.sums.items()}
            self.shift = shift


class Kinds:
    """From failures to their kinds."""

    def __init__(self) -> None:
        self.alike: dict[str, Alike] = {}
        self.count = 0

    def add(self, rows: Iterable[FailedRow], shift: int = ONE_BIN) -> None:
        for row in rows:
            error = brief(row.error) or ErrorBrief("failed")
            type_, message = error.type or error.kind, normal(error.message)
            key = cluster_key(type_, message)
            if key not in self.alike and len(self.alike) >= CLUSTERS:
                type_, message = "", "others"
                key = cluster_key(type_, message)
            there = self.alike.get(key) or self.alike.setdefault(key, Alike(key, type_, message))
            there.add(row, error, shift)
            self.count += 1

    def of_paths(self, key: str, paths: Sequence[Path], shift: int) -> dict[int, dict[Key, Sums]]:
        """A kind's runs, by path. (Of a task that is on several paths all are on that on which most have failed.)"""
        alike, found = self.alike.get(key), dict[int, "dict[Key, Sums]"]()
        if alike is None:
            return found
        alike.coarsen(shift)
        for task, sums in alike.sums.items():
            there = [path for path in paths if path.task == task]
            if there:
                found[max(there, key=lambda path: path.figures.states[RunState.FAILED]).index] = sums
        return found

    def view(self) -> tuple[Cluster, ...]:
        """The largest first."""
        ordered = sorted(self.alike.values(), key=lambda one: (-one.count, one.key))
        return tuple(
            Cluster(
                one.key, one.type, one.message, one.count, one.first, one.last,
                tuple(sorted(one.tasks, key=lambda task: (-one.tasks[task], task))), tuple(one.examples),
            )
            for one in ordered
        )  # fmt: skip


def _example(row: FailedRow, error: ErrorBrief) -> RunBrief:
    return RunBrief(
        id=id_text(row.id),
        root_id=id_text(row.root_id),
        parent_id=None if row.parent_id is None else id_text(row.parent_id),
        task=row.task,
        state="failed",
        kind="task",
        depth=0,
        created_at=0,
        attempt=row.attempt,
        finished_at=row.finished_at,
        error=error,
    )


class Failures:
    """Those of one tree. They are read from the first to the last; then those that come after. If there are still not
    as many as the tree says that there are, something that failed was asked for anew, and they are read once more."""

    def __init__(self, root: bytes) -> None:
        self._root = root
        self.known = Kinds()
        self._next: Kinds | None = None  # of a walk through all
        self._at = b""
        self._since: tuple[int, bytes] = (0, b"")  # what failed before is known
        self._late: dict[tuple[bytes, int], int] = {}  # of what is known: what failed after that, and when
        self._missed = 0  # looks in a row that found as many as there were before, and too few or too many
        self._patience = MISSED
        self._shift = ONE_BIN
        self.version = 0

    async def read(self, store: Store, failed: int, shift: int, is_over: Callable[[], bool]) -> bool:
        """A look at least, if the tree says that so many failed, and on until it is over; whether there is more to be
        read. `shift`: of the tree's bins of time."""
        self._shift = shift
        while await self._read(store, failed, is_over):
            if is_over():
                return True
        return False

    async def _read(self, store: Store, failed: int, is_over: Callable[[], bool]) -> bool:
        if self._next is not None:
            return await self._walk(store, self._next, is_over)
        if failed == self.known.count:
            self._missed, self._patience = 0, MISSED
            return False
        if not self.known.count or self._missed >= self._patience:
            self._next, self._at, self._late, self._missed = Kinds(), b"", {}, 0
            self._patience = min(2 * self._patience, MOST_MISSED)
            self._since = (store.now() - LATE, LAST_ID)
            return True
        return await self._read_on(store)

    async def _walk(self, store: Store, kinds: Kinds, is_over: Callable[[], bool]) -> bool:
        """While the store reads a page, the one before it is taken in."""
        asked: asyncio.Future[list[FailedRow]] | None = None
        try:
            rows = await store.failed(self._root, self._at, PAGE)
            while len(rows) == PAGE and not is_over():
                asked = asyncio.ensure_future(store.failed(self._root, rows[-1].id, PAGE))
                await asyncio.sleep(0)  # it begins
                self._take(kinds, rows)
                rows = await asked
        finally:  # if we were told to stop
            if asked is not None and not asked.done():
                asked.cancel()
                asked.add_done_callback(lambda answer: answer.cancelled() or answer.exception())
        self._take(kinds, rows)
        if len(rows) == PAGE:
            return True
        self.known, self._next = kinds, None
        self.version += 1
        return False

    def _take(self, kinds: Kinds, rows: Sequence[FailedRow]) -> None:
        kinds.add(rows, self._shift)
        self._late |= {(row.id, row.attempt): row.finished_at for row in rows if row.finished_at > self._since[0]}
        if rows:
            self._at = rows[-1].id

    async def _read_on(self, store: Store) -> bool:
        """What failed since, in all trees; what was committed late is not missed."""
        rows = await store.failed_at(self._since, store.now() + LATE, PAGE)
        new = [row for row in rows if row.root_id == self._root and (row.id, row.attempt) not in self._late]
        self.known.add(new, self._shift)
        self.version += bool(new)
        self._late |= {(row.id, row.attempt): row.finished_at for row in new}
        if len(rows) == PAGE:
            self._since = (rows[-1].finished_at, rows[-1].id)
            return True
        self._missed = 0 if new else self._missed + 1
        since = store.now() - LATE
        if since > self._since[0]:
            self._since = (since, LAST_ID)
            self._late = {key: at for key, at in self._late.items() if at > since}
        return False
