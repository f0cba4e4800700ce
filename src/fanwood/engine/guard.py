"""How large a tree may become: `max_tree_runs`, about.

Each engine counts what it spawns of a tree, and past the first runs takes room for more a block at a time, in one row
of the store that says for how many runs all engines have taken it. So small trees have no row, and a large one touches
it once in a block. The limit is there to stop what has run away, and not to be exact: an engine that has just begun
to spawn in a tree does not know of the others' runs until it takes its first block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fanwood.errors import BudgetExceeded
from fanwood.ids import id_text

if TYPE_CHECKING:
    from fanwood.engine.inbox import SpawnRequest
    from fanwood.model.commands import Batch

FREE = 1_000
"""So many of a tree an engine spawns without a row."""
BLOCK = 10_000
"""Room for so many runs is taken at a time."""
TREES = 10_000
"""Of so many an engine knows how much it has spawned; the oldest is forgotten, with what is left of its block."""


class _Tree(msgspec.Struct, gc=False):
    """What this engine has spawned of one."""

    spawned: int = 0
    room: int = FREE  # for so many, in all
    others: int = 0  # those that others took room for, as far as is known


class Guard:
    """Belongs to the engine's thread."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._trees: dict[bytes, _Tree] = {}

    def admit(self, requests: list[SpawnRequest], batch: Batch) -> list[SpawnRequest]:
        """Those of these requests that their trees have room for; the others are answered. What has to be taken is in
        `batch.blocks` then."""
        refused: list[SpawnRequest] = []
        for request in requests:
            kind = (request.spawns or request.attaches or request.records)[0].kind
            if kind.root_id is not None and (count := len(request.spawns) + len(request.records)):
                tree = self._trees.get(kind.root_id)
                if tree is None:
                    tree = self._learn(kind.root_id)
                if tree.others + tree.spawned + count >= self._most:  # (the root is one as well)
                    refused.append(request)
                else:
                    tree.spawned += count
                    if tree.spawned > tree.room:
                        self._take(kind.root_id, tree, batch)
        for request in refused:
            request.answer(self._error(request))
        return [request for request in requests if request not in refused] if refused else requests

    def _learn(self, root: bytes) -> _Tree:
        if len(self._trees) >= TREES:
            del self._trees[next(iter(self._trees))]
        tree = self._trees[root] = _Tree()
        return tree

    def _take(self, root: bytes, tree: _Tree, batch: Batch) -> None:
        blocks = -(-(tree.spawned - tree.room) // BLOCK)
        tree.room += blocks * BLOCK
        batch.blocks.append((root, blocks * BLOCK))

    def learn(self, sizes: dict[bytes, int]) -> None:
        """For so many runs of these trees room was taken, by all engines."""
        for root, size in sizes.items():
            tree = self._trees.get(root)
            if tree is not None:
                tree.others = max(tree.others, size - (tree.room - FREE))

    def _error(self, request: SpawnRequest) -> BudgetExceeded:
        kind = (request.spawns or request.records)[0].kind
        run, root, wanted = id_text(kind.parent_id or b""), id_text(kind.root_id or b""), _count(request)
        tree = self._trees[kind.root_id or b""]
        used = 1 + tree.others + tree.spawned
        error = BudgetExceeded(
            f"Run {run} may not spawn {wanted:,} more: the tree of {root} has about {used:,} runs, and one may have "
            f"{self._most:,}. If that is what you want, raise the setting max_tree_runs (FANWOOD_MAX_TREE_RUNS) where "
            f"it runs, and replay it"
        )
        error.limit, error.most, error.used, error.wanted = "runs", self._most, used, wanted
        error.run_id, error.root_id = run, root
        return error


def _count(request: SpawnRequest) -> int:
    return len(request.spawns) + len(request.records)


def too_deep(depth: int, most: int, run: str, root: str, what: str) -> BudgetExceeded:
    """What is said of a child that would be so deep in its tree."""
    error = BudgetExceeded(
        f"Run {run} may not spawn {what}: it would be {depth:,} levels below its root, {root}, and the deepest may be "
        f"{most:,}. A recursion that does not end? If it is meant, raise the setting max_depth (FANWOOD_MAX_DEPTH)"
    )
    error.limit, error.most, error.used, error.wanted = "depth", most, depth - 1, 1
    error.run_id, error.root_id = run, root
    return error
