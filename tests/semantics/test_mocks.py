"""Mock runs: a parent's function alone, with children that the test stands in for. Nothing touches a store."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fanwood import Context, Fanwood, TaskRunError, UsageError, current_run_id

NOWHERE = "sqlite:////proc/there/is/none.db"
app = Fanwood(NOWHERE, shared=False)


@pytest.fixture
def url() -> str:
    return NOWHERE


@app.task
async def child(n: int) -> int:
    raise AssertionError("nobody runs it")


@app.task
def sync_child(n: int) -> int:
    raise AssertionError("nobody runs it")


@app.task
async def parent(n: int, ctx: Context) -> list[Any]:
    ctx.log("as ever")
    assert current_run_id.get() == ctx.task_run_id
    one = await child.aio_run(n)
    ref = await child.aio_run_no_wait(n + 1)
    many = await child.aio_run_many([child.create_bulk_run_item(i) for i in range(n)], return_exceptions=True)
    return [one, await ref, many]


@app.task
def sync_parent(n: int) -> int:
    return sync_child.run(n) + sum(sync_child.run_many([sync_child.create_bulk_run_item(i) for i in range(n)]))


def test_children_are_stood_in_for() -> None:
    async def doubled(n: int) -> int:
        return 2 * n

    assert asyncio.run(parent.aio_mock_run(2, children={child: lambda n: n + 10})) == [12, 13, [10, 11]]
    assert asyncio.run(parent.aio_mock_run(2, children={child: doubled})) == [4, 6, [0, 2]]
    assert asyncio.run(parent.aio_mock_run(1, children={"child": 7})) == [7, 7, [7]]
    assert sync_parent.mock_run(3, children={sync_child: lambda n: n}) == 6
    assert current_run_id.get() is None


def test_a_child_that_nothing_stands_in_for_is_named() -> None:
    with pytest.raises(UsageError, match=r"parent runs child, .*children=\{child: \.\.\.\}"):
        asyncio.run(parent.aio_mock_run(2))
    with pytest.raises(UsageError, match="sync_parent runs sync_child"):
        sync_parent.mock_run(2, children={child: 1})


def test_what_stands_in_for_a_child_fails_as_a_child_does() -> None:
    def odd(n: int) -> int:
        if n % 2:
            raise ValueError("odd")
        return n

    with pytest.raises(TaskRunError, match="child failed: ValueError: odd"):
        asyncio.run(parent.aio_mock_run(1, children={child: odd}))
    with pytest.raises(TaskRunError, match="child failed: ValueError: odd"):
        asyncio.run(parent.aio_mock_run(2, children={child: odd}))


def test_what_needs_a_store_is_refused() -> None:
    @app.task
    def asking(_: int, ctx: Context) -> int:
        return len(ctx.children())

    with pytest.raises(UsageError, match="a mock run of asking has no store"):
        asking.mock_run(1)
    with pytest.raises(UsageError, match="retry_counts"):
        sync_parent.mock_run(1, retry_counts=3)  # type: ignore[call-arg]


def test_steps_are_handed_what_their_parents_returned() -> None:
    flow = app.workflow(name="flow", input_validator=dict[str, int])

    @flow.task()
    def first(input: dict[str, int]) -> dict[str, int]:
        return input

    @flow.task(parents=[first])
    async def second(input: dict[str, int], ctx: Context) -> int:
        return ctx.task_output(first)["n"] + input["n"] + await child.aio_run(1)

    assert first.mock_run({"n": 1}) == {"n": 1}
    mocked = second.aio_mock_run({"n": 1}, parent_outputs={first: {"n": 5}}, children={child: 100})
    assert asyncio.run(mocked) == 106
