"""How deep a tree may be, and how large, whatever anybody forgot to say."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from fanwood import BudgetExceeded, Context, Fanwood, TaskRunError
from fanwood.engine.guard import BLOCK, FREE, TREES, Guard
from fanwood.engine.inbox import SpawnRequest
from fanwood.model.commands import Batch, Spawn, SpawnKind
from tests.conftest import MakeApp


def declared(app: Fanwood) -> dict[str, Any]:
    @app.task
    async def dig(input: int, ctx: Context) -> int:
        return await dig.aio_run(input + 1)

    @app.task
    def dig_blocking(input: int) -> int:
        return dig_blocking.run(input + 1)

    @app.task
    async def nothing(input: int) -> None: ...

    @app.task
    async def wide(input: int) -> list[str]:
        said: list[str] = []
        for count in (input, 1, 1):
            try:
                await nothing.aio_run_many([nothing.create_bulk_run_item(n) for n in range(count)])
                said.append("done")
            except BudgetExceeded as error:
                same = pickle.loads(pickle.dumps(error))
                said.append(f"{same.limit} {error.most} {error.used} {error.wanted}")
        return said

    @app.task
    async def steps(input: int, ctx: Context) -> int:
        for number in range(input):
            await ctx.aio_step(str, number)
        return input

    return {"dig": dig, "dig_blocking": dig_blocking, "wide": wide, "steps": steps}


@pytest.mark.parametrize("name", ["dig", "dig_blocking"])
def test_a_recursion_that_does_not_end_is_stopped_and_the_error_says_how_to_go_deeper(
    name: str, make_app: MakeApp
) -> None:
    tasks = declared(make_app(max_depth=4))
    with pytest.raises(
        TaskRunError, match=r"BudgetExceeded.*5 levels below its root.*the setting max_depth \(FANWOOD_"
    ):
        tasks[name].run(0)


def test_what_is_too_much_for_a_tree_is_refused_as_a_whole(make_app: MakeApp) -> None:
    tasks = declared(make_app(max_tree_runs=10))
    wide, steps = tasks["wide"], tasks["steps"]
    assert wide.run(8) == ["done", "done", "runs 10 10 1"]
    assert wide.run(10) == ["runs 10 1 10", "done", "done"]
    assert steps.run(9) == 9
    with pytest.raises(TaskRunError, match=r"has about 10 runs.*the setting max_tree_runs"):
        steps.run(10)


class Asked:
    """Requests of one tree, and what they were answered."""

    def __init__(self, guard: Guard, root: bytes) -> None:
        self.guard = guard
        self.kind = SpawnKind("a", parent_id=b"p", parent_attempt=1, root_id=root, depth=1)
        self.refused: list[BaseException | None] = []

    def spawn(self, count: int) -> list[tuple[bytes, int]]:
        """What room is taken for."""
        request = SpawnRequest(spawns=[Spawn(self.kind, b"", b"", "")] * count)
        request.on_done = lambda error, _taken, _found: self.refused.append(error)
        batch = Batch()
        self.guard.admit([request], batch)
        return batch.blocks


def test_small_trees_have_no_row_and_large_ones_touch_it_once_in_a_block() -> None:
    tree = Asked(Guard(10**6), b"r")
    assert tree.spawn(FREE) == []
    assert tree.spawn(1) == [(b"r", BLOCK)]
    assert all(tree.spawn(500) == [] for _ in range((BLOCK - 1) // 500))
    assert tree.spawn(500 + 2 * BLOCK) == [(b"r", 3 * BLOCK)]
    assert tree.refused == []


def test_what_others_have_spawned_counts_from_the_first_block_on() -> None:
    tree = Asked(Guard(3 * BLOCK), b"r")
    tree.spawn(FREE + 1)
    tree.guard.learn({b"r": 2 * BLOCK, b"unknown": 7})  # (its own, and one of somebody else)
    assert tree.spawn(2 * BLOCK - FREE - 3) == [(b"r", BLOCK)]
    assert tree.refused == []
    assert tree.spawn(2) == []
    assert [getattr(error, "used", 0) for error in tree.refused] == [3 * BLOCK - 1]
    assert tree.spawn(1) + tree.spawn(1) == []
    assert len(tree.refused) == 2


def test_the_oldest_of_very_many_trees_is_forgotten() -> None:
    guard = Guard(10**9)
    oldest = Asked(guard, b"r")
    oldest.spawn(FREE)
    for number in range(TREES):
        Asked(guard, number.to_bytes(4, "big")).spawn(1)
    assert oldest.spawn(1) == []  # it has its first runs again
