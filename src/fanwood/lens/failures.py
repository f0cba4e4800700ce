"""Failures of a tree, by what they have in common."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fanwood.ids import id_text
from fanwood.lens.errors import brief, cluster_key, normal
from fanwood.lens.views import Cluster, ErrorBrief, RunBrief

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fanwood.model.looks import FailedRow
    from fanwood.store.looks import Looks

PAGE = 500
"""Failures that one look reads."""
EXAMPLES = 3
TASKS = 5
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

    def add(self, row: FailedRow, error: ErrorBrief) -> None:
        self.count += 1
        self.first, self.last = min(self.first, row.finished_at), max(self.last, row.finished_at)
        if row.task in self.tasks or len(self.tasks) < TASKS:
            self.tasks[row.task] = self.tasks.get(row.task, 0) + 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(_example(row, error))


class Kinds:
    """From failures to their kinds."""

    def __init__(self) -> None:
        self.alike: dict[str, Alike] = {}
        self.count = 0

    def add(self, rows: Iterable[FailedRow]) -> None:
        for row in rows:
            error = brief(row.error) or ErrorBrief("failed")
            type_, message = error.type or error.kind, normal(error.message)
            key = cluster_key(type_, message)
            if key not in self.alike and len(self.alike) >= CLUSTERS:
                type_, message = "", "others"
                key = cluster_key(type_, message)
            there = self.alike.get(key) or self.alike.setdefault(key, Alike(key, type_, message))
            there.add(row, error)
            self.count += 1

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
    """Those of one tree. They are read from the first to the last; and once more, if there are not as many as the tree
    says that there are."""

    def __init__(self, root: bytes) -> None:
        self._root = root
        self.known = Kinds()  # as it was read last
        self._next: Kinds | None = None
        self._after = b""

    async def read(self, store: Looks, failed: int) -> bool:
        """One page, if anything has changed; whether there is more to be read."""
        if self._next is None:
            if failed == self.known.count:
                return False
            self._next, self._after = Kinds(), b""
        rows = await store.failed(self._root, self._after, PAGE)
        self._next.add(rows)
        if len(rows) == PAGE:
            self._after = rows[-1].id
            return True
        self.known, self._next = self._next, None
        return False
