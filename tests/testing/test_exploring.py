"""Flows that survive a crash anywhere, and flows that do not."""

from __future__ import annotations

import asyncio
import itertools
import random
from typing import Any

import pytest

from fanwood import BulkRunItem, Context, TaskRunError, UsageError
from fanwood.testing import Explored, ExploreError, TestApp, effects, explore, on_memory
from tests.testing import shop


@pytest.mark.long
def test_a_flow_of_fifty_children():
    explored = explore(shop.total, 50)
    assert explored.answer == 2450
    assert explored.crashes == explored.points > 50


def test_a_sync_flow_and_functions_of_both_colours():
    assert explore(shop.ship, 1).points > 5
    assert explore(lambda: shop.pack.run(1)).answer == "box 1"
    assert explore(lambda: shop.double.aio_run(1)).answer == 2

    async def flow() -> list[int]:
        refs = [await shop.double.aio_run_no_wait(n) for n in range(2)]
        return [await ref for ref in refs]

    assert explore(flow).answer == [0, 2]


async def test_that_it_works_inside_of_tests_with_their_stubs(fanwood_app: TestApp):
    charge = fanwood_app.stub(shop.charge, returns=1)
    assert await shop.double.aio_run(4) == 8
    assert explore(shop.handle, 5).answer == [1, "box 5, sent"]
    assert charge.called
    assert await shop.double.aio_run(4) == 8
    assert effects.recorded("doubled") == [(4,), (4,)]


def _bulk(n: int, *, key: bool = False) -> list[BulkRunItem[Any, Any]]:
    return [shop.double.create_bulk_run_item(7, key=f"k{i}" if key else None) for i in range(n)]


@pytest.mark.long
def test_keys_equal_children_errors_that_are_returned_and_workflows(fanwood_app: TestApp):
    @shop.app.task(name="fails")
    async def fails(n: int) -> int:
        raise ValueError(n)

    @shop.app.task(name="mixed")
    async def mixed(n: int) -> list[Any]:
        keyed = await shop.double.aio_run_many(_bulk(n, key=True))
        equal = await shop.double.aio_run_many(_bulk(n))
        items = [shop.double.create_bulk_run_item(1), fails.create_bulk_run_item(2)]
        kept = await shop.double.aio_run_many(items, return_exceptions=True)
        return [keyed, equal, [type(each).__name__ for each in kept]]

    flow = shop.app.workflow(name="steps", input_validator=dict[str, int])

    @flow.task
    async def first(input: dict[str, int], ctx: Context) -> int:
        return await shop.double.aio_run(input["n"])

    @flow.task(parents=[first])
    def second(input: dict[str, int], ctx: Context) -> int:
        return ctx.task_output(first)

    try:
        assert explore(mixed, 2).answer == [[14, 14], [14, 14], ["int", "TaskRunError"]]
        assert explore(flow, {"n": 2}).answer == {"first": 4, "second": 4}
        with pytest.raises(TaskRunError, match="2"):
            fails.run(2)
        assert explore(fails, 2).answer is None  # that it fails is the answer, each time
    finally:
        for name in ("fails", "mixed", "steps"):
            del shop.app._runnables[name]


@pytest.mark.long
def test_flows_that_cancel_are_cancelled_time_out_and_start_what_goes_on(fanwood_app: TestApp):
    @fanwood_app.task
    async def slow(n: int) -> int:
        await asyncio.sleep(n)
        effects.record("slow", n)
        return n

    @fanwood_app.task(execution_timeout=100)
    async def times_out(n: int) -> int:
        await asyncio.sleep(1000)
        return n

    @fanwood_app.task
    async def cancels(n: int) -> list[str]:
        one = await slow.aio_run_no_wait(1000, child_key="one")
        await slow.aio_run_no_wait(50, on_parent_end="continue")
        await one.aio_cancel()
        said: list[str] = []
        for ref in (one, await times_out.aio_run_no_wait(1)):
            try:
                await ref
            except TaskRunError as error:
                said.append(type(error).__name__)
        return said

    assert explore(cancels, 1).answer == ["TaskRunCancelled", "TaskRunTimedOut"]
    assert explore(times_out, 1).crashes > 2  # it times out each time, in whichever attempt


