"""The states that are closed, released and promoted, made in bulk: rows as the engine would have written them."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.closing_tasks import GROUPS, LEAF, NOBODY, STREAM, SUSPENDED
from benchmarks.history import Row
from fanwood.ids import SystemIds
from fanwood.model.states import EndedBy, OnParentEnd, RunState, Waits

COLUMNS = (
    "id", "parent_id", "root_id", "depth", "task", "identity", "input", "priority", "on_parent_end", "state", "waits",
    "due_at", "expires_at", "attempt", "asked", "worker_id", "created_at", "started_at", "finished_at", "ended_by",
    "output",
)  # fmt: skip
ENDLESS = 60
"""Runs of a busy tree that execute groups and streams."""
URGENT = 10
_new_id = SystemIds().new_id


def run(
    id_: bytes, task: str, state: RunState, *, parent: bytes | None = None, root: bytes | None = None, depth: int = 0,
    input_: str = "1", ends: OnParentEnd = OnParentEnd.DEFAULT, attempt: int = 0, worker: int | None = None,
    due: int | None = None, expires: int | None = None, priority: int = 1,
) -> Row:  # fmt: skip
    """One row. What is below a run was asked for by its first attempt."""
    at = time.time_ns() // 1000
    over = state.is_terminal
    waits = int(Waits.TIME) if state is RunState.WAITING else None
    return (
        id_, parent, root or id_, depth, task, id_[::-1] if parent else None, input_, priority, int(ends), int(state),
        waits, due, expires, attempt, 1 if parent else 0, worker, at, at if attempt else None, at if over else None,
        int(EndedBy.OUTCOME) if over else None, "1" if over else None,
    )  # fmt: skip


def fan_out(root: bytes, task: str, how: str, children: int) -> Iterator[Row]:
    """A parent that was handed back once, and its children: half of them have completed, and half are queued."""
    ends = OnParentEnd.CANCEL if how == "complete" else OnParentEnd.DEFAULT
    yield run(root, task, RunState.QUEUED, input_=f'"{how}"', attempt=1)
    for number in range(children):
        state, attempt = (RunState.COMPLETED, 1) if number % 2 else (RunState.QUEUED, 0)
        yield run(_new_id(), NOBODY, state, parent=root, root=root, depth=1, ends=ends, attempt=attempt)


def deep_tree(root: bytes, runs: int, depth: int, worker: int) -> Iterator[Row]:
    """Of so many levels: all but the lowest are full, run under `worker`, and wait for what is below them. Most of the
    runs are leaves."""
    wide = max(n for n in range(1, 100) if n == 1 or _full(n, depth - 1) <= runs / 4)
    yield run(root, NOBODY, RunState.RUNNING, attempt=1, worker=worker)
    above = [root]
    for level in range(1, depth - 1):
        below = [(_new_id(), parent) for parent in above for _ in range(wide)]
        for id_, parent in below:
            yield run(id_, NOBODY, RunState.RUNNING, parent=parent, root=root, depth=level, attempt=1, worker=worker)
        above = [id_ for id_, _ in below]
    leaves = runs - _full(wide, depth - 1)
    for number in range(leaves):  # siblings one after another, as they are spawned
        parent = above[number * len(above) // leaves]
        yield run(_new_id(), LEAF, RunState.QUEUED, parent=parent, root=root, depth=depth - 1)


def busy_tree(root: bytes, runs: int, depth: int, worker: int) -> Iterator[Row]:
    """The same, and below its root what executes groups and streams, and begins first."""
    yield from deep_tree(root, runs, depth, worker)
    for number, task in enumerate((GROUPS, SUSPENDED, STREAM) * (ENDLESS // 3)):
        yield run(
            _new_id(), task, RunState.QUEUED, parent=root, root=root, depth=1, input_=str(number), priority=URGENT
        )


def _full(wide: int, levels: int) -> int:
    """The runs of a full tree."""
    return sum(wide**level for level in range(levels))


def due(runs: int, at: int) -> Iterator[Row]:
    """Retries that wait until then."""
    for _ in range(runs):
        yield run(_new_id(), NOBODY, RunState.WAITING, attempt=1, due=at)


def expiring(runs: int, at: int) -> Iterator[Row]:
    """Runs that were not begun until then."""
    for _ in range(runs):
        yield run(_new_id(), NOBODY, RunState.QUEUED, expires=at)


def parents(runs: int, worker: int) -> Iterator[Row]:
    """Parents that wait under a worker, each for a child that is queued."""
    ids = [_new_id() for _ in range(runs)]
    for id_ in ids:
        yield run(id_, NOBODY, RunState.RUNNING, attempt=1, worker=worker)
    for id_ in ids:
        yield run(_new_id(), NOBODY, RunState.QUEUED, parent=id_, root=id_, depth=1)
