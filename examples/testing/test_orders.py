"""The application's tests: python -m pytest examples/testing

No database, no other plugin; each takes milliseconds.
"""

import asyncio

import pytest

from examples.testing.orders import charge, order, pack, payments
from fanwood import RunState, TaskRunError
from fanwood.testing import TestApp, drain, explore, faults, travel, tree


def test_an_order(fanwood_app: TestApp) -> None:
    assert order.run(["tea"]) == ["paid 10", "tea in a box"]


async def test_two_orders_beside_each_other(fanwood_app: TestApp) -> None:
    begin = fanwood_app.now()
    first, second = await asyncio.gather(order.aio_run(["tea"]), order.aio_run(["cup", "pot"]))
    assert (first[0], second[0]) == ("paid 10", "paid 20")
    assert (fanwood_app.now() - begin).days == 3


def test_that_it_can_be_cancelled_for_three_days(fanwood_app: TestApp) -> None:
    begun = order.run_no_wait(["tea"])
    travel(days=2)
    begun.cancel()
    drain()
    assert tree(begun).splitlines() == [
        'order(["tea"]) CANCELLED by request',
        '    charge(10) COMPLETED -> "paid 10"',
    ]


def test_that_nothing_is_packed_that_is_not_paid(fanwood_app: TestApp) -> None:
    refused = fanwood_app.stub(charge, raises=ConnectionError("no answer"))
    packed = fanwood_app.stub(pack, returns="nothing")
    with pytest.raises(TaskRunError, match="no answer"):
        order.run(["tea"])
    assert refused.calls == [10] * 6
    packed.assert_not_called()


def test_that_a_lost_worker_is_survived(fanwood_app: TestApp) -> None:
    with faults.no_worker():
        begun = order.run_no_wait(["tea"])
        drain()
        assert begun.status() is RunState.QUEUED
    with faults.lose_worker(commit=2):
        assert begun.result() == ["paid 10", "tea in a box"]


def test_that_a_crash_anywhere_is_survived_and_paid_once(fanwood_app: TestApp) -> None:
    def run() -> int:
        order.run(["tea", "cup"])
        return sum(payments.values())

    assert explore(run, setup=payments.clear).answer == 20