def test_that_an_effect_that_may_happen_twice_is_found(fanwood_app: TestApp):
    @fanwood_app.task
    async def pays(n: int) -> int:
        await asyncio.sleep(1)
        effects.record("paid", n, exactly_once=True)
        return n

    with pytest.raises(ExploreError) as caught:
        explore(pays, 3)
    message = str(caught.value)
    assert "pays does not survive a crash at point" in message
    assert "before the commit of the end of pays" in message
    assert "effect 'paid' (3,) is promised exactly 1 time(s), and happened 2" in message
    point = int(message.rsplit("point=", 1)[1].rstrip(")"))
    with pytest.raises(ExploreError, match=f"at point {point} of"):
        explore(pays, 3, point=point)
    assert explore(pays, 3, point=1) == Explored(3, 4, 1)


def test_that_what_is_exactly_once_by_a_key_of_its_own_passes(fanwood_app: TestApp):
    paid: set[str] = set()

    @fanwood_app.task
    async def pays(n: int, ctx: Context) -> int:
        if ctx.task_run_id not in paid:  # what a payment service does with an idempotency key
            paid.add(ctx.task_run_id)
            effects.record("paid", n, exactly_once=True)
        await asyncio.sleep(1)
        return n

    assert explore(pays, 3, setup=paid.clear).answer == 3


def test_that_an_effect_that_is_lost_is_found(fanwood_app: TestApp):
    sent: list[int] = []

    @fanwood_app.task
    async def mails(n: int) -> int:
        if not sent:
            sent.append(n)  # that it was sent is noted before it is
            await asyncio.sleep(1)
            effects.record("sent")
        return n

    with pytest.raises(ExploreError, match=r"(?s)waits at .*in mails.*'sent' \(\) is promised at least 1.*happened 0"):
        explore(mails, 3, setup=sent.clear)


def test_that_a_flow_that_asks_for_other_children_after_a_crash_is_found(fanwood_app: TestApp):
    numbers = itertools.count()

    @shop.app.task(name="counts")
    async def counts(n: int) -> int:
        return await shop.double.aio_run(next(numbers)) * 0

    def setup() -> None:
        nonlocal numbers
        numbers = itertools.count()

    try:
        with pytest.raises(ExploreError) as caught:
            explore(counts, 1, setup=setup)
        assert "counts asked for 1 more: double(1). After a crash a parent must ask for the same" in str(caught.value)
        assert "in counts" in str(caught.value)
        with pytest.raises(ExploreError, match="counts is another each time, without any crash"):
            explore(counts, 1)
        with pytest.raises(ExploreError, match="another each time"):
            explore(random.random)
    finally:
        del shop.app._runnables["counts"]


def test_that_another_answer_is_found(fanwood_app: TestApp):
    @fanwood_app.task
    async def attempts(n: int, ctx: Context) -> int:
        await asyncio.sleep(1)
        return ctx.attempt_number

    with pytest.raises(ExploreError, match="it answered 1, and now 2"):
        explore(attempts, 3)


def test_that_code_of_a_killed_process_has_no_effects(fanwood_app: TestApp):
    @fanwood_app.task
    async def tidies(n: int) -> int:
        try:
            await asyncio.sleep(1)
        finally:
            effects.record("tidied", exactly_once=True)
        await asyncio.sleep(1)
        return n

    with pytest.raises(ExploreError, match="happened 2") as caught:
        explore(tidies, 1)
    assert "point 2 of" not in str(caught.value)  # there it was killed in the first sleep, before anything was tidied


def test_a_flow_that_does_not_end(fanwood_app: TestApp):
    @fanwood_app.task
    async def hangs(n: int, ctx: Context) -> int:
        if n or ctx.attempt_number > 1:
            await asyncio.get_running_loop().create_future()
        await asyncio.sleep(1)
        return n

    with pytest.raises(ExploreError, match=r"(?s)hangs does not even end without a crash.*nothing is left"):
        explore(hangs, 1, patience=0.1)
    with pytest.raises(ExploreError, match=r"(?s)does not survive a crash at point 1 of .* it does not end"):
        explore(hangs, 0, patience=0.1)


def test_that_of_many_points_some_are_tried():
    explored = explore(shop.total, 20, at_most=5)
    assert explored.crashes <= 5 < explored.points


def test_what_can_not_be_explored():
    with pytest.raises(UsageError, match="explore"):
        explore(5)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UsageError, match="an input is for a task"):
        explore(lambda: 1, 5)


def test_that_effects_outside_of_tests_are_nothing():
    effects.record("nothing")
    with on_memory():
        assert effects.recorded() == []
