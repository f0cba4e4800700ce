"""A root with an idempotency key is one run, however often and from wherever it is asked for."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from typing import Any

import pytest

from fanwood import (
    Context,
    Fanwood,
    IdempotencyConflictError,
    RunState,
    TaskRunError,
    TriggerWorkflowOptions,
    UsageError,
    WaitTimeoutError,
)
from tests.conftest import MakeApp


class Shop:
    """Tasks, and how often each input was executed."""

    def __init__(self, app: Fanwood) -> None:
        self.app = app
        self.executed: Counter[Any] = Counter()
        self.open = threading.Event()

        @app.task
        def sell(input: int) -> str:
            self.executed[input] += 1
            return f"{input}#{self.executed[input]}"

        @app.task
        def fail(input: int) -> None:
            self.executed[input] += 1
            raise ValueError(f"no {input}")

        @app.task
        async def wait(input: int) -> int:
            self.executed[input] += 1
            await asyncio.to_thread(self.open.wait, 60)
            return input

        self.sell, self.fail, self.wait = sell, fail, wait


@pytest.fixture
def shop(app: Fanwood) -> Shop:
    return Shop(app)


def test_that_who_asks_again_gets_the_first_runs_result(shop: Shop) -> None:
    assert [shop.sell.run(1, idempotency_key="order 1") for _ in range(3)] == ["1#1"] * 3
    assert shop.sell.run(1, idempotency_key="order 2") == "1#2"
    assert shop.sell.run(1) == "1#3"


async def test_the_same_in_coroutines_and_at_once(shop: Shop) -> None:
    results = await asyncio.gather(*(shop.sell.aio_run(1, idempotency_key="k") for _ in range(50)))
    assert set(results) == {"1#1"}
    refs = await asyncio.gather(*(shop.sell.aio_run_no_wait(1, idempotency_key="k") for _ in range(10)))
    assert len(set(refs)) == 1
    assert await refs[0] == "1#1"


def test_that_references_lead_to_the_run_that_has_the_key(shop: Shop) -> None:
    first = shop.sell.run_no_wait(1, idempotency_key="k")
    second = shop.sell.run_no_wait(1, TriggerWorkflowOptions(idempotency_key="k"))
    third = shop.sell.run(1, idempotency_key="k", wait_for_result=False)
    assert first == second == third
    assert second.result() == "1#1"
    assert second.status() is RunState.COMPLETED
    info = shop.app.runs.get(second.id)
    assert (info.child_key, info.parent_id) == ("k", None)


def test_that_a_run_that_still_goes_on_is_waited_for(shop: Shop) -> None:
    first = shop.wait.run_no_wait(1, idempotency_key="k")
    with pytest.raises(WaitTimeoutError):
        shop.wait.run(1, idempotency_key="k", timeout=0.05)
    waiter = threading.Thread(target=lambda: got.append(shop.wait.run(1, idempotency_key="k")))
    got: list[int] = []
    waiter.start()
    shop.open.set()
    waiter.join(60)
    assert got == [1]
    assert first.result() == 1
    assert shop.executed == {1: 1}


def test_that_a_run_of_another_process_is_waited_for(make_app: MakeApp) -> None:
    here, there = Shop(make_app(local_worker=False)), Shop(make_app(local_worker=True))
    there.wait.run_no_wait(1, idempotency_key="k")
    ref = here.wait.run_no_wait(1, idempotency_key="k")
    there.open.set()
    assert ref.result(60) == here.wait.run(1, idempotency_key="k", timeout=60) == 1
    assert (here.executed, there.executed) == ({}, {1: 1})


def test_that_a_failure_stands_until_it_is_replayed(shop: Shop) -> None:
    with pytest.raises(TaskRunError, match="no 1"):
        shop.fail.run(1, idempotency_key="k")
    with pytest.raises(TaskRunError, match="no 1") as caught:
        shop.fail.run(1, idempotency_key="k")
    assert shop.executed == {1: 1}
    ref = shop.fail.run_no_wait(1, idempotency_key="k")
    assert caught.value.run_id == ref.id
    shop.app.runs.replay(ref.id)
    with pytest.raises(TaskRunError, match="no 1"):
        shop.fail.run(1, idempotency_key="k")
    assert shop.executed == {1: 2}


def test_a_cancelled_run_keeps_its_key(shop: Shop) -> None:
    ref = shop.wait.run_no_wait(1, idempotency_key="k")
    ref.cancel()
    assert shop.wait.run_no_wait(1, idempotency_key="k").status() is RunState.CANCELLED
    shop.open.set()


def test_that_another_task_or_input_is_an_error_that_shows_both(shop: Shop) -> None:
    ref = shop.sell.run_no_wait(1, idempotency_key="k")
    ref.result()
    with pytest.raises(IdempotencyConflictError) as caught:
        shop.sell.run(2, idempotency_key="k")
    said = str(caught.value)
    for part in ("'k'", "sell with input 1", ref.id, "sell with input 2"):
        assert part in said
    with pytest.raises(IdempotencyConflictError, match="was given now to fail with input 1"):
        shop.fail.run_no_wait(1, idempotency_key="k")
    with pytest.raises(IdempotencyConflictError):
        shop.sell.run_many([shop.sell.create_bulk_run_item(n, idempotency_key="k") for n in (1, 2)])
    assert shop.executed == {1: 1}


def test_many_with_keys(shop: Shop) -> None:
    items = [shop.sell.create_bulk_run_item(n % 7, idempotency_key=f"k{n % 7}") for n in range(2000)]
    assert shop.sell.run_many(items) == [f"{n % 7}#1" for n in range(2000)]
    refs = shop.sell.run_many_no_wait(items)
    assert [ref.id for ref in refs] == [ref.id for ref in refs[:7]] * 285 + [ref.id for ref in refs[:5]]
    assert shop.executed == dict.fromkeys(range(7), 1)


def test_many_of_which_some_have_keys(shop: Shop) -> None:
    shop.sell.run(1, idempotency_key="k")
    items = [
        shop.sell.create_bulk_run_item(2),
        shop.sell.create_bulk_run_item(1, idempotency_key="k"),
        shop.fail.create_bulk_run_item(3, idempotency_key="bad"),
        shop.sell.create_bulk_run_item(1, None, TriggerWorkflowOptions(idempotency_key="other")),
    ]
    for _ in range(2):
        results = shop.sell.run_many(items, return_exceptions=True)
        assert results[1] == "1#1"
        assert results[3] == "1#2"
        assert isinstance(results[2], TaskRunError)
    assert shop.executed == {1: 2, 2: 2, 3: 1}


def test_that_workflows_take_keys(app: Fanwood) -> None:
    flow = app.workflow(name="flow", input_validator=int)
    executed: list[int] = []

    @flow.task
    async def step(input: int) -> int:
        executed.append(input)
        return input + 1

    assert [flow.run(1, idempotency_key="k") for _ in range(2)] == [{"step": 2}] * 2
    assert executed == [1]


def test_that_namespaces_have_keys_of_their_own(make_app: MakeApp) -> None:
    shops = [Shop(make_app(namespace=name)) for name in ("", "x", "y")]
    for number, shop in enumerate(shops):
        assert shop.sell.run(number, idempotency_key="k") == f"{number}#1"
    refs = [shop.sell.run_no_wait(number, idempotency_key="k") for number, shop in enumerate(shops)]
    assert len(set(refs)) == 3


def test_a_detached_root_of_a_task_that_is_tried_again(app: Fanwood, shop: Shop) -> None:
    @app.task(retries=1)
    async def parent(input: None, ctx: Context) -> str:
        result = await shop.sell.aio_run(5, idempotency_key="k", detached=True)
        if ctx.retry_count == 0:
            raise ValueError("once more")
        return result

    assert parent.run() == "5#1"
    assert shop.sell.run(5, idempotency_key="k") == "5#1"


def test_that_a_child_takes_none(app: Fanwood, shop: Shop) -> None:
    @app.task
    async def parent(input: None) -> list[str]:
        said: list[str] = []
        for ask in (
            lambda: shop.sell.aio_run(1, idempotency_key="k"),
            lambda: shop.sell.aio_run_many([shop.sell.create_bulk_run_item(1, idempotency_key="k")]),
        ):
            try:
                await ask()
            except UsageError as error:
                said.append(str(error))
        return said

    said = parent.run()
    assert len(said) == 2
    for text in said:
        assert "idempotency_key 'k' was given for a child, sell" in text
        assert "A child's key is child_key" in text
        assert "detached=True" in text
    assert shop.executed == {}


def test_that_nobody_waits_for_the_root_of_his_own_tree(app: Fanwood) -> None:
    @app.task
    async def selfish(input: int) -> str:
        again = await selfish.aio_run_no_wait(input, idempotency_key="k", detached=True)
        try:
            await selfish.aio_run(input, idempotency_key="k", detached=True)
        except UsageError as error:
            return f"{again.id}: {error}"
        return "it came back"

    ref = selfish.run_no_wait(1, idempotency_key="k")
    assert ref.result(60).startswith(f"{ref.id}: The idempotency key 'k' is that of run {ref.id}, the root of the tree")
