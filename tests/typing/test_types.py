"""What a type checker makes of a user's program. `make lint` checks these assertions; here they only have to run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_type

from fanwood import BulkRunItem, Context, EmptyModel, Fanwood, Standalone, Step, TaskRunRef, Workflow


@dataclass
class Order:
    number: int


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

    assert_type(price, Standalone[Order, float])
    assert_type(name, Standalone[Order, str])
    assert_type(both, Standalone[Order, tuple[float, str]])

    @app.task
    def nothing() -> int:
        return 1

    @app.task(retries=1)
    async def defaulted(input: int = 3) -> int:
        return input

    assert_type(nothing, Standalone[EmptyModel, int])
    assert_type(defaulted, Standalone[int, int])
    assert_type(nothing.run(), int)
    if (
        url == "never"
    ):  # what a type checker refuses; that it does is checked as well (reportUnnecessaryTypeIgnoreComment)
        nothing.run(3)  # pyright: ignore[reportArgumentType]
        price.run(3)  # pyright: ignore[reportArgumentType]
        price.run_no_wait("4")  # pyright: ignore[reportArgumentType]
        price.create_bulk_run_item(None)  # pyright: ignore[reportArgumentType]
        defaulted.run("3")  # pyright: ignore[reportArgumentType]

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
    return app


def test_the_program_runs(tmp_path: Path) -> None:
    with program(f"sqlite:///{tmp_path}/types.db") as app:
        assert app.find("both").run(Order(4)) == (10.0, "order 4")
