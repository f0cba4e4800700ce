"""What type checkers make of a user's program. pyright, which `make lint` runs, and mypy check these assertions."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_type

import pytest

from fanwood import (
    BulkRunItem,
    Cancelled,
    Completed,
    Context,
    EmptyModel,
    Failed,
    Fanwood,
    Outcome,
    Poisoned,
    Standalone,
    Step,
    TaskRunRef,
    TimedOut,
    TriggerWorkflowOptions,
    Workflow,
    aio_wait,
    as_completed,
)
from fanwood import hatchet as theirs

TIMES: Any = {}


@dataclass
class Order:
    number: int


@dataclass
class Options:
    loud: bool = False


def program(url: str) -> Fanwood:
    app = Fanwood(url)

    @app.task(input_validator=Order)
    async def price(input: Order, ctx: Context) -> float:
        return input.number * 2.5

    @app.task
    def name(input: Order) -> str:
        return f"order {input.number}"

    @app.task(retries=2)
    async def both(input: Order, ctx: Context) -> tuple[float, str]:
        priced = await price.aio_run(input)
        assert_type(priced, float)
        return priced, await name.aio_run(input)

    @app.task
    async def many(orders: list[Order], ctx: Context) -> list[str]:
        async for cost in price.aio_map(orders, window=2):
            assert_type(cost, float)
        async for maybe in price.aio_map(orders, return_exceptions=True):
            assert_type(maybe, float | BaseException)
        refs = await name.aio_run_many_no_wait([name.create_bulk_run_item(order) for order in orders])
        async for ref in as_completed(refs):
            assert_type(await ref, str)
        done, _ = await aio_wait(refs, return_when="FIRST_COMPLETED")
        assert_type(done, set[TaskRunRef[str]])
        async with ctx.group(quorum=1) as group:
            assert_type(group.spawn(name, orders[0]), TaskRunRef[str])
        assert_type(group.outcomes, list[Outcome[Any]])
        return [described(Completed("a", **TIMES)), *[described(outcome) for outcome in group.outcomes]]

    def described(outcome: Outcome[str]) -> str:
        match outcome:
            case Completed(value):
                assert_type(value, str)
                return value
            case Failed(error) | Cancelled(error) | TimedOut(error) | Poisoned(error):
                return str(error)

    for cost in price.map([Order(1), {"number": 2}]):
        assert_type(cost, float)
    assert_type(price, Standalone[Order, float])
    assert_type(name, Standalone[Order, str])
    assert_type(both, Standalone[Order, tuple[float, str]])

    @app.task
    def nothing() -> int:
        return 1

    @app.task(retries=1)
    async def defaulted(input: int = 3) -> int:
        return input

    @app.task
    def loose(input: dict[str, int], ctx: Context) -> int:
        return len(input)

    @app.task(input_validator=Options)
    def optional(input: Options, ctx: Context) -> bool:
        return input.loud

    assert_type(nothing, Standalone[EmptyModel, int])
    assert_type(defaulted, Standalone[int | EmptyModel, int])
    assert_type(optional, Standalone[Options | EmptyModel, bool])
    assert_type(nothing.run(), int)
    assert_type(defaulted.run(), int)
    assert_type(loose.run(timeout="5s"), int)
    assert_type(optional.run(wait_for_result=False), TaskRunRef[bool])
    assert_type(optional.mock_run(), bool)
    assert_type(price.run_no_wait(options=TriggerWorkflowOptions(input=Order(1))), TaskRunRef[float])
    if url == "never":  # what type checkers refuse; that they do is checked as well: the comments must be needed
        nothing.run(3)  # type: ignore[call-overload]
        price.run()  # type: ignore[call-overload]
        price.run(key="k", timeout=1)  # type: ignore[call-overload]
        price.run(3)  # type: ignore[call-overload]
        price.run_no_wait()  # type: ignore[call-overload]
        price.run_no_wait("4")  # type: ignore[call-overload]
        price.create_bulk_run_item()  # type: ignore[call-overload]
        price.create_bulk_run_item(None)  # type: ignore[call-overload]
        price.mock_run()  # type: ignore[call-arg]
        price.map([3])  # type: ignore[list-item]
        as_completed([3])  # type: ignore[arg-type]
        name.run_many([Order(1)])  # type: ignore[list-item]
        defaulted.run("3")  # type: ignore[call-overload]

    shipping = app.workflow(name="shipping", input_validator=Order)
    assert_type(shipping, Workflow[Order])

    @shipping.task()
    def pack(input: Order, ctx: Context) -> int:
        return input.number

    @shipping.task(parents=[pack])
    async def send(input: Order, ctx: Context) -> str:
        assert_type(ctx.task_output(pack), int)
        return f"parcel {ctx.task_output(pack)}"

    assert_type(pack, Step[Order, int])
    assert_type(send, Step[Order, str])

    assert_type(price.run(Order(4)), float)
    assert_type(price.run(Order(4), wait_for_result=False), TaskRunRef[float])
    assert_type(price.run_no_wait(Order(4)), TaskRunRef[float])
    items = [name.create_bulk_run_item(Order(i)) for i in range(3)]
    assert_type(items, list[BulkRunItem[Order, str]])
    assert_type(name.run_many(items), list[str])
    assert_type(name.run_many(items, return_exceptions=True), list[str | BaseException])
    assert_type(shipping.run(Order(4)), dict[str, Any])
    if url == "never":
        shipping.run()  # type: ignore[call-overload]
    return app


def hatchet(url: str) -> theirs.Hatchet:
    app = theirs.Hatchet(url=url)

    @app.task(input_validator=Order)
    async def price(input: Order, ctx: theirs.Context) -> float:
        return 1.5

    items = [price.create_bulk_run_item(Order(i)) for i in range(2)]
    assert_type(price.run_many(workflows=items), list[float])
    assert_type(price.run_many(items, return_exceptions=True), list[float | BaseException])
    assert_type(price.run_many_no_wait(workflows=items), list[TaskRunRef[float]])
    if url == "never":
        price.run_many(items=items)  # type: ignore[call-overload]
        price.run()  # type: ignore[call-overload]
    return app


def test_the_program_runs(tmp_path: Path) -> None:
    with program(f"sqlite:///{tmp_path}/types.db") as app:
        assert app.find("both").run(Order(4)) == (10.0, "order 4")


def test_programs_of_hatchets_run(tmp_path: Path) -> None:
    hatchet(f"sqlite:///{tmp_path}/types.db").close()


@pytest.mark.long
def test_mypy_says_the_same() -> None:
    command = (
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--follow-imports=silent",
        "--cache-dir",
        f"{sys.prefix}/mypy",
        __file__,
    )
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
