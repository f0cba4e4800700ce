"""Every form in which a task spawns children, sync and async; what they inherit, and what is refused."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from fanwood import (
    BulkRunItem,
    Context,
    EmptyModel,
    Fanwood,
    InputValidationError,
    RunState,
    TaskRunError,
    TriggerWorkflowOptions,
    UsageError,
)
from fanwood.engine.waits import Outputs
from fanwood.sdk.children import spawning
from tests.semantics.conftest import Number


@dataclass
class Pair:
    left: int
    right: int


# --- one -----------------------------------------------------------------------------------------------------------


def test_root_sync(square: Any, cube: Any) -> None:
    assert square.run(Number(n=3)) == 9
    assert cube.run(Number(n=3)) == 27


async def test_root_async(square: Any, cube: Any) -> None:
    assert await square.aio_run(Number(n=3)) == 9
    assert await cube.aio_run({"n": 3}) == 27


def test_one_child_of_each_colour(app: Fanwood, square: Any, cube: Any) -> None:
    @app.task
    async def async_parent(input: Number) -> list[int]:
        return [await square.aio_run(input), await cube.aio_run(input)]

    @app.task
    def sync_parent(input: Number) -> list[int]:
        return [square.run(input), cube.run(input)]

    assert async_parent.run(Number(n=2)) == [4, 8]
    assert sync_parent.run(Number(n=2)) == [4, 8]


def test_children_are_below_their_parent_and_detached_ones_are_not(app: Fanwood, square: Any) -> None:
    @app.task
    async def parent(input: EmptyModel, ctx: Context) -> list[str]:
        await square.aio_run(Number(n=1))
        ref = await square.aio_run_no_wait(Number(n=2), detached=True)
        assert await ref == 4
        return [ctx.task_run_id, ref.id]

    parent_id, detached_id = parent.run()
    (child,) = app.runs.children(parent_id)
    assert (child.parent_id, child.root_id, child.depth) == (parent_id, parent_id, 1)
    detached = app.runs.get(detached_id)
    assert (detached.parent_id, detached.root_id, detached.depth) == (None, detached_id, 0)


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_functions_of_every_arity(app: Fanwood, colour: str) -> None:
    if colour == "sync":

        @app.task
        def nothing() -> str:
            return "nothing"

        @app.task
        def only_input(input: Number) -> int:
            return input.n

        @app.task
        def both(input: Number, ctx: Context) -> str:
            return f"{input.n} {ctx.task_name}"

    else:

        @app.task
        async def nothing() -> str:
            return "nothing"

        @app.task
        async def only_input(input: Number) -> int:
            return input.n

        @app.task
        async def both(input: Number, ctx: Context) -> str:
            return f"{input.n} {ctx.task_name}"

    assert nothing.run() == "nothing"
    assert only_input.run(Number(n=2)) == 2
    assert both.run(Number(n=2)) == "2 both"


def test_outputs_are_typed_by_the_annotation(app: Fanwood) -> None:
    @app.task
    async def swap(input: Pair) -> Pair:
        return Pair(input.right, input.left)

    @app.task
    async def models(input: Number) -> list[Number]:
        return [input]

    @app.task
    async def parent() -> bool:
        return isinstance(await swap.aio_run(Pair(1, 2)), Pair)

    assert swap.run(Pair(1, 2)) == Pair(2, 1)
    assert models.run(Number(n=1)) == [Number(n=1)]
    assert parent.run() is True


def test_an_input_that_does_not_fit_is_refused_where_it_is_given(app: Fanwood, square: Any) -> None:
    @app.task
    async def parent() -> str:
        try:
            await square.aio_run({"m": 1})
        except InputValidationError as error:
            return type(error).__name__
        return "it fitted"

    with pytest.raises(InputValidationError, match="n"):
        square.run({"n": "many"})
    assert parent.run() == "InputValidationError"
    assert [run.task_name for run in app.runs.list()] == ["parent"]


def test_a_task_declared_after_the_first_run_is_served_as_well(app: Fanwood, square: Any) -> None:
    """As in a notebook: declare, run, declare the next."""
    assert square.run(Number(n=2)) == 4

    @app.task
    async def later() -> int:
        return await square.aio_run(Number(n=3))

    assert later.run(timeout=60) == 9


def test_steps_and_children_declared_after_the_first_run_are_served_as_well(app: Fanwood, square: Any) -> None:
    flow = app.workflow(name="flow")

    @flow.task()
    async def first(_: dict, ctx: Context) -> int:
        return 1

    assert flow.run({})["first"] == 1

    @flow.task(parents=[first])
    async def second(_: dict, ctx: Context) -> int:
        return (await late.aio_run(ctx.task_output(first))) + 1

    @app.task
    async def late(n: int) -> int:
        return n + 1

    assert flow.run({}) == {"first": 1, "second": 3}

    @flow.on_success_task()
    async def then(_: dict, ctx: Context) -> int:
        return 7

    assert flow.run({})["on_success"] == 7


# --- many ----------------------------------------------------------------------------------------------------------


def test_bulk_of_each_colour_in_input_order(app: Fanwood, square: Any, cube: Any) -> None:
    @app.task
    async def async_parent(input: Number) -> list[int]:
        return await square.aio_run_many([square.create_bulk_run_item(Number(n=i)) for i in range(input.n)])

    @app.task
    def sync_parent(input: Number) -> list[int]:
        return cube.run_many([cube.create_bulk_run_item(Number(n=i)) for i in range(input.n)])

    assert async_parent.run(Number(n=60)) == [i**2 for i in range(60)]
    assert sync_parent.run(Number(n=60)) == [i**3 for i in range(60)]


def test_bulk_of_roots(square: Any) -> None:
    assert square.run_many([square.create_bulk_run_item(Number(n=i)) for i in range(20)]) == [i**2 for i in range(20)]
    assert square.run_many([]) == []


def test_bulk_of_several_tasks_mixed(app: Fanwood, square: Any, cube: Any) -> None:
    flow = app.workflow(name="flow", input_validator=Number)

    @flow.task()
    async def only(input: Number) -> int:
        return -input.n

    @app.task
    async def parent() -> list[Any]:
        items = [square.create_bulk_run_item(Number(n=2)), cube.create_bulk_run_item(Number(n=2))]
        return await square.aio_run_many([*items, flow.create_bulk_run_item(Number(n=2))])

    assert parent.run() == [4, 8, {"only": -2}]


def test_bulk_from_a_generator_is_consumed_as_the_store_takes_it(app: Fanwood, square: Any) -> None:
    """More than fit on the way at a time, from a generator that could not be a list twice."""
    started = 0

    def items() -> Iterator[BulkRunItem]:
        nonlocal started
        for i in range(2600):
            started += 1
            yield square.create_bulk_run_item(Number(n=i))

    @app.task
    async def parent() -> int:
        return sum(await square.aio_run_many(items()))

    assert parent.run() == sum(i**2 for i in range(2600))
    assert started == 2600


def test_a_generator_that_fails_leaves_what_it_gave_before(app: Fanwood, square: Any) -> None:
    def items() -> Iterator[BulkRunItem]:
        yield square.create_bulk_run_item(Number(n=1))
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        square.run_many(items())


def test_bulk_items_by_options(app: Fanwood, square: Any) -> None:
    @app.task
    async def parent() -> list[int]:
        return await square.aio_run_many(
            [square.create_bulk_run_item(options=TriggerWorkflowOptions(input=Number(n=i))) for i in range(5)]
        )

    assert parent.run() == [0, 1, 4, 9, 16]
    assert square.run(options=TriggerWorkflowOptions(input=Number(n=7))) == 49


def test_an_input_given_twice_is_an_error(square: Any) -> None:
    options = TriggerWorkflowOptions(input=Number(n=1))
    with pytest.raises(UsageError, match="twice"):
        square.create_bulk_run_item(Number(n=1), options=options)
    with pytest.raises(UsageError, match="twice"):
        square.run(Number(n=1), options)


def test_two_keys_are_an_error(square: Any) -> None:
    with pytest.raises(UsageError, match="two names of one thing"):
        square.create_bulk_run_item(Number(n=1), key="a", child_key="b")


def test_items_without_waiting(app: Fanwood, square: Any, cube: Any) -> None:
    @app.task
    async def parent() -> list[int]:
        refs = await square.aio_run_many_no_wait([square.create_bulk_run_item(Number(n=i)) for i in range(4)])
        more = await cube.aio_run_many([cube.create_bulk_run_item(Number(n=2))], wait_for_result=False)
        return [await ref for ref in [*refs, *more]]

    @app.task
    def sync_parent() -> list[int]:
        refs = square.run_many_no_wait([square.create_bulk_run_item(Number(n=i)) for i in range(4)])
        return [ref.result() for ref in refs]

    assert parent.run() == [0, 1, 4, 9, 8]
    assert sync_parent.run() == [0, 1, 4, 9]


# --- programs of children ------------------------------------------------------------------------------------------


def test_a_loop_that_awaits_each_child(app: Fanwood, square: Any) -> None:
    @app.task
    async def parent() -> int:
        value = 2
        for _ in range(3):
            value = await square.aio_run(Number(n=value))
        return value

    assert parent.run() == 256


def test_branches(app: Fanwood, square: Any, cube: Any) -> None:
    @app.task
    async def parent(input: Number) -> int:
        return await (square if input.n % 2 else cube).aio_run(input)

    assert [parent.run(Number(n=n)) for n in (2, 3)] == [8, 9]


def test_recursion_of_both_colours(app: Fanwood) -> None:
    @app.task
    async def fib(input: Number) -> int:
        if input.n < 2:
            return input.n
        return sum(await asyncio.gather(sync_fib.aio_run(Number(n=input.n - 1)), fib.aio_run(Number(n=input.n - 2))))

    @app.task
    def sync_fib(input: Number) -> int:
        if input.n < 2:
            return input.n
        return fib.run(Number(n=input.n - 1)) + sync_fib.run(Number(n=input.n - 2))

    assert fib.run(Number(n=7)) == 13


def test_a_task_that_spawns_itself_until_a_condition_is_met(app: Fanwood) -> None:
    @app.task
    async def collatz(input: Number, ctx: Context) -> int:
        if input.n == 1:
            return ctx.depth
        return await collatz.aio_run(Number(n=input.n // 2 if input.n % 2 == 0 else 3 * input.n + 1))

    assert collatz.run(Number(n=27 // 3)) == 19


def test_children_from_threads_of_an_async_task(app: Fanwood, square: Any) -> None:
    @app.task
    async def parent(input: EmptyModel, ctx: Context) -> list[Any]:
        value = await asyncio.to_thread(square.run, Number(n=5))
        return [ctx.task_run_id, value]

    parent_id, value = parent.run()
    assert value == 25
    assert len(app.runs.children(parent_id)) == 1


# --- what children inherit -----------------------------------------------------------------------------------------


def test_metadata_is_inherited_and_the_childs_own_wins(app: Fanwood) -> None:
    @app.task(default_additional_metadata={"own": "default", "tenant": "default"})
    async def leaf(input: EmptyModel, ctx: Context) -> dict[str, Any]:
        return ctx.additional_metadata

    @app.task
    async def parent() -> list[dict[str, Any]]:
        plain = await leaf.aio_run()
        given = await leaf.aio_run(additional_metadata={"tenant": "child", "extra": 1})
        return [plain, given]

    plain, given = parent.run(additional_metadata={"tenant": "root", "user": "u"})
    assert plain == {"tenant": "root", "user": "u", "own": "default"}
    assert given == {"tenant": "child", "user": "u", "own": "default", "extra": 1}


def test_metadata_travels_two_generations(app: Fanwood) -> None:
    @app.task
    async def leaf(input: EmptyModel, ctx: Context) -> Any:
        return ctx.additional_metadata.get("request")

    @app.task
    def middle() -> Any:
        return leaf.run()

    @app.task
    async def top() -> Any:
        return await middle.aio_run()

    assert top.run(additional_metadata={"request": 7}) == 7


def test_keys_and_priorities_are_seen_by_the_child(app: Fanwood) -> None:
    @app.task(default_priority=2)
    async def leaf(input: EmptyModel, ctx: Context) -> list[Any]:
        return [ctx.child_key, ctx.priority, ctx.depth]

    @app.task
    async def parent() -> list[Any]:
        items = [leaf.create_bulk_run_item(key="a"), leaf.create_bulk_run_item(child_key="b", priority=3)]
        return [*await leaf.aio_run_many(items), await leaf.aio_run(child_key="c", priority=0)]

    assert parent.run() == [["a", 2, 1], ["b", 3, 1], ["c", 0, 1]]


def test_priorities_decide_who_goes_first(make_app: Any) -> None:
    app = make_app(slots=1)
    order: list[int] = []

    @app.task
    async def leaf(input: Number) -> None:
        order.append(input.n)

    @app.task
    async def parent() -> None:
        await leaf.aio_run_many([leaf.create_bulk_run_item(Number(n=n), priority=n) for n in (1, 3, 2)])

    parent.run()
    assert sorted(order) == [1, 2, 3]
    assert order.index(3) < order.index(2)


@pytest.mark.parametrize("keep", [False, True])
async def test_a_bulk_asks_for_no_more_once_one_has_failed(
    app: Fanwood, monkeypatch: pytest.MonkeyPatch, keep: bool
) -> None:
    """Unless errors take their places: then all are asked for."""
    monkeypatch.setattr(spawning, "CHUNK", 10)
    put = Outputs.put
    failed = threading.Event()

    def told(self: Outputs, index: int, end: Any) -> None:
        put(self, index, end)
        if end.state is RunState.FAILED:
            failed.set()

    monkeypatch.setattr(Outputs, "put", told)
    asked: list[int] = []

    @app.task
    async def fails(input: Number) -> int:
        if input.n == 0:
            raise ValueError("the first")
        return input.n

    def items() -> Iterator[BulkRunItem[Number, int]]:
        for n in range(200):
            if n == 20:
                assert failed.wait(60)
            asked.append(n)
            yield fails.create_bulk_run_item(Number(n=n))

    @app.task
    def parent(input: EmptyModel) -> int:
        if keep:
            return len(fails.run_many(items(), return_exceptions=True))
        with pytest.raises(TaskRunError, match="the first"):
            fails.run_many(items())
        return len(asked)

    assert await parent.aio_run() == (200 if keep else 30)
